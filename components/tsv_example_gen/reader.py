"""Reads files line by line, in byte ranges, so that several workers can read one file in parallel.

A line ends at a newline byte (0x0A), or at the end of a file without a final newline. Nothing else ends a line: a
carriage return, NUL, U+0085, U+2028, or a byte order mark inside a file is content (the parser drops a carriage return
directly before the newline). A byte order mark at the start of a file is not part of a line. Every line except the
header is returned exactly once, and becomes an example or a rejected row.

A line belongs to the range that contains its first byte: the reader of a range skips the line that began before the
range, and reads its last line to the end, beyond the range, so the lines do not depend on the ranges. A compressed file
is a single range, and its offsets count decompressed bytes.
"""

import codecs
import dataclasses
import io
import itertools
from typing import Iterator, Optional, Sequence

from components.tsv_example_gen import parse
from components.tsv_example_gen.sources import SourceFile, is_compressed, open_stream, reading, size_bytes
from core.config import DataConfig

# About 800,000 reviews: seconds of work, so that workers finish together, and few ranges to plan in memory.
RANGE_BYTES = 64 << 20
# Kept of a line that is too long: enough to recognise it.
KEPT_BYTES = 1024
# Checked of a file before anything starts: hundreds of reviews.
_HEAD_BYTES = 1 << 16


@dataclasses.dataclass(frozen=True)
class FileHead:
    """Properties of a file, according to its start.

    Attributes:
      columns: names of the columns; empty if the file is empty and should have had a header.
      start: byte offset of the first record, after a byte order mark and a header.
      first_line: line number of the first record, from 1.
      has_records: whether the file has any records.
    """

    columns: tuple[str, ...]
    start: int
    first_line: int
    has_records: bool


@dataclasses.dataclass(frozen=True)
class FileRange:
    """The records of one file whose first byte lies in `[start, end)`.

    Attributes:
      file: the file.
      columns: names of its columns.
      start: byte offset; a record starts exactly there if `first_line` is set.
      end: byte offset, None for the end of the file.
      first_line: line number of the record at `start`, None if unknown.
    """

    file: SourceFile
    columns: tuple[str, ...]
    start: int
    end: Optional[int]
    first_line: Optional[int]


@dataclasses.dataclass(frozen=True)
class Line:
    """One line of a file.

    Attributes:
      offset: offset of its first byte in the file.
      number: line number from 1, None if unknown.
      content: the bytes without the newline; only the first `KEPT_BYTES` of a line that is too long.
      too_long: whether it has more than `data.max_line_bytes` bytes.
    """

    offset: int
    number: Optional[int]
    content: bytes
    too_long: bool


def read_head(file: SourceFile, data: DataConfig) -> FileHead:
    """Reads the start of a file.

    Raises:
      UserError: the file can't be read, or isn't text in `data.encoding`.
    """
    with reading(file), open_stream(file.path) as stream:
        start = _skip_byte_order_mark(stream, data.encoding)
        head = stream.read(_HEAD_BYTES)
        stream.seek(start)
        _check_is_text(file, head, data)
        header_bytes, columns = 0, data.header
        if isinstance(columns, bool):
            header_bytes, columns = _read_header(file, stream, data)
        return FileHead(columns, start + header_bytes, 2 if header_bytes else 1, bool(stream.read(1)))


def read_heads(files: Sequence[SourceFile], data: DataConfig) -> list[FileHead]:
    """Reads the start of every file of one role.

    Raises:
      UserError: a file can't be used, or no file has a record.
    """
    heads = [read_head(file, data) for file in files]
    if files and not any(head.has_records for head in heads):
        raise files[0].error(f"is empty: no rows{' after the header' if data.header is True else ''}")
    return heads


def cut_into_ranges(file: SourceFile, head: FileHead, range_bytes: int = RANGE_BYTES) -> list[FileRange]:
    """Cuts a file's records into ranges; returns an empty list for a file without records."""
    if not head.has_records:
        return []
    first = FileRange(file, head.columns, head.start, None, head.first_line)
    if is_compressed(file.path):
        return [first]
    starts = range(head.start, size_bytes(file.path), range_bytes)
    later = [dataclasses.replace(first, start=start, first_line=None) for start in starts[1:]]
    ranges = [first, *later]
    cut = [dataclasses.replace(one, end=following.start) for one, following in itertools.pairwise(ranges)]
    return cut + ranges[-1:]


