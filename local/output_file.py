"""The file after `--out`: never the input, replaced in one step if it is a regular file."""

import contextlib
import os
import sys
from typing import IO, Iterator, Optional

from core.errors import UserError
from core.files import atomic_write


def check(file: str, out: Optional[str]) -> None:
    """Rejects an output that is the input, also through a link.

    Raises:
      UserError: both are the same file.
    """
    if out is not None and _is_same(file, out):
        raise UserError(f"--out {out}: the same file as --file {file}, which would be overwritten; set another name")


@contextlib.contextmanager
def open_stream(out: Optional[str]) -> Iterator[IO[str]]:
    """Opens the output for text in UTF-8.

    Args:
      out: a path; None for standard output. A file is replaced when the block ends, and stays as it was if the block
        raises; a pipe or a device is written directly.

    Raises:
      UserError: the file can't be written.
    """
    if out is None:
        yield sys.stdout
        return
    # Replacing /dev/stdout or a pipe would remove it.
    direct = os.path.exists(out) and not os.path.isfile(out)
    try:
        with open(out, "w", encoding="utf-8", newline="") if direct else atomic_write(out) as stream:
            yield stream
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UserError(f"--out {out}: can't be written ({error.strerror})") from error


def _is_same(file: str, out: str) -> bool:
    try:
        return os.path.samefile(file, out)
    except OSError:  # One of them does not exist, or is an address.
        return file == out
