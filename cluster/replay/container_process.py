"""The process in place of a container, and the end of everything that it started."""

import contextlib
import os
import signal
import subprocess
import time
from typing import Mapping, Sequence

from cluster.replay.record import TaskFailed

# A pod has 30 s between SIGTERM and SIGKILL; nobody waits that long for a prompt.
_TERMINATION_S = 10.0
_TICK_S = 0.05


def run(command: Sequence[str], environment: Mapping[str, str], folder: str, log: str) -> tuple[int, bytes]:
    """Runs a command to its end. None of its processes is left, whatever happens.

    Args:
      command: its words.
      environment: its variables.
      folder: its working directory.
      log: file to which its output is appended.

    Returns:
      Its exit status, negative for a signal, and its output.

    Raises:
      TaskFailed: it can't be started.
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
            )
        except OSError as error:
            raise TaskFailed(f"{command[0]}: can't be started: {error.strerror}") from error
    try:
        status = process.wait()
    finally:
        _end(process)
    with open(log, "rb") as stream:
        stream.seek(start)
        return status, stream.read()


def _end(process: subprocess.Popen) -> None:
    """Ends what is left of a command's process group."""
    try:
        _signal_group(process, signal.SIGTERM)
    finally:  # A second Ctrl-C cuts the wait short.
        _signal_group(process, signal.SIGKILL)


def _signal_group(process: subprocess.Popen, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
        end = time.monotonic() + _TERMINATION_S
        while time.monotonic() < end:
            process.poll()
            os.killpg(process.pid, 0)
            time.sleep(_TICK_S)
