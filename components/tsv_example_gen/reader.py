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
import json
from typing import Any, Callable, Iterator, Optional, Sequence, Union

from components.tsv_example_gen import diagnosis, parquet, parse
from components.tsv_example_gen.dialect import make_dialect
from components.tsv_example_gen.records import JoinedLines, Record
from components.tsv_example_gen.sources import SourceFile, reading, resolve_location
from components.tsv_example_gen.streams import BLOCK_BYTES, go_to, is_stored_plain, open_stream, size_bytes
from core.config import DataConfig, is_wide
from core.errors import UserError
from schema.task import Task

# About 800,000 reviews: seconds of work, so that workers finish together, and few ranges to plan in memory.
RANGE_BYTES = 64 << 20
# Kept of a line that is too long: enough to recognise it.
KEPT_BYTES = 1024
# Checked of a file before anything starts: hundreds of reviews.
_HEAD_BYTES = 1 << 16
# Looked at if the columns are not as configured.
_SHOWN_LINES = 50
_PARQUET = b"PAR1"


@dataclasses.dataclass(frozen=True)
class FileHead:
    """Properties of a file, according to its start.

    Attributes:
      columns: names of the columns; empty if the file is empty and should have had a header.
      start: byte offset of the first record, after a byte order mark and a header.
      first_line: line number of the first record, from 1.
      has_records: whether the file has any records.
      format: `tsv` (any delimiter), `jsonl` or `parquet`; of Parquet, offsets and line numbers count rows.
      lines: the first lines of a table, decoded, to say what is wrong with it.
    """

    columns: tuple[str, ...]
    start: int
    first_line: int
    has_records: bool
    format: str = "tsv"
    lines: tuple[str, ...] = ()

    @property
    def keys(self) -> Optional[tuple[str, ...]]:
        """As in `Dialect`."""
        return None if self.format == "tsv" else self.columns


@dataclasses.dataclass(frozen=True)
class FileRange:
    """The records of one file whose first byte lies in `[start, end)`.

    Attributes:
      file: the file.
      columns: names of its columns.
      start: byte offset, at which a record begins.
      end: byte offset, None for the end of the file.
      first_line: line number of the record at `start`.
      format: as in `FileHead`.
    """

    file: SourceFile
    columns: tuple[str, ...]
    start: int
    end: Optional[int]
    first_line: int
    format: str = "tsv"

    @property
    def keys(self) -> Optional[tuple[str, ...]]:
        """As in `Dialect`."""
        return None if self.format == "tsv" else self.columns


def read_head(file: SourceFile, data: DataConfig) -> FileHead:
    """Reads the start of a file.

    Raises:
      UserError: the file can't be read, or does not have the configured form; the message names its form.
    """
    with reading(file), open_stream(file.path, data.encoding) as stream:
        head = stream.read(_HEAD_BYTES)
        if head.startswith(_PARQUET) and data.format in ("auto", "parquet"):
            go_to(stream, 0)
            names, groups = parquet.read_columns(stream)
            return FileHead(names, 0, 1, bool(groups), "parquet")
    if data.format == "parquet" or head.startswith(_PARQUET):
        raise file.error(f"{'is' if head.startswith(_PARQUET) else 'is not'} a Parquet file; set data.format=auto")
    kind = diagnosis.name_other_kind(head, data)
    if kind is not None:
        raise file.error(kind)
    start = _byte_order_mark_bytes(head, data.encoding)
    if data.format == "jsonl" or (data.format == "auto" and diagnosis.is_json_lines(head)):
        return _read_first_object(file, head[start:], start)
    return _read_table_head(file, head, start, data)


def check_columns(file: SourceFile, head: FileHead, data: DataConfig, task: Task) -> None:
    """Checks that a file has the configured columns; an empty file of a glob has none to check.

    Raises:
      UserError: a column is missing; the message names the settings that would read the file.
    """
    try:
        layout = parse.make_layout(head.columns, data, task, head.keys) if head.columns else None
    except UserError as error:
        raise file.error(f"{error}{explain_columns(head, data, task)}") from error
    if layout is not None and not isinstance(data.header, bool):
        rows = [
            parse.parse_fields(line.encode(), dataclasses.replace(layout.dialect, encoding="utf-8"))
            for line in head.lines
        ]
        fault = diagnosis.name_misplaced_label([row for row in rows if isinstance(row, list)], head.columns, data, task)
        if fault is not None:
            raise file.error(fault)


