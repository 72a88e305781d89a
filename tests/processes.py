"""Processes that a test has started."""

import contextlib
from typing import Optional

import psutil


def find_worker(parent: int, index: int) -> Optional[int]:
    """Returns the process id of a launcher's local worker; None before it has started."""
    for child in psutil.Process(parent).children():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            if f'"index": {index}' in child.environ().get("TF_CONFIG", ""):
                return child.pid
    return None
