"""Opens files as streams of bytes: local or remote, decompressed, and UTF-16 and UTF-32 as UTF-8.

A file is decompressed because of its first bytes, whatever its name. TensorFlow is imported only for remote files.
"""

import bz2
import codecs
import contextlib
import gzip
import io
import lzma
import os
import re
import zipfile
from typing import Any, Iterator, Optional

from core.config import is_wide

# Large enough for few system calls, small enough for little memory.
BLOCK_BYTES = 1 << 20

_MAGIC = {
    "gzip": re.compile(rb"\x1f\x8b"),
    "bz2": re.compile(rb"BZh[1-9]1AY&SY"),
    "xz": re.compile(rb"\xfd7zXZ\0"),
    "zstd": re.compile(rb"\x28\xb5\x2f\xfd"),
    "zip": re.compile(rb"PK\x03\x04"),
}
_MAGIC_BYTES = 10


@contextlib.contextmanager
def open_stream(path: str, encoding: str = "utf-8") -> Iterator[io.BufferedReader]:
    """Opens a file for reading, decompressed.

    Args:
      path: local, or on a file system that `tf.io.gfile` supports.
      encoding: name of the codec; UTF-16 and UTF-32 are read as UTF-8.

    Yields:
      A buffered stream of bytes.

    Raises:
      EOFError: the compressed data ends too early; also while reading.
      OSError: the file can't be read; also while reading.
    """
    with contextlib.ExitStack() as stack:
        stream = stack.enter_context(open_raw(path))
        kind = _compression(stream)
        if kind is not None:
            stream = _buffered(stack, _decompress(stream, kind))
        if is_wide(encoding):
            stream = _buffered(stack, _Recoder(stream, encoding))
        yield stream


def open_raw(path: str) -> io.BufferedReader:
    """Opens a file for reading, as it is stored."""
    return io.BufferedReader(_GFileReader(path) if "://" in path else io.FileIO(path), BLOCK_BYTES)


def go_to(stream: io.BufferedReader, offset: int) -> None:
    """Moves a stream from its start to an offset."""
    if stream.seekable():
        stream.seek(offset)
    else:
        stream.read(offset)


def is_stored_plain(path: str, encoding: str) -> bool:
    """Returns whether a stream's offsets are those of the stored file."""
    with open_raw(path) as stream:
        return _compression(stream) is None and not is_wide(encoding)


def size_bytes(path: str) -> int:
    """Returns the size of a file as stored, compressed or not."""
    return gfile().stat(path).length if "://" in path else os.stat(path).st_size


def gfile() -> Any:
    """Returns the module for remote file systems."""
    import tensorflow as tf

    return tf.io.gfile


@contextlib.contextmanager
def remote_errors() -> Iterator[None]:
    """Converts TensorFlow's errors to OSError."""
    import tensorflow as tf

    try:
        yield
    except tf.errors.OpError as error:
        raise OSError(str(error)) from error


def _compression(stream: io.BufferedReader) -> Optional[str]:
    start = stream.peek(_MAGIC_BYTES)
    return next((kind for kind, magic in _MAGIC.items() if magic.match(start)), None)


def _buffered(stack: contextlib.ExitStack, raw: Any) -> io.BufferedReader:
    return stack.enter_context(io.BufferedReader(raw, BLOCK_BYTES))


def _decompress(stream: io.BufferedReader, kind: str) -> Any:
    if kind == "zip":
        return _open_member(stream)
    if kind == "zstd":
        return _ZstdReader(stream)
    return {"gzip": gzip.GzipFile, "bz2": bz2.BZ2File, "xz": lzma.LZMAFile}[kind](
        **{"fileobj" if kind == "gzip" else "filename": stream}
    )


def _open_member(stream: io.BufferedReader) -> Any:
    """Opens the only file of a zip archive."""
    try:
        archive = zipfile.ZipFile(stream)
        names = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX/")]
        if "[Content_Types].xml" in names:
            raise OSError(
                "an Excel workbook; save it as `Unicode text` (then set data.encoding=utf-16) or as `CSV UTF-8` "
                "(then set data.delimiter=comma)"
            )
        if len(names) != 1:
            raise OSError(f"a zip archive of {len(names)} files; it should hold one, so unpack it")
        return archive.open(names[0])
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise OSError(f"{error} (a zip archive)") from error


class _ZstdReader(io.RawIOBase):
    """Decompresses all frames of a stream, and notices if the last one is cut."""

    def __init__(self, stream: io.BufferedReader) -> None:
        super().__init__()
        import zstandard

        self._stream, self._error, self._make = stream, zstandard.ZstdError, zstandard.ZstdDecompressor().decompressobj
        self._frame: Any = self._make()
        self._rest = self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            block = self._rest or self._stream.read(BLOCK_BYTES // 8)
            if not block:
                if self._frame is not None:
                    raise EOFError("the last frame is cut")
                return 0
            self._ready = self._decompress(block)
        size = min(len(buffer), len(self._ready))
        buffer[:size], self._ready = self._ready[:size], self._ready[size:]
        return size

    def _decompress(self, block: bytes) -> bytes:
        self._frame = self._frame or self._make()
        try:
            content = self._frame.decompress(block)
        except self._error as error:
            raise OSError(str(error)) from error
        self._rest = self._frame.unused_data
        if self._frame.eof:
            self._frame = None
        return content


class _Recoder(io.RawIOBase):
    """Reads a stream of UTF-16 or UTF-32 as UTF-8; what is damaged becomes bytes that are not UTF-8."""

    def __init__(self, stream: io.BufferedReader, encoding: str) -> None:
        super().__init__()
        self._stream, self._ready, self._is_done = stream, b"", False
        # Lone surrogates pass, because the parser rejects the line with them.
        self._decoder = codecs.getincrementaldecoder(encoding)("surrogatepass")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready and not self._is_done:
            self._ready = self._recode(self._stream.read(BLOCK_BYTES // 4))
        size = min(len(buffer), len(self._ready))
        buffer[:size], self._ready = self._ready[:size], self._ready[size:]
        return size

    def _recode(self, block: bytes) -> bytes:
        self._is_done = not block
        try:
            text = self._decoder.decode(block, self._is_done)
        except UnicodeDecodeError:  # The file ends inside a character, or is not UTF-16.
            self._is_done = True
            return b"\xff"
        return text.encode("utf-8", "surrogatepass")


class _GFileReader(io.RawIOBase):
    """A file of `tf.io.gfile` as a raw stream, so that `io.BufferedReader` adds a bounded `readline`."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._file = gfile().GFile(path, "rb")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with remote_errors():
            block = self._file.read(len(buffer))
        buffer[: len(block)] = block
        return len(block)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        with remote_errors():
            self._file.seek(offset, whence)
        return self.tell()

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self._file.close()
        super().close()
