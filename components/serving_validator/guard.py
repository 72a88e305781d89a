"""Runs a command until this process's standard input is closed.

    python -I guard.py COMMAND [ARGUMENT ...]

The parent keeps the other end of the pipe. When the parent ends, even by `kill -9`, the system closes the pipe and the
command is terminated. The exit status is the command's, or 128 + n for signal n as in a shell.
"""

import os
import subprocess
import sys
import threading

# `docker run` forwards SIGTERM and then removes the container, which takes a moment.
_TERMINATION_S = 10.0


def main(command: list[str]) -> int:
    """Runs the command; returns its exit status."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    threading.Thread(target=_terminate_at_end_of_input, args=(process,), daemon=True).start()
    status = process.wait()
    return status if status >= 0 else 128 - status


def _terminate_at_end_of_input(process: subprocess.Popen) -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    process.terminate()
    try:
        process.wait(_TERMINATION_S)
    except subprocess.TimeoutExpired:
        process.kill()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
