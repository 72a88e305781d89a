"""Checks whether a run can work on this machine: versions, GPU, CPU, memory, disk, network."""

import dataclasses
import importlib.metadata
import json
import os
import platform
import re
import shutil
import tempfile
import threading
import time
import urllib.parse
from typing import Iterator, Literal, Mapping, Optional, Sequence

import requests
import rich.console
import rich.text

from components.hub_encoder.catalogue import CATALOGUE
from core import escape, gpu, installation, versions, web

Status = Literal["ok", "warning", "error"]
_MARKS: Mapping[Status, tuple[str, str]] = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "error": ("✗", "red")}

# A process of a small run peaks at 1.6 GB, and the serving gate starts a second one. Multilingual BERT: four numbers of
# 4 bytes for each of 178 million weights, and as much again for activations and a second process (estimated).
_MIN_MEMORY_GB, _GOOD_MEMORY_GB = 3.0, 8.0
# Multilingual BERT: 0.7 GB each for the download, the encoder and the models, 2.1 GB for a checkpoint (estimated).
_MIN_DISK_GB, _GOOD_DISK_GB = 1.0, 10.0
_NETWORK_TIMEOUT_S = 3.0
_SET_UP = "run sh scripts/setup.sh"


@dataclasses.dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
      check: name of the check.
      status: `error` if no run can work.
      text: the result.
      advice: what to do; empty if nothing has to be done.
    """

    check: str
    status: Status
    text: str
    advice: str = ""


def run(root: str, console: rich.console.Console, as_json: bool) -> int:
    """Checks this machine and prints the findings; returns the exit status.

    Args:
      root: the run root.
      console: where to print.
      as_json: one JSON object per finding.

    Returns:
      0 if a run can work, otherwise 2.
    """
    findings = []
    for finding in check(root):
        findings.append(finding)
        if as_json:
            print(json.dumps(dataclasses.asdict(finding), ensure_ascii=False), flush=True)
        else:
            _show(finding, console)
    return 2 if any(finding.status == "error" for finding in findings) else 0


def check(root: str) -> Iterator[Finding]:
    """Yields the findings about this machine."""
    finding = check_versions(_installed(), locked_versions(installation.ROOT))
    yield finding
    yield check_memory(memory_gb())
    yield Finding("cpu", "ok", f"{len(os.sched_getaffinity(0))} CPU cores")
    yield check_disk(root)
    # Without TensorFlow nothing can be said about a GPU.
    if finding.status != "error":
        yield check_gpu()
    yield from check_network(sorted({host for entry in CATALOGUE.values() if (host := _host(entry.encoder))}))


def check_versions(installed: Mapping[str, Optional[str]], locked: Mapping[str, str]) -> Finding:
    """Compares installed versions with the locked ones.

    Args:
      installed: name of a package, or `python` -> version; None if it is missing.
      locked: name of a package -> its version in the lock file; empty without a lock file.
    """
    missing = [name for name, version in installed.items() if version is None]
    if missing:
        return Finding("versions", "error", f"not installed: {', '.join(missing)}", _SET_UP)
    which = "old set" if versions.OLD_SET else "current set"
    shown = ", ".join(f"{name} {version}" for name, version in installed.items())
    other = [f"{name} {locked[name]}" for name, version in installed.items() if locked.get(name, version) != version]
    if other:
        return Finding("versions", "warning", f"{which}: {shown}", f"the lock file has {', '.join(other)}; {_SET_UP}")
    return Finding("versions", "ok", f"{which}: {shown}")


def locked_versions(folder: str) -> dict[str, str]:
    """Returns the versions in the lock file of the set that is in use; empty if the folder has none, as in a wheel."""
    path = os.path.join(folder, "requirements", "old" if versions.OLD_SET else "current", "base.txt")
    if not os.path.exists(path):
        return {}
    with open(path, encoding="utf-8") as stream:
        return dict(re.findall(r"^([\w.-]+)==([^\s;]+)", stream.read(), re.MULTILINE))


def check_memory(gigabytes: float) -> Finding:
    """Judges the memory that this machine has free."""
    text = f"{gigabytes:.1f} GB of memory available"
    if gigabytes < _MIN_MEMORY_GB:
        return Finding("memory", "error", text, f"free some: even the sample needs {_MIN_MEMORY_GB:.0f} GB")
    if gigabytes < _GOOD_MEMORY_GB:
        advice = (
            f"BERT-base needs {_GOOD_MEMORY_GB:.0f} GB: set a smaller trainer.batch_size or encoder.source: pretrain"
        )
        return Finding("memory", "warning", text, advice)
    return Finding("memory", "ok", text)


def memory_gb(root: str = "/") -> float:
    """Returns the memory that is available, or left under the limit of a container, in GB.

    Args:
      root: the folder that contains `proc` and `sys`.
    """
    with open(os.path.join(root, "proc/meminfo"), encoding="ascii") as stream:
        kilobytes = int(re.findall(r"^MemAvailable:\s+(\d+) kB", stream.read(), re.MULTILINE)[0])
    limits = [_read_bytes(os.path.join(root, "sys/fs/cgroup", name)) for name in ("memory.max", "memory.current")]
    available = kilobytes * 1024
    if limits[0] is not None:
        available = min(available, limits[0] - (limits[1] or 0))
    return available / 1e9


def check_disk(root: str) -> Finding:
    """Judges the free space of the run root, and whether it can be written."""
    folder = os.path.abspath(root)
    while not os.path.exists(folder):
        folder = os.path.dirname(folder)
    try:
        with tempfile.TemporaryFile(dir=folder):
            free = shutil.disk_usage(folder).free / 1e9
    except OSError as error:
        return Finding("disk", "error", f"{folder}: {error.strerror}", "set --root to a folder that you can write")
    text = f"{free:.1f} GB free for {root}"
    if free < _MIN_DISK_GB:
        return Finding("disk", "error", text, "free some, or set --root to another disk")
    if free < _GOOD_DISK_GB:
        return Finding("disk", "warning", text, f"a run with BERT-base writes up to {_GOOD_DISK_GB:.0f} GB")
    return Finding("disk", "ok", text)


def check_gpu() -> Finding:
    """Says whether TensorFlow sees a GPU, and if not, why."""
    gpu.load_libraries()
    import tensorflow as tf

    names = [tf.config.experimental.get_device_details(device) for device in tf.config.list_physical_devices("GPU")]
    if names:
        return Finding("gpu", "ok", ", ".join(details.get("device_name", "GPU") for details in names))
    facts = gpu.collect_facts()
    if not facts.has_gpu:
        return Finding("gpu", "ok", "no NVIDIA GPU; training uses the CPU")
    return Finding("gpu", "warning", "TensorFlow sees no GPU; training would use the CPU", gpu.explain(facts))


def check_network(hosts: Sequence[str], timeout_s: float = _NETWORK_TIMEOUT_S) -> list[Finding]:
    """Says which hosts answer; all are asked at the same time.

    Args:
      hosts: names, with a port or without.
      timeout_s: how long to wait for all of them.
    """
    answers: dict[str, str] = {}
    # Daemons, because looking up a name can take longer than any timeout.
    threads = [threading.Thread(target=_ask, args=(host, timeout_s, answers), daemon=True) for host in hosts]
    for thread in threads:
        thread.start()
    end = time.monotonic() + timeout_s
    for thread in threads:
        thread.join(max(end - time.monotonic(), 0))
    return [_judge_host(host, answers.get(host, f"no answer in {timeout_s:g} s")) for host in hosts]


def _ask(host: str, timeout_s: float, answers: dict[str, str], scheme: str = "https") -> None:
    try:
        requests.head(f"{scheme}://{host}", timeout=timeout_s)  # Any status is an answer.
        answers[host] = ""
    except requests.RequestException as error:
        answers[host] = web.describe(error)


def _judge_host(host: str, fault: str) -> Finding:
    if not fault:
        return Finding("network", "ok", f"{host} answers")
    advice = "set HTTPS_PROXY if there is a proxy; or use encoder.source: pretrain, or a folder as encoder.handle"
    return Finding("network", "warning", f"{host} can't be reached ({fault})", advice)


def _host(address: str) -> str:
    return urllib.parse.urlsplit(address).netloc


def _installed() -> dict[str, Optional[str]]:
    installed: dict[str, Optional[str]] = {"python": platform.python_version()}
    for name in versions.PACKAGES:
        try:
            installed[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            installed[name] = None
    return installed


def _read_bytes(path: str) -> Optional[int]:
    """Returns the number in a file of a control group; None without a limit."""
    try:
        with open(path, encoding="ascii") as stream:
            text = stream.read().strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None


def _show(finding: Finding, console: rich.console.Console) -> None:
    mark, colour = _MARKS[finding.status]
    text = rich.text.Text.assemble((mark, colour), f" {finding.check:<9} {escape.line(finding.text)}")
    console.print(text, soft_wrap=True)
    if finding.advice:
        console.print(rich.text.Text(f"  {'':<9} {escape.line(finding.advice)}", "dim"), soft_wrap=True)
