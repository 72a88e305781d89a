"""Runs a command for as long as somebody holds this process's standard input open.

    python -I guard.py COMMAND [ARGUMENT ...]

The one who asks for the command keeps the other end of the pipe; however that process ends, `kill -9` included,
the system closes it, and the command is ended. The exit status is the command's, 128 + n for signal n as in a shell.
"""

import os
import subprocess
import sys
import threading

# A container's client passes SIGTERM on and then removes the container, which takes a moment.
_TERMINATION_S = 10.0


def main(command: list[str]) -> int:
    """Runs the command to its end; returns the exit status."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    threading.Thread(target=_end_with_input, args=(process,), daemon=True).start()
    status = process.wait()
    return status if status >= 0 else 128 - status


def _end_with_input(process: subprocess.Popen) -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    process.terminate()
    try:
        process.wait(_TERMINATION_S)
    except subprocess.TimeoutExpired:
        process.kill()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
