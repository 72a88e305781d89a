"""A run's folder on this machine: one run at a time in it, and a log of all that the libraries say."""

import contextlib
import os
import sys
from typing import Iterator, TextIO

import filelock

from core.errors import UserError

LOG_FILE = "run.log"


@contextlib.contextmanager
def locked(folder: str) -> Iterator[None]:
    """Makes the folder and keeps other runs out of it while the context lasts.

    Raises:
      UserError: it can't be made or written to, or another run is at work in it.
    """
    lock = filelock.FileLock(os.path.join(folder, ".lock"), timeout=0)
    try:
        os.makedirs(folder, exist_ok=True)
        lock.acquire()
    except filelock.Timeout as error:
        raise UserError(f"{folder}: another run is at work here; wait for it, or give another --root") from error
    except OSError as error:
        raise UserError(f"--root: {folder} can't be written to ({error.strerror}); give a folder that can") from error
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def output(folder: str, verbose: bool) -> Iterator[TextIO]:
    """Sends what the libraries write to the folder's log; the log before it is kept as `run.log.1`.

    Args:
      folder: the run's folder.
      verbose: leave the libraries' output on the terminal instead.

    Yields:
      A stream on the standard output, for what a person is told.
    """
    if verbose:
        yield sys.stdout
        return
    log_file = os.path.join(folder, LOG_FILE)
    if os.path.exists(log_file):
        os.replace(log_file, log_file + ".1")
    with _redirected(log_file) as screen:
        yield screen


@contextlib.contextmanager
def _redirected(log_file: str) -> Iterator[TextIO]:
    """Points both output descriptors at a file, for C++ libraries write past Python's streams."""
    saved = [os.dup(descriptor) for descriptor in (1, 2)]
    screen = os.fdopen(os.dup(saved[0]), "w", encoding="utf-8")
    log = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        for descriptor in (1, 2):
            os.dup2(log, descriptor)
        yield screen
    finally:
        screen.close()
        for descriptor, original in zip((1, 2), saved, strict=True):
            os.dup2(original, descriptor)
            os.close(original)
        os.close(log)
