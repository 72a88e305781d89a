"""The lines of a stream in bounded reads, and the records that they make up.

A line ends at a newline byte (0x0A), or at the end of a file without a final newline. Nothing else ends a line: a
carriage return, NUL, U+0085, U+2028, or a byte order mark inside a file is content (the parser drops a carriage return
directly before the newline).
"""

import hashlib
import io
from typing import Callable, Optional, Sequence, Union

from components.tsv_example_gen.dialect import make_dialect
from components.tsv_example_gen.records import JoinedLines, Record
from core.config import DataConfig

# Kept of a line that is too long: enough to recognise it.
KEPT_BYTES = 1024

# Read at once of the rest of such a line.
_SKIPPED_BYTES = 1 << 16


class HashedStream:
    """A stream that takes the digest of what is read from it."""

    def __init__(self, stream: io.BufferedReader) -> None:
        self._stream, self.sha256 = stream, hashlib.sha256()
        self.peek = stream.peek

    def read(self, size: int) -> bytes:
        """As of a file."""
        content = self._stream.read(size)
        self.sha256.update(content)
        return content

    def readline(self, size: int) -> bytes:
        """As of a file."""
        content = self._stream.readline(size)
        self.sha256.update(content)
        return content


Stream = Union[io.BufferedReader, HashedStream]


class Lines:
    """Iterates over the lines of a stream from where it is, in bounded reads."""

    def __init__(self, stream: Stream, offset: int, number: int, data: DataConfig) -> None:
        self._stream, self._offset, self._number, self._max_bytes = stream, offset, number, data.max_line_bytes

    def __iter__(self) -> "Lines":
        return self

    def __next__(self) -> Record:
        content = self._stream.readline(self._max_bytes + 1)
        if not content:
            raise StopIteration
        offset, number, size = self._offset, self._number, len(content)
        too_long = size > self._max_bytes and not content.endswith(b"\n")
        if too_long:
            size += _skip_line(self._stream)
        self._offset, self._number = offset + size, number + 1
        return Record(offset, number, content[:KEPT_BYTES] if too_long else content.removesuffix(b"\n"), too_long)

    def skip_plain(self, marks: Sequence[bytes], limit: int) -> None:
        """Skips buffered lines that begin before an offset and contain none of some bytes: they are records."""
        block = self._stream.peek()
        stops = [place for mark in marks if (place := block.find(mark)) >= 0]
        end = block.rfind(b"\n", 0, max(0, min([len(block), limit - self._offset, *stops]))) + 1
        self._offset += end
        self._number += block.count(b"\n", 0, end)
        self._stream.read(end)


def _skip_line(stream: Stream) -> int:
    """Skips past the next newline, in bounded reads, and returns the number of bytes skipped."""
    size = 0
    while piece := stream.readline(_SKIPPED_BYTES):
        size += len(piece)
        if piece.endswith(b"\n"):
            break
    return size


def join_lines(
    lines: Lines, data: DataConfig, is_row: Callable[[bytes], bool], keys: Optional[tuple[str, ...]] = None
) -> JoinedLines:
    """Returns the records of lines.

    Args:
      lines: the lines.
      data: how to read them.
      is_row: whether a line is a row with a label by itself.
      keys: as in `Dialect`.
    """
    comment = None if data.comment is None or keys is not None else data.comment.encode()
    return JoinedLines(lines, make_dialect(data, keys), is_row, data.max_line_bytes, comment)
