#!/usr/bin/env python3
"""Starts a Flink on this machine's loopback for trying out and tests, and ends it; `make flink`, `make flink-down`.

It consists of a job manager and task managers in processes of their own, from the jars of Beam's runner for Flink and
what they require. Maven copies these into build/flink/lib, and their digests are compared with deploy/flink. Settings
of Maven, such as a mirror, are the user's own (~/.m2/settings.xml, MAVEN_ARGS).
"""

import argparse
import contextlib
import glob
import hashlib
import importlib.metadata
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import zipfile

import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent
SETTINGS = ROOT / "deploy" / "flink"
sys.path.insert(0, str(ROOT))

from core.errors import UserError  # noqa: E402
from pipeline.engine import checks  # noqa: E402

JOB_MANAGER = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
TASK_MANAGER = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"
JOB_SERVER = "org.apache.beam.runners.flink.FlinkJobServerDriver"
# What Flink needs of Java 17; its own scripts pass the same.
OPENED = (
    *("java.lang", "java.lang.reflect", "java.net", "java.io", "java.nio", "sun.nio.ch", "java.text", "java.time"),
    *("java.util", "java.util.concurrent", "java.util.concurrent.atomic", "java.util.concurrent.locks"),
)
EXPORTED = ("java.base/sun.net.util", "java.rmi/sun.rmi.registry", "java.security.jgss/sun.security.krb5")
# On a busy machine a minute.
START_TIMEOUT_S = 180
STOP_TIMEOUT_S = 20


def main() -> int:
    """Runs one command; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=("up", "down"))
    parser.add_argument("--port", type=int, default=8081, help="of the REST API (default: 8081)")
    parser.add_argument("--task-managers", type=int, default=2, help="processes with one task slot each (default: 2)")
    parser.add_argument("--folder", type=pathlib.Path, default=ROOT / "build" / "flink", help="for jars and logs")
    options = parser.parse_args()
    try:
        return up(options) if options.command == "up" else down(options)
    except UserError as error:
        print(f"flink: {error}", file=sys.stderr)
        return 2


def up(options: argparse.Namespace) -> int:
    """Starts Flink and waits for its task managers."""
    java = checks.find_java()
    down(options)
    folder = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(socket.socket()) as taken:
        if taken.connect_ex(("localhost", options.port)) == 0:
            raise UserError(f"--port {options.port}: is in use; end what uses it, or give another")
    library = fetch_jars(folder)
    jar = write_job_server(folder / "job-server.jar", library)
    start_processes(java, folder, library, options.port, options.task_managers)
    wait(options.port, options.task_managers, folder)
    print(
        f"Flink with {options.task_managers} task managers: http://localhost:{options.port}, logs in {folder}\n"
        f"use it: --set beam.runner=flink beam.address=localhost:{options.port} beam.job_server_jar={jar}"
    )
    return 0


def down(options: argparse.Namespace) -> int:
    """Ends what `up` started."""
    for file in sorted(options.folder.glob("*.pid")):
        stop(int(file.read_text()))
        file.unlink()
    shutil.rmtree(options.folder / "tmp", ignore_errors=True)
    return 0


def stop(pid: int) -> None:
    """Ends a process if it still is one of Flink's: after a restart of the machine its number may be another's."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        end = time.monotonic() + STOP_TIMEOUT_S
        with contextlib.suppress(OSError):
            if b"org.apache.flink" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, number)
            while b"org.apache.flink" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes():
                if time.monotonic() > end:
                    break
                time.sleep(0.1)


def fetch_jars(folder: pathlib.Path) -> pathlib.Path:
    """Copies the jars with Maven if they are not there, and checks all of them; returns their folder."""
    version = importlib.metadata.version("apache-beam")
    digests = SETTINGS / f"jars-{version}.sha256"
    if not digests.exists():
        raise UserError(f"{digests}: missing; there are digests for {', '.join(known_versions())}")
    library = folder / f"lib-{version}"
    if not library.exists():
        if shutil.which("mvn") is None:
            raise UserError("mvn: not found; install Maven (on Debian and Ubuntu: apt-get install maven)")
        partial = folder / "lib-partial"
        shutil.rmtree(partial, ignore_errors=True)
        command = ["mvn", "--batch-mode", "--quiet", "--strict-checksums", "--file", SETTINGS / "pom.xml"]
        goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={partial}"]
        # Beam's POMs name repositories besides Maven's central one; without an answer they only cost time.
        timeouts = ["-Daether.connector.connectTimeout=5000", "-Dmaven.wagon.http.connectionTimeout=5000"]
        if subprocess.run([*command, *goal, *timeouts, f"-Dbeam.version={version}"]).returncode:
            raise UserError("mvn could not fetch the jars; see its errors above")
        check_jars(partial, digests)
        partial.rename(library)
    check_jars(library, digests)
    return library


