"""Unpacks the untrusted archive of a published model, which may contain only plain files and folders.

Every member is checked before it is written, and no more is read than its header declares. A path that leaves the
folder, a link, a device or a decompression bomb raises an error; the caller then deletes the folder.
"""

import contextlib
import gzip
import io
import os
import tarfile
import zlib
from typing import IO, Iterator, Optional, Union

from core import escape

# Four times the float32 weights of the largest text encoder on TF Hub.
MAX_BYTES = 16 << 30
# A SavedModel has a dozen files.
MAX_MEMBERS = 10_000
# Weights compress by a tenth, text to a third; a ratio of 100 is a decompression bomb.
MAX_RATIO = 100
# Allowed at any ratio: a small archive of a regular vocabulary compresses well.
_FREE_BYTES = 64 << 20
# Headers between two members: blocks of 512 bytes, more for a long name. Anything larger could fill the memory, or nest
# until Python's recursion limit.
_HEADER_BYTES = 64 << 10
# Padding at the end; tar writes up to 10 KiB.
_PADDING_BYTES = 1 << 20

_Stream = Union[IO[bytes], gzip.GzipFile]

_GZIP_MAGIC = b"\x1f\x8b"


class UnsafeArchiveError(Exception):
    """The archive contains something that no published model needs; the message describes it."""


def unpack(file: str, folder: str) -> None:
    """Unpacks a tar archive, gzipped or not.

    Args:
      file: the archive.
      folder: an existing folder. Nothing is written outside it; after an error its content is incomplete.

    Raises:
      UnsafeArchiveError: the archive contains something that no published model needs.
      tarfile.ReadError: not a tar archive, or damaged.
      OSError: the folder can't be written.
    """
    limit = min(MAX_BYTES, MAX_RATIO * os.path.getsize(file) + _FREE_BYTES)
    try:
        with _open(file) as stream:
            _extract(_LimitedReader(stream), folder, limit)
            # Read to the end, which makes gzip verify the checksum.
            if len(stream.read(_PADDING_BYTES)) == _PADDING_BYTES:
                raise UnsafeArchiveError("there is data after its end")
    except (EOFError, ValueError, gzip.BadGzipFile, tarfile.TarError, zlib.error) as error:
        raise tarfile.ReadError(f"not a tar archive, or damaged: {error}") from error


def check_member(member: tarfile.TarInfo) -> Optional[str]:
    """Returns what is wrong with a member, or None for a plain file or folder."""
    if member.name.startswith(("/", "\\")) or member.name[1:2] == ":":
        return "has an absolute path"
    if ".." in member.name.replace("\\", "/").split("/"):
        return "has a path that leaves the folder by `..`"
    if escape.line(member.name) != member.name:
        return "has a control character in its path"
    if member.issym() or member.islnk():
        return f"is a link to {escape.quote(member.linkname)}"
    if member.issparse() or not (member.isreg() or member.isdir()):
        return "is neither a file nor a folder"
    return "has a negative size" if member.size < 0 else None


def _extract(stream: "_LimitedReader", folder: str, limit: int) -> None:
    unpacked = 0
    with tarfile.open(fileobj=stream, mode="r:") as archive:
        for count, member in enumerate(archive, start=1):
            fault = check_member(member)
            unpacked += member.size
            if fault is None and unpacked > limit:
                fault = f"brings the total to {unpacked} bytes; the limit is {limit}"
            if fault is None and count > MAX_MEMBERS:
                fault = f"exceeds the limit of {MAX_MEMBERS} members"
            if fault is not None:
                raise UnsafeArchiveError(f"its member {escape.quote(member.name)} {fault}")
            stream.left = member.size
            archive.extract(member, folder, filter="data")
            stream.left = _HEADER_BYTES


@contextlib.contextmanager
def _open(file: str) -> Iterator[_Stream]:
    with open(file, "rb") as raw:
        is_gzip = raw.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
        raw.seek(0)
        if not is_gzip:
            yield raw
            return
        with gzip.GzipFile(fileobj=raw) as stream:
            yield stream


class _LimitedReader(io.RawIOBase):
    """A stream that returns at most `left` bytes to tarfile, which trusts any size in a header."""

    def __init__(self, stream: _Stream) -> None:
        self._stream = stream
        self.left = _HEADER_BYTES

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= self.left:
            raise UnsafeArchiveError(f"a header in it requests {size} bytes")
        self.left -= size
        return self._stream.read(size)
