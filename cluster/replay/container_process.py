"""The process that replaces a container, and the termination of everything that it started."""

import contextlib
import os
import signal
import subprocess
import time
from typing import Mapping, Sequence

from cluster.replay.record import TaskFailed

# Shorter than a pod's 30 s between SIGTERM and SIGKILL, because a user waits for it after Ctrl-C.
_TERMINATION_S = 10.0
_TICK_S = 0.05


def run(command: Sequence[str], environment: Mapping[str, str], folder: str, log: str) -> tuple[int, bytes]:
    """Runs a command until it exits. None of its processes remains, even after an exception or Ctrl-C.

    Args:
      command: program and arguments.
      environment: environment variables.
      folder: working directory.
      log: file to which the output is appended.

    Returns:
      The exit status, negative for a signal, and the output.

    Raises:
      TaskFailed: the command can't be started.
    """
    os.makedirs(os.path.dirname(log), exist_ok=True)
    with open(log, "ab") as stream:
        start = stream.tell()
        try:
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # That of Argo's emissary, the parent of the launcher.
                umask=0,
            )
        except OSError as error:
            raise TaskFailed(f"{command[0]}: can't be started: {error.strerror}") from error
    try:
        status = process.wait()
    finally:
        _terminate(process)
    with open(log, "rb") as stream:
        stream.seek(start)
        return status, stream.read()


def _terminate(process: subprocess.Popen) -> None:
    """Terminates the rest of a command's process group."""
    try:
        _signal_group(process, signal.SIGTERM)
    finally:  # A second Ctrl-C ends the wait.
        _signal_group(process, signal.SIGKILL)


def _signal_group(process: subprocess.Popen, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
        end = time.monotonic() + _TERMINATION_S
        while time.monotonic() < end:
            process.poll()
            os.killpg(process.pid, 0)
            time.sleep(_TICK_S)
