"""Files that are written completely or not at all."""

import contextlib
import os
import socket
from typing import IO, Any, Iterator


@contextlib.contextmanager
def atomic_write(path: str, mode: str = "w") -> Iterator[IO[Any]]:
    """Opens a temporary file that replaces `path` when the block ends; a reader never sees a partial file.

    Args:
      path: a local path, or an address that TensorFlow can write, such as `gs://`.
      mode: `w` for UTF-8 text with newlines as they are written, `wb` for bytes.

    Yields:
      The stream. If the block raises, the temporary file is removed and `path` is as it was before.
    """
    # Pods that share a volume may have equal process ids.
    temporary = f"{path}.{socket.gethostname()}.{os.getpid()}.tmp"
    with _remote(path, temporary, mode) if "://" in path else _local(path, temporary, mode) as stream:
        yield stream


@contextlib.contextmanager
def _local(path: str, temporary: str, mode: str) -> Iterator[IO[Any]]:
    encoding, newline = (None, None) if "b" in mode else ("utf-8", "")
    try:
        with open(temporary, mode, encoding=encoding, newline=newline) as stream:
            yield stream
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.remove(temporary)
        raise


@contextlib.contextmanager
def _remote(path: str, temporary: str, mode: str) -> Iterator[IO[Any]]:
    import tensorflow as tf  # Takes seconds, and only remote files need it.

    try:
        with tf.io.gfile.GFile(temporary, mode) as stream:
            yield stream
        tf.io.gfile.rename(temporary, path, overwrite=True)
    except BaseException:
        if tf.io.gfile.exists(temporary):
            tf.io.gfile.remove(temporary)
        raise
