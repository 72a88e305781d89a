"""The lock in the folder of a pipeline, and the log of a run."""

import contextlib
import os
import sys
from typing import Iterator, TextIO

import filelock

from core.errors import UserError

LOG_FILE = "run.log"


@contextlib.contextmanager
def lock(folder: str) -> Iterator[None]:
    """Creates the folder and locks it against other runs inside the context.

    Raises:
      UserError: the folder can't be created or written, or another run is using it.
    """
    file = filelock.FileLock(os.path.join(folder, ".lock"), timeout=0)
    try:
        os.makedirs(folder, exist_ok=True)
        file.acquire()
    except filelock.Timeout as error:
        raise UserError(
            f"{folder}: another run is using this folder; wait until it ends, or set another --root"
        ) from error
    except OSError as error:
        raise UserError(f"--root: can't write to {folder}: {error.strerror}; should be a writable folder") from error
    try:
        yield
    finally:
        file.release()


@contextlib.contextmanager
def redirect_output(folder: str, verbose: bool) -> Iterator[TextIO]:
    """Redirects the output of all libraries to the run's log.

    Args:
      folder: folder of the run.
      verbose: leave the output on the terminal instead.

    Yields:
      The terminal's own stream, for messages to the user.
    """
    if verbose:
        yield sys.stdout
        return
    with _redirect(os.path.join(folder, LOG_FILE)) as screen:
        yield screen


@contextlib.contextmanager
def _redirect(log_file: str) -> Iterator[TextIO]:
    """Redirects the file descriptors, because C++ libraries bypass Python's streams."""
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