def explain_columns(head: FileHead, data: DataConfig, task: Task) -> str:
    """Returns the end of a message about missing columns."""
    return diagnosis.explain_columns(head.lines, head.columns, data, task) if head.keys is None else ""


def check_local(data: DataConfig, task: Task) -> None:
    """Checks the start of the files on this machine, without importing TensorFlow.

    Raises:
      UserError: a file can't be used.
    """
    local = [("train", data.train), *([("test", data.test)] if data.test else [])]
    for role, location in local:
        if "://" not in location:
            for file, head in zip(*_heads_of(role, location, data), strict=True):
                check_columns(file, head, data, task)


def _heads_of(role: str, location: str, data: DataConfig) -> tuple[tuple[SourceFile, ...], list[FileHead]]:
    files = resolve_location(role, location, None, data.span)[0]
    return files, read_heads(files, data)


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
    return FileRange(file, head.columns, head.start, None, head.first_line, head.format)


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
    with reading(file), open_stream(file.path, data.encoding) as stream:
        hashed = _HashedStream(stream)
        ranges = [whole_file(file, head)] if head.has_records else []
        if head.format == "parquet":
            ranges = _row_groups(file, head)
        elif ranges and is_stored_plain(file.path, data.encoding):
            if size_bytes(file.path) > head.start + range_bytes:
                hashed.read(head.start)
                ranges = _cut(ranges[0], _Lines(hashed, head.start, head.first_line, data), data, task, range_bytes)
        while hashed.read(BLOCK_BYTES):
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
    with reading(file_range.file), open_stream(file_range.file.path, data.encoding) as stream:
        if file_range.format == "parquet":
            yield from parquet.read_rows(stream, file_range.start, file_range.end)
            return
        go_to(stream, file_range.start)
        lines = _Lines(stream, file_range.start, file_range.first_line, data)
        for record in _join(lines, data, _row_test(file_range, data, task), file_range.keys):
            if file_range.end is not None and record.offset >= file_range.end:
                return
            yield record


def _cut(whole: FileRange, lines: "_Lines", data: DataConfig, task: Task, range_bytes: int) -> list[FileRange]:
    """Cuts a file before the first record that begins `range_bytes` or more after the start of a range."""
    ranges = [whole]
    joined = _join(lines, data, _row_test(whole, data, task), whole.keys)
    records, marks = iter(joined), make_dialect(data, whole.keys).marks
    while True:
        limit = ranges[-1].start + range_bytes
        if joined.is_level:
            lines.skip_plain(marks, limit)
        record = next(records, None)
        if record is None:
            break
        if record.offset >= limit:
            ranges.append(dataclasses.replace(whole, start=record.offset, first_line=record.number))
    ends = [following.start for following in ranges[1:]]
    return [dataclasses.replace(one, end=end) for one, end in itertools.zip_longest(ranges, ends)]


def _row_test(file_range: FileRange, data: DataConfig, task: Task) -> Callable[[bytes], bool]:
    return parse.make_row_test(file_range.columns, data, task)


def _row_groups(file: SourceFile, head: FileHead) -> list[FileRange]:
    """Returns the row groups of a Parquet file as ranges."""
    with open_stream(file.path) as stream:
        starts = list(itertools.accumulate(parquet.read_columns(stream)[1], initial=0))
    whole = whole_file(file, head)
    return [
        dataclasses.replace(whole, start=start, end=end, first_line=start + 1)
        for start, end in itertools.pairwise(starts)
        if end > start
    ]


def _join(
    lines: "_Lines", data: DataConfig, is_row: Callable[[bytes], bool], keys: Optional[tuple[str, ...]] = None
) -> JoinedLines:
    comment = None if data.comment is None or keys is not None else data.comment.encode()
    return JoinedLines(lines, make_dialect(data, keys), is_row, data.max_line_bytes, comment)


class _Lines:
    """Iterates over the lines of a stream from where it is, in bounded reads."""

    def __init__(self, stream: "_Stream", offset: int, number: int, data: DataConfig) -> None:
        self._stream, self._offset, self._number, self._max_bytes = stream, offset, number, data.max_line_bytes

    def __iter__(self) -> "_Lines":
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