def known_versions() -> list[str]:
    """Returns the versions of Beam for which the digests of the jars are known."""
    return sorted(file.name.removeprefix("jars-").removesuffix(".sha256") for file in SETTINGS.glob("jars-*.sha256"))


def check_jars(library: pathlib.Path, digests: pathlib.Path) -> None:
    """Raises UserError unless a folder has exactly the jars of a file in the format of sha256sum."""
    wanted = {name: digest for digest, name in map(str.split, digests.read_text().splitlines())}
    found = {jar.name: hashlib.sha256(jar.read_bytes()).hexdigest() for jar in library.glob("*.jar")}
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            raise UserError(f"{library / name}: SHA-256 {found.get(name)}; should be {wanted.get(name)} ({digests})")


def write_job_server(path: pathlib.Path, library: pathlib.Path) -> pathlib.Path:
    """Writes a jar that starts Beam's job server from the jars of a folder."""
    classes = " ".join(jar.resolve().as_uri() for jar in sorted(library.glob("*.jar")))
    lines = ["Manifest-Version: 1.0", f"Main-Class: {JOB_SERVER}", *fold(f"Class-Path: {classes}"), "", ""]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("META-INF/MANIFEST.MF", "\r\n".join(lines))
    return path


def fold(line: str) -> list[str]:
    """Divides a line of a manifest: at most 72 bytes each, and the later ones start with a space."""
    return [line[:70], *(f" {line[start : start + 70]}" for start in range(70, len(line), 70))]


def start_processes(java: str, folder: pathlib.Path, library: pathlib.Path, port: int, task_managers: int) -> None:
    """Starts the job manager and the task managers; each has a file with its process number."""
    settings = yaml.safe_load((SETTINGS / "config.yaml").read_text())
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    settings |= {
        "rest.port": port,
        "jobmanager.rpc.port": free_port(),
        "io.tmp.dirs": str(temporary),
        **dict.fromkeys(("rest.address", "jobmanager.rpc.address", "taskmanager.host"), "localhost"),
        **dict.fromkeys(("rest.bind-address", "jobmanager.bind-host", "taskmanager.bind-host"), "localhost"),
    }
    configuration = folder / "conf"
    configuration.mkdir(exist_ok=True)
    (configuration / "config.yaml").write_text(yaml.safe_dump(settings))
    heap = megabytes(settings, "task.heap.size") + megabytes(settings, "framework.heap.size")
    direct = sum(megabytes(settings, name) for name in ("task.off-heap.size", "framework.off-heap.size", "network.max"))
    memory = [f"-Xmx{heap}m", f"-XX:MaxDirectMemorySize={direct}m"]
    processes = [("job-manager", JOB_MANAGER, ["-Xmx512m"])]
    processes += [(f"task-manager-{number}", TASK_MANAGER, memory) for number in range(1, task_managers + 1)]
    for name, main_class, sizes in processes:
        command = [java, *sizes, *(f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in OPENED)]
        command += [f"--add-exports={package}=ALL-UNNAMED" for package in EXPORTED]
        command += ["-cp", f"{library}/*", main_class, "--configDir", str(configuration)]
        with open(folder / f"{name}.log", "wb") as log:
            # The folders of Python workers are in TMPDIR, so that `down` removes them too.
            environment = {**os.environ, "FLINK_CONF_DIR": str(configuration), "TMPDIR": str(temporary)}
            process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
        (folder / f"{name}.pid").write_text(str(process.pid))


def megabytes(settings: dict, name: str) -> int:
    """Returns a size of the settings in MiB."""
    text = settings[f"taskmanager.memory.{name}"]
    return int(text[:-1]) * {"m": 1, "g": 1024}[text[-1]]


def free_port() -> int:
    """Returns a port that nothing uses."""
    with contextlib.closing(socket.socket()) as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


def wait(port: int, slots: int, folder: pathlib.Path) -> None:
    """Waits until all task managers have registered."""
    end = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < end:
        with contextlib.suppress(OSError, ValueError, KeyError):
            with urllib.request.urlopen(f"http://localhost:{port}/overview", timeout=5) as answer:
                if json.load(answer)["slots-total"] >= slots:
                    return
        time.sleep(0.5)
    logs = ", ".join(sorted(glob.glob(f"{folder}/*.log")))
    raise UserError(f"Flink has not started in {START_TIMEOUT_S} s; see {logs}")


if __name__ == "__main__":
    sys.exit(main())
