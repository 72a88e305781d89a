"""Files that are written whole or not at all."""

import contextlib
import os
from typing import IO, Any, Iterator


@contextlib.contextmanager
def atomic_write(path: str, mode: str = "w") -> Iterator[IO[Any]]:
    """Opens a file beside `path` that takes its place when the block ends; a reader never sees half of it.

    Args:
      path: a local path, or an address that TensorFlow can write, such as `gs://`.
      mode: `w` for UTF-8 text with newlines as they are written, `wb` for bytes.

    Yields:
      The stream. If the block raises, what was written is removed and `path` is as it was before.
    """
    if "://" in path:
        with _remote(path, mode) as stream:
            yield stream
        return
    unfinished = f"{path}.{os.getpid()}.tmp"
    try:
        encoding, newline = (None, None) if "b" in mode else ("utf-8", "")
        with open(unfinished, mode, encoding=encoding, newline=newline) as stream:
            yield stream
        os.replace(unfinished, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.remove(unfinished)
        raise


@contextlib.contextmanager
def _remote(path: str, mode: str) -> Iterator[IO[Any]]:
    import tensorflow as tf  # Seconds, and only a remote file needs it.

    unfinished = f"{path}.{os.getpid()}.tmp"
    with tf.io.gfile.GFile(unfinished, mode) as stream:
        yield stream
    tf.io.gfile.rename(unfinished, path, overwrite=True)