class _HashedStream:
    """A stream that takes the digest of what is read from it."""

    def __init__(self, stream: io.BufferedReader) -> None:
        self._stream, self.sha256 = stream, hashlib.sha256()
        self.peek = stream.peek

    def read(self, size: int) -> bytes:
        content = self._stream.read(size)
        self.sha256.update(content)
        return content

    def readline(self, size: int) -> bytes:
        content = self._stream.readline(size)
        self.sha256.update(content)
        return content


_Stream = Union[io.BufferedReader, _HashedStream]


def _skip_line(stream: _Stream) -> int:
    """Skips past the next newline, in bounded reads, and returns the number of bytes skipped."""
    size = 0
    while piece := stream.readline(_HEAD_BYTES):
        size += len(piece)
        if piece.endswith(b"\n"):
            break
    return size


def _byte_order_mark_bytes(head: bytes, encoding: str) -> int:
    """Returns the length of a byte order mark, which only files in UTF-8 have after recoding."""
    is_utf8 = is_wide(encoding) or codecs.lookup(encoding).name in ("utf-8", "utf-8-sig")
    return len(codecs.BOM_UTF8) if is_utf8 and head.startswith(codecs.BOM_UTF8) else 0


def _read_first_object(file: SourceFile, head: bytes, start: int) -> FileHead:
    """Returns the head of JSON Lines: the columns are the keys of the first object."""
    first = next((line for line in head.split(b"\n") if line.strip()), b"")
    if not first:
        return FileHead((), start, 1, False, "jsonl")
    if not diagnosis.is_json_lines(first):
        raise file.error("the first line is not a JSON object; set data.format=tsv for a table")
    return FileHead(tuple(json.loads(first)), start, 1, True, "jsonl")


def _read_table_head(file: SourceFile, head: bytes, start: int, data: DataConfig) -> FileHead:
    stream: Any = io.BufferedReader(io.BytesIO(head))
    stream.seek(start)
    start += sum(len(stream.readline()) for _ in range(data.skip_lines))
    _check_is_text(file, head, start, data)
    first_lines = _first_lines(head[start:], make_dialect(data).encoding)
    number, columns = 1 + data.skip_lines, data.header
    if isinstance(columns, bool):
        header = next(iter(_join(_Lines(stream, start, number, data), data, lambda line: False)), None)
        columns = () if header is None else _parse_header(file, header, data)
        if header is not None:
            number, start = header.number + header.lines, header.offset + len(header.content) + 1
    return FileHead(columns, start, number, start < len(head), "tsv", first_lines)


def _first_lines(head: bytes, encoding: str) -> tuple[str, ...]:
    lines = head.split(b"\n")[:_SHOWN_LINES]
    whole = lines if len(lines) == 1 else lines[:-1]
    return tuple(parse.readable(line.removesuffix(b"\r"), encoding) for line in whole)


def _parse_header(file: SourceFile, header: Record, data: DataConfig) -> tuple[str, ...]:
    names = parse.parse_fields(header.content, make_dialect(data))
    if isinstance(names, parse.Rejection):
        raise file.error(f"the first line is not a valid header ({names.reason}: {names.detail})")
    return tuple(names)


def _check_is_text(file: SourceFile, head: bytes, start: int, data: DataConfig) -> None:
    """Rejects a binary file or a wrong encoding by the file's first lines; a few undecodable lines are allowed."""
    encoding, lines = make_dialect(data).encoding, head[start:].removesuffix(b"\n").split(b"\n")
    if data.header is True and b"\0" in lines[0]:
        raise file.error(
            "is a binary file (the first line contains a NUL byte); expected a TSV; of UTF-16 without a mark, set "
            "data.encoding=utf-16-le"
        )
    if len(head) == _HEAD_BYTES:
        lines.pop()  # Cut off, perhaps inside a character.
    undecodable = [_is_undecodable(line, encoding) for line in lines]
    if data.header is True and undecodable[:1] == [True]:
        raise file.error(
            f"the first line can't be decoded with data.encoding = {data.encoding}: a binary file, or a different "
            "encoding"
        )
    # Damaged rows are rare; if most lines can't be decoded, the encoding is wrong.
    if 2 * sum(undecodable) > len(lines):
        raise file.error(
            f"{sum(undecodable)} of the first {len(lines)} lines can't be decoded with data.encoding = {data.encoding};"
            " set the file's encoding (often cp949 for Korean files)"
        )


def _is_undecodable(line: bytes, encoding: str) -> bool:
    try:
        line.decode(encoding)
    except UnicodeError:
        return True
    return False
