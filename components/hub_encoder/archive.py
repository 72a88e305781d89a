"""Unpacks the archive of a published model, which is data of strangers: plain files and folders, or nothing of it.

Every member is looked at before it is written, and only what it declared is read of it. So a name that leads out,
a link, a device or a bomb ends the unpacking; the caller throws the folder away.
"""

import contextlib
import gzip
import os
import tarfile
import zlib
from typing import BinaryIO, Iterator, Optional

from core import escape

# Float32 weights of a text encoder four times the size of the largest on TF Hub.
MAX_BYTES = 16 << 30
# A SavedModel has a dozen files.
MAX_MEMBERS = 10_000
# Weights shrink by a tenth, texts to a third; a hundredth is made to fill a disk.
MAX_RATIO = 100
# What so small an archive may unpack to whatever the ratio: vocabularies can be regular.
_FREE_BYTES = 64 << 20
# Headers between two members: a block of 512 bytes each, a long name in some more. What asks for more would fill the
# memory, or nest until Python gives up.
_HEADER_BYTES = 64 << 10
# Padding at the end, by tar's own default 10 KiB.
_PADDING_BYTES = 1 << 20

_GZIP_MAGIC = b"\x1f\x8b"


class Refused(Exception):
    """An archive holds what a published model does not; the text says what."""


def unpack(file: str, folder: str) -> None:
    """Unpacks a tar archive, gzipped or not.

    Args:
      file: the archive.
      folder: where to; it exists. Nothing is ever written outside it, and what is in it after an error is rubbish.

    Raises:
      Refused: it holds what a published model does not.
      tarfile.ReadError: it is no archive, or damaged.
      OSError: the folder can't be written to.
    """
    limit = min(MAX_BYTES, MAX_RATIO * os.path.getsize(file) + _FREE_BYTES)
    try:
        with _opened(file) as stream:
            _extract(_Rationed(stream), folder, limit)
            # Read to the end, where gzip's checksum is.
            if len(stream.read(_PADDING_BYTES)) == _PADDING_BYTES:
                raise Refused("there is more behind its end")
    except (EOFError, ValueError, gzip.BadGzipFile, tarfile.TarError, zlib.error) as error:
        raise tarfile.ReadError(f"no tar archive, or a damaged one: {error}") from error


def member_fault(member: tarfile.TarInfo) -> Optional[str]:
    """Returns what is wrong with a member, None where it is a file or a folder inside the archive."""
    if member.name.startswith(("/", "\\")) or member.name[1:2] == ":":
        return "has an absolute path"
    if ".." in member.name.replace("\\", "/").split("/"):
        return "has a path that leads out by `..`"
    if escape.line(member.name) != member.name:
        return "has a control character in its path"
    if member.issym() or member.islnk():
        return f"is a link to {escape.quote(member.linkname)}"
    if member.issparse() or not (member.isreg() or member.isdir()):
        return "is neither a file nor a folder"
    return "has a negative size" if member.size < 0 else None


def _extract(stream: "_Rationed", folder: str, limit: int) -> None:
    unpacked = 0
    with tarfile.open(fileobj=stream, mode="r:") as archive:
        for count, member in enumerate(archive, start=1):
            fault = member_fault(member)
            unpacked += member.size
            if fault is None and unpacked > limit:
                fault = f"makes it {unpacked} bytes, where at most {limit} are unpacked"
            if fault is None and count > MAX_MEMBERS:
                fault = f"is one more than the {MAX_MEMBERS} that a model may have"
            if fault is not None:
                raise Refused(f"its member {escape.quote(member.name)} {fault}")
            stream.left = member.size
            archive.extract(member, folder, filter="data")
            stream.left = _HEADER_BYTES


@contextlib.contextmanager
def _opened(file: str) -> Iterator[BinaryIO]:
    with open(file, "rb") as raw:
        is_gzip = raw.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
        raw.seek(0)
        if not is_gzip:
            yield raw
            return
        with gzip.GzipFile(fileobj=raw) as stream:
            yield stream


class _Rationed:
    """A stream for tarfile that gives no more than `left` bytes: tarfile itself believes any size in a header."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.left = _HEADER_BYTES
        self.seek, self.tell = stream.seek, stream.tell

    def read(self, size: int) -> bytes:
        if not 0 <= size <= self.left:
            raise Refused(f"a header in it asks for {size} bytes")
        self.left -= size
        return self._stream.read(size)
