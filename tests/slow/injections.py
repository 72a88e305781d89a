"""Faults that `faults_test.py` injects into a job that has run once and pushed a model."""

import contextlib
import glob
import os
import pathlib
import shutil
import subprocess
import time
from typing import Callable, Iterator, Optional, Sequence

import psutil

from tests.slow.runs import Place, RunResult

# Does the damage; returns the repair that a user would make, or None if the next run repairs it.
Damage = Callable[[Place], Optional[Callable[[], None]]]

_ANOTHER = ("trainer.seed=1",)


def kill_and_truncate_checkpoint(place: Place, settings: Sequence[str]) -> RunResult:
    """Kills a run at its second checkpoint and truncates the newest one."""
    running = place.start(*settings)
    pattern = os.path.join(place.run_folder, "artifacts", "Trainer", "checkpoints", "*", "state-*.data-*")
    while running.process.poll() is None and len(glob.glob(pattern)) < 2:
        time.sleep(0.05)
    killed = running.kill()
    _truncate(max(glob.glob(pattern), key=os.path.getmtime))
    return killed


def kill_worker(place: Place, settings: Sequence[str]) -> RunResult:
    """Kills the last of a run's workers while it trains."""
    running = place.start(*settings)
    running.wait_for("EncoderPretrainer")
    workers: list[psutil.Process] = []
    while running.process.poll() is None and not workers:
        with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            children = psutil.Process(running.process.pid).children()
            workers = [child for child in children if "launchers.worker" in child.cmdline()]
        time.sleep(0.2)
    running.wait(8.0)
    with contextlib.suppress(psutil.NoSuchProcess):
        workers[-1].kill()
    return running.end()


@contextlib.contextmanager
def mounted(folder: pathlib.Path, size: str) -> Iterator[str]:
    """Mounts a tmpfs while the context is open."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    try:
        yield str(folder)
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def remount(folder: str, option: str) -> None:
    """Changes an option of a mounted file system."""
    subprocess.run(["mount", "-o", f"remount,{option}", folder], check=True)


def _truncate(file: str, keep: float = 0.5, aside: bool = False) -> Callable[[], None]:
    """Truncates a file; the repair puts it back, or moves it aside."""
    shutil.copy(file, file + ".whole")
    os.truncate(file, int(os.path.getsize(file) * keep))
    return (lambda: os.rename(file, file + ".truncated")) if aside else (lambda: os.replace(file + ".whole", file))


def _overwrite(file: str) -> Callable[[], None]:
    _write(file, b"this is not a database " * 1000)
    return lambda: os.remove(file)


def _write(file: str, content: bytes) -> Callable[[], None]:
    """Replaces a file's content; the repair puts the old content back."""
    if os.path.exists(file):
        os.replace(file, file + ".whole")
    with open(file, "wb") as stream:
        stream.write(content)
    return lambda: os.replace(file + ".whole", file)


def _move_aside(file: str) -> Callable[[], None]:
    os.rename(file, file + ".whole")
    return lambda: os.rename(file + ".whole", file)


def _replace_with_pipe(file: str) -> Callable[[], None]:
    os.rename(file, file + ".whole")
    os.mkfifo(file)
    return lambda: os.replace(file + ".whole", file)


def _recode(file: str) -> Callable[[], None]:
    with open(file, encoding="utf-8") as stream:
        return _write(file, stream.read().encode("cp949"))


def _keep_one_label(file: str) -> Callable[[], None]:
    with open(file, "rb") as stream:
        lines = stream.read().splitlines(keepends=True)
    return _write(file, b"".join(line for line in lines if not line.endswith(b"\t1\n")))


def _files(folder: str) -> list[str]:
    files = [path for path in glob.glob(os.path.join(folder, "**"), recursive=True) if os.path.isfile(path)]
    return sorted(files, key=os.path.getsize)


def _weights(place: Place) -> str:
    return os.path.join(place.output("EncoderPretrainer", "encoder"), "Format-Serving", "encoder", "variables")


def _truncate_largest(folder: str) -> None:
    largest = _files(folder)[-1]
    os.truncate(largest, os.path.getsize(largest) // 2)


def _remove_largest(folder: str) -> None:
    os.remove(_files(folder)[-1])


def _flip_bit(folder: str) -> Callable[[], None]:
    largest = _files(folder)[-1]
    with open(largest, "r+b") as stream:
        stream.seek(os.path.getsize(largest) // 2)
        byte = stream.read(1)[0]
        stream.seek(-1, os.SEEK_CUR)
        stream.write(bytes([byte ^ 1]))
    # As the error advises: delete the artifact, and the next run creates it again.
    return lambda: shutil.rmtree(os.path.dirname(os.path.dirname(os.path.dirname(folder))))


def _hide_graph(place: Place) -> Callable[[], None]:
    return _move_aside(os.path.join(place.serving, place.versions()[-1], "saved_model.pb"))


def _leave_lock(place: Place) -> None:
    with open(os.path.join(place.run_folder, ".lock"), "w", encoding="utf-8") as stream:
        stream.write("4194303\n")


# Fault -> the damage, the exit status and part of the message of the run after it, and the settings of both runs.
BETWEEN_RUNS: dict[str, tuple[Damage, int, str, Sequence[str]]] = {
    "metadata store truncated": (lambda p: _truncate(p.database, aside=True), 2, "metadata store is damaged", ()),
    "metadata store overwritten": (lambda p: _overwrite(p.database), 2, "metadata store is damaged", ()),
    "metadata store empty": (lambda p: open(p.database, "w").close(), 0, "all components run again", ()),
    "metadata store deleted": (lambda p: os.remove(p.database), 0, "all components run again", ()),
    "examples deleted": (
        lambda p: shutil.rmtree(p.output("TsvExampleGen", "examples")),
        0,
        "TsvExampleGen runs again",
        (),
    ),
    "trained model deleted": (lambda p: shutil.rmtree(p.output("Trainer", "model")), 0, "Trainer runs again", ()),
    "statistics truncated": (lambda p: _truncate_largest(p.output("StatisticsGen", "statistics")), 0, "had", ()),
    "a file of the encoder deleted": (lambda p: _remove_largest(_weights(p)), 0, "is missing", ()),
    "a bit of the encoder's weights flipped": (lambda p: _flip_bit(_weights(p)), 2, "digest", _ANOTHER),
    "model in serving without its graph": (lambda p: _hide_graph(p), 2, "saved_model.pb", _ANOTHER),
    "serving folder deleted": (lambda p: shutil.rmtree(p.serving), 0, "pushed", ()),
    "lock file of a dead run": (lambda p: _leave_lock(p), 0, "pushed", ()),
    "training file truncated within a row": (lambda p: _truncate(p.train, keep=0.97), 0, "", ()),
    "training file in cp949": (lambda p: _recode(p.train), 2, "data.encoding", ()),
    "training file with one label": (lambda p: _keep_one_label(p.train), 2, "label", ()),
    "training file empty": (lambda p: _write(p.train, b""), 2, "empty", ()),
    "training file binary": (lambda p: _write(p.train, bytes(range(256)) * 100), 2, "binary", ()),
    "training file missing": (lambda p: _move_aside(p.train), 2, "No such file", ()),
    "training file is a pipe": (lambda p: _replace_with_pipe(p.train), 2, "data.train", ()),
    "configuration is not YAML": (lambda p: _write(p.config, b"name: [drill"), 2, "not valid YAML", ()),
}
