"""The lock in the folder of a pipeline, and the log of a run."""

import contextlib
import os
import sys
from typing import Iterator, TextIO

import filelock

from core import streams
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
    with streams.redirect_output(os.path.join(folder, LOG_FILE)) as (screen, _):
        yield screen
