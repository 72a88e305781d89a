"""Files to lines, each with its place; in byte ranges, so that engines can read one file in parallel.

What a line is: bytes up to a newline byte (0x0A), or up to the end of the file where that is no newline. Nothing else
ends one: a carriage return, NUL, U+0085, U+2028 or a byte order mark inside a file are content (the parser drops a
carriage return right before the newline). A byte order mark at the file's start belongs to no line. Every line
but the header comes out of here once, and becomes an example or a rejected row.

A line belongs to the range that its first byte lies in: whoever reads a range skips the line that began before
it, and reads the last one to its end beyond the range. So any cut gives the same lines. A compressed file is one
range, its offsets count uncompressed bytes.
"""

import codecs
import dataclasses
import itertools
from typing import BinaryIO, Iterator, Optional, Sequence

from components.tsv_example_gen import parse
from components.tsv_example_gen.sources import SourceFile, is_compressed, open_stream, reading, size_bytes
from core.config import DataConfig
from core.errors import UserError
from schema.task import Task

# Some 800,000 reviews: seconds of work, so that workers end together, and few enough to plan in memory.
RANGE_BYTES = 64 << 20
# Of a line that is too long, this much is kept: enough to see what it is.
KEPT_BYTES = 1024
# How much of a file is looked at before anything starts: hundreds of reviews.
_HEAD_BYTES = 1 << 16


@dataclasses.dataclass(frozen=True)
class FileHead:
    """What is known of a file before its records are read.

    Attributes:
      layout: its columns.
      start: byte offset of the first record, after a byte order mark and a header.
      first_line: number of the first record's line, from 1.
      has_records: whether anything follows.
    """

    layout: parse.Layout
    start: int
    first_line: int
    has_records: bool


@dataclasses.dataclass(frozen=True)
class FileRange:
    """The records of one file whose first byte lies in `[start, end)`.

    Attributes:
      file: the file.
      layout: its columns.
      start: byte offset; a record starts there only if `first_line` says which.
      end: byte offset, None for the end of the file.
      first_line: line number of the record at `start`, None where nobody counted.
    """

    file: SourceFile
    layout: parse.Layout
    start: int
    end: Optional[int]
    first_line: Optional[int]


@dataclasses.dataclass(frozen=True)
class Line:
    """One line of a file.

    Attributes:
      offset: of its first byte.
      number: from 1, None where nobody counted.
      content: the bytes without the newline; only the first ones where it is too long.
      too_long: whether it has more than `data.max_line_bytes` bytes.
    """

    offset: int
    number: Optional[int]
    content: bytes
    too_long: bool


def read_head(file: SourceFile, data: DataConfig, task: Task) -> FileHead:
    """Looks at the start of a file.

    Raises:
      UserError: it can't be read, is no text in `data.encoding`, or lacks a column.
    """
    with reading(file), open_stream(file.path) as stream:
        start = _skip_byte_order_mark(stream, data.encoding)
        head = stream.read(_HEAD_BYTES)
        stream.seek(start)
        _check_is_text(file, head, data)
        names, size = (data.header, 0) if data.header is not True else _read_header(file, stream, data)
        has_records = bool(stream.read(1))
    try:
        layout = parse.make_layout(names, data, task)
    except UserError as error:
        raise file.fault(str(error)) from error
    return FileHead(layout, start + size, 2 if size else 1, has_records)


def read_heads(files: Sequence[SourceFile], data: DataConfig, task: Task) -> list[FileHead]:
    """Looks at the start of every file of one role.

    Raises:
      UserError: one of them can't be used, or none holds a record.
    """
    heads = [read_head(file, data, task) for file in files]
    if files and not any(head.has_records for head in heads):
        raise files[0].fault(f"is empty: no rows{' after the header' if data.header is True else ''}")
    return heads


def cut_into_ranges(file: SourceFile, head: FileHead, range_bytes: int = RANGE_BYTES) -> list[FileRange]:
    """Cuts a file's records into ranges; a file without any has none."""
    if not head.has_records:
        return []
    first = FileRange(file, head.layout, head.start, None, head.first_line)
    if is_compressed(file.path):
        return [first]
    starts = range(head.start, size_bytes(file.path), range_bytes)
    later = [dataclasses.replace(first, start=start, first_line=None) for start in starts[1:]]
    ranges = [first, *later]
    cut = [dataclasses.replace(one, end=following.start) for one, following in itertools.pairwise(ranges)]
    return cut + ranges[-1:]


def read_lines(file_range: FileRange, max_line_bytes: int) -> Iterator[Line]:
    """Yields the lines of a range in order; memory is that of one line of `max_line_bytes` at most.

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


def _go_to_first_record(stream: BinaryIO, file_range: FileRange) -> int:
    """Moves to the first record that starts in the range and returns its offset."""
    if file_range.first_line is not None:
        return stream.seek(file_range.start)
    # From one byte earlier: where that is a newline, a record starts right at the range's start.
    offset = stream.seek(file_range.start - 1)
    return offset + _skip_line(stream)


def _skip_line(stream: BinaryIO) -> int:
    """Reads past the next newline, in bounded pieces, and returns the number of bytes."""
    size = 0
    while piece := stream.readline(_HEAD_BYTES):
        size += len(piece)
        if piece.endswith(b"\n"):
            break
    return size


def _skip_byte_order_mark(stream: BinaryIO, encoding: str) -> int:
    """Returns the offset behind a byte order mark; only Unicode's codecs have one."""
    is_utf8 = codecs.lookup(encoding).name in ("utf-8", "utf-8-sig")
    marked = is_utf8 and stream.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8
    return stream.seek(len(codecs.BOM_UTF8) if marked else 0)


def _read_header(file: SourceFile, stream: BinaryIO, data: DataConfig) -> tuple[list[str], int]:
    """Returns the column names and the size of their line in bytes."""
    line = stream.readline(data.max_line_bytes + 1)
    if not line:
        # An empty part of a glob has no columns to find; those configured stand in.
        return [name for name in (data.id, data.text, data.label) if name], 0
    names = parse.parse_fields(line.removesuffix(b"\n"), data.quoting, data.encoding)
    if isinstance(names, parse.Rejection):
        raise file.fault(f"the first line is no header ({names.reason}: {names.detail})")
    return names, len(line)


def _check_is_text(file: SourceFile, head: bytes, data: DataConfig) -> None:
    """Refuses a binary file and one in another codec, by its first lines; a single damaged record is none."""
    encoding, lines = data.encoding, head.removesuffix(b"\n").split(b"\n")
    if data.header is True and b"\0" in lines[0]:
        raise file.fault("is a binary file (a NUL byte in the first line); a TSV is expected")
    if len(head) == _HEAD_BYTES:
        lines.pop()  # Cut short, maybe within a character.
    foreign = [_is_undecodable(line, encoding) for line in lines]
    if data.header is True and foreign[:1] == [True]:
        raise file.fault(f"the first line is no text in data.encoding = {encoding}: a binary file, or another codec")
    # Damaged rows are few; where most can't be decoded, the codec is wrong.
    if 2 * sum(foreign) > len(lines):
        raise file.fault(
            f"{sum(foreign)} of the first {len(lines)} lines are no text in data.encoding = {encoding}; "
            "name the codec that the file is in (Korean files are often cp949)"
        )


def _is_undecodable(line: bytes, encoding: str) -> bool:
    try:
        line.decode(encoding)
    except UnicodeError:
        return True
    return False
