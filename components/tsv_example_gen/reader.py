"""Reads files record by record, in byte ranges, so that several workers can read one file in parallel.

A line ends at a newline byte (0x0A), or at the end of a file without a final newline. Nothing else ends a line: a
carriage return, NUL, U+0085, U+2028, or a byte order mark inside a file is content (the parser drops a carriage return
directly before the newline). A byte order mark at the start of a file is not part of a line. A record is a line, or
several inside quotes (`dialect`, `records`). Every line except the header belongs to exactly one record, and every
record becomes an example or a rejected row.

Where records begin depends on everything before, so `survey` reads a file once to find it while it takes the digest; a
range then begins at a record. A compressed file is a single range, and its offsets count decompressed bytes.
"""

import codecs
import dataclasses
import hashlib
import io
import itertools
from typing import Callable, Iterator, Optional, Sequence, Union

from components.tsv_example_gen import parse
from components.tsv_example_gen.dialect import make_dialect
from components.tsv_example_gen.records import Record, join_lines
from components.tsv_example_gen.sources import SourceFile, is_compressed, open_stream, reading, size_bytes
from core.config import DataConfig
from schema.task import Task

# About 800,000 reviews: seconds of work, so that workers finish together, and few ranges to plan in memory.
RANGE_BYTES = 64 << 20
# Kept of a line that is too long: enough to recognise it.
KEPT_BYTES = 1024
# Checked of a file before anything starts: hundreds of reviews.
_HEAD_BYTES = 1 << 16
# Large enough for few calls, small enough for little memory.
_BLOCK_BYTES = 1 << 20


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
      start: byte offset, at which a record begins.
      end: byte offset, None for the end of the file.
      first_line: line number of the record at `start`.
    """

    file: SourceFile
    columns: tuple[str, ...]
    start: int
    end: Optional[int]
    first_line: int


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
        first_line, columns = 1, data.header
        if isinstance(columns, bool):
            header = next(_join(_lines(stream, start, 1, data.max_line_bytes), data, _never), None)
            columns = () if header is None else _parse_header(file, header, data)
            if header is not None:
                first_line += header.lines
                start += len(header.content) + 1
        stream.seek(start)
        return FileHead(columns, start, first_line, bool(stream.read(1)))


def read_heads(files: Sequence[SourceFile], data: DataConfig) -> list[FileHead]:
    """Reads the start of every file of one role.

    Raises:
      UserError: a file can't be used, or no file has a record.
    """
    heads = [read_head(file, data) for file in files]
    if files and not any(head.has_records for head in heads):
        raise files[0].error(f"is empty: no rows{' after the header' if data.header is True else ''}")
    return heads


def whole_file(file: SourceFile, head: FileHead) -> FileRange:
    """Returns all records of a file as one range."""
    return FileRange(file, head.columns, head.start, None, head.first_line)


def survey(
    file: SourceFile, head: FileHead, data: DataConfig, task: Task, range_bytes: int = RANGE_BYTES
) -> tuple[str, list[FileRange]]:
    """Reads a file to its end.

    Args:
      file: the file.
      head: its head.
      data: how to read it.
      task: the task, with the labels.
      range_bytes: size of a range, which ends with the record that begins in it.

    Returns:
      The SHA-256 of the decompressed content, and the file's ranges: none for a file without records.

    Raises:
      UserError: the file can't be read to its end.
    """
    with reading(file), open_stream(file.path) as stream:
        hashed = _HashedStream(stream)
        whole = whole_file(file, head)
        ranges = [whole] if head.has_records else []
        if ranges and not is_compressed(file.path) and size_bytes(file.path) > head.start + range_bytes:
            hashed.read(head.start)
            records = _join(
                _lines(hashed, head.start, head.first_line, data.max_line_bytes), data, _row_test(whole, data, task)
            )
            ranges = _cut(whole, records, range_bytes)
        while hashed.read(_BLOCK_BYTES):
            pass
        return hashed.sha256.hexdigest(), ranges


def read_records(file_range: FileRange, data: DataConfig, task: Task) -> Iterator[Record]:
    """Yields the records of a range in order, holding at most `data.max_line_bytes` in memory.

    Args:
      file_range: the range.
      data: how to read it.
      task: the task, with the labels.

    Raises:
      UserError: the file can't be read to its end.
    """
    with reading(file_range.file), open_stream(file_range.file.path) as stream:
        stream.seek(file_range.start)
        lines = _lines(stream, file_range.start, file_range.first_line, data.max_line_bytes)
        for record in _join(lines, data, _row_test(file_range, data, task)):
            if file_range.end is not None and record.offset >= file_range.end:
                return
            yield record


def _cut(whole: FileRange, records: Iterator[Record], range_bytes: int) -> list[FileRange]:
    """Cuts a file before the first record after each multiple of the range's size."""
    ranges, limit = [whole], whole.start + range_bytes
    for record in records:
        if record.offset >= limit:
            ranges.append(dataclasses.replace(whole, start=record.offset, first_line=record.number))
            limit = record.offset + range_bytes
    ends = [following.start for following in ranges[1:]]
    return [dataclasses.replace(one, end=end) for one, end in itertools.zip_longest(ranges, ends)]


def _row_test(file_range: FileRange, data: DataConfig, task: Task) -> Callable[[bytes], bool]:
    return parse.make_row_test(file_range.columns, data, task)


def _never(line: bytes) -> bool:
    return False


def _join(lines: Iterator[Record], data: DataConfig, is_row: Callable[[bytes], bool]) -> Iterator[Record]:
    return join_lines(lines, make_dialect(data), is_row, data.max_line_bytes)


def _lines(
    stream: Union[io.BufferedIOBase, "_HashedStream"], offset: int, number: int, max_line_bytes: int
) -> Iterator[Record]:
    """Yields the lines of a stream from where it is, in bounded reads."""
    while content := stream.readline(max_line_bytes + 1):
        size = len(content)
        too_long = size > max_line_bytes and not content.endswith(b"\n")
        if too_long:
            size += _skip_line(stream)
        yield Record(offset, number, content[:KEPT_BYTES] if too_long else content.removesuffix(b"\n"), too_long)
        offset += size
        number += 1


class _HashedStream:
    """A stream that takes the digest of what is read from it."""

    def __init__(self, stream: io.BufferedIOBase) -> None:
        self._stream, self.sha256 = stream, hashlib.sha256()

    def read(self, size: int) -> bytes:
        content = self._stream.read(size)
        self.sha256.update(content)
        return content

    def readline(self, size: int) -> bytes:
        content = self._stream.readline(size)
        self.sha256.update(content)
        return content


def _skip_line(stream: Union[io.BufferedIOBase, "_HashedStream"]) -> int:
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


def _parse_header(file: SourceFile, header: Record, data: DataConfig) -> tuple[str, ...]:
    names = parse.parse_fields(header.content, make_dialect(data))
    if isinstance(names, parse.Rejection):
        raise file.error(f"the first line is not a valid header ({names.reason}: {names.detail})")
    return tuple(names)


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