def read_lines(file_range: FileRange, max_line_bytes: int) -> Iterator[Line]:
    """Yields the lines of a range in order, holding at most `max_line_bytes` in memory.

    Raises:
      UserError: the file can't be read to its end.
    """
    with reading(file_range.file), open_stream(file_range.file.path) as stream:
        offset, number = _go_to_first_record(stream, file_range), file_range.first_line
        while file_range.end is None or offset < file_range.end:
            content = stream.readline(max_line_bytes + 1)
            if not content:
                return
            size = len(content)
            too_long = size > max_line_bytes and not content.endswith(b"\n")
            if too_long:
                size += _skip_line(stream)
            yield Line(offset, number, content[:KEPT_BYTES] if too_long else content.removesuffix(b"\n"), too_long)
            offset += size
            number = None if number is None else number + 1


def _go_to_first_record(stream: io.BufferedIOBase, file_range: FileRange) -> int:
    """Moves to the first record that starts in the range and returns its offset."""
    if file_range.first_line is not None:
        return stream.seek(file_range.start)
    # From one byte earlier: if that is a newline, a record starts exactly at the range's start.
    offset = stream.seek(file_range.start - 1)
    return offset + _skip_line(stream)


def _skip_line(stream: io.BufferedIOBase) -> int:
    """Skips past the next newline, in bounded reads, and returns the number of bytes skipped."""
    size = 0
    while piece := stream.readline(_HEAD_BYTES):
        size += len(piece)
        if piece.endswith(b"\n"):
            break
    return size


def _skip_byte_order_mark(stream: io.BufferedIOBase, encoding: str) -> int:
    """Returns the offset after a byte order mark, which only UTF-8 files have."""
    is_utf8 = codecs.lookup(encoding).name in ("utf-8", "utf-8-sig")
    marked = is_utf8 and stream.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8
    return stream.seek(len(codecs.BOM_UTF8) if marked else 0)


def _read_header(file: SourceFile, stream: io.BufferedIOBase, data: DataConfig) -> tuple[int, tuple[str, ...]]:
    """Returns the size of the header in bytes and the column names; `(0, ())` for an empty file."""
    line = stream.readline(data.max_line_bytes + 1)
    if not line:
        return 0, ()
    names = parse.parse_fields(line.removesuffix(b"\n"), data.quoting, data.encoding)
    if isinstance(names, parse.Rejection):
        raise file.error(f"the first line is not a valid header ({names.reason}: {names.detail})")
    return len(line), tuple(names)


def _check_is_text(file: SourceFile, head: bytes, data: DataConfig) -> None:
    """Rejects a binary file or a wrong encoding by the file's first lines; a few undecodable lines are allowed."""
    encoding, lines = data.encoding, head.removesuffix(b"\n").split(b"\n")
    if data.header is True and b"\0" in lines[0]:
        raise file.error("is a binary file (the first line contains a NUL byte); expected a TSV")
    if len(head) == _HEAD_BYTES:
        lines.pop()  # Cut off, perhaps inside a character.
    undecodable = [_is_undecodable(line, encoding) for line in lines]
    if data.header is True and undecodable[:1] == [True]:
        raise file.error(
            f"the first line can't be decoded with data.encoding = {encoding}: a binary file, or a different encoding"
        )
    # Damaged rows are rare; if most lines can't be decoded, the encoding is wrong.
    if 2 * sum(undecodable) > len(lines):
        raise file.error(
            f"{sum(undecodable)} of the first {len(lines)} lines can't be decoded with data.encoding = {encoding}; "
            "set the file's encoding (often cp949 for Korean files)"
        )


def _is_undecodable(line: bytes, encoding: str) -> bool:
    try:
        line.decode(encoding)
    except UnicodeError:
        return True
    return False
