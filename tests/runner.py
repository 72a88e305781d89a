"""Calls `local_runner.py` in a process, as users do."""

import os
import subprocess
import sys

REPO = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def call(*arguments, stdin=None):
    """Returns the finished process."""
    command = [sys.executable, os.path.join(REPO, "local_runner.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, input=stdin, timeout=900)
