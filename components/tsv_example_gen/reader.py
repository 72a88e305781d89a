"""Reads files record by record, in ranges, so that several workers can read one file in parallel.

A byte order mark at the start of a file and its header (`file_head`) are not part of a record. A record is a line, or
several inside quotes (`lines`, `dialect`, `records`). Every line except the header belongs to exactly one record, and
every record becomes an example or a rejected row.

Where records begin depends on everything before, so `survey` reads a file once to find it while it takes the digest; a
range then begins at a record. A compressed file is a single range, and its offsets count decompressed bytes.
"""

import dataclasses
import itertools
from typing import Callable, Iterator, Optional

from components.tsv_example_gen import parquet, parse
from components.tsv_example_gen.dialect import make_dialect
from components.tsv_example_gen.file_head import FileHead
from components.tsv_example_gen.lines import HashedStream, Lines, join_lines
from components.tsv_example_gen.records import Record
from components.tsv_example_gen.sources import SourceFile, reading
from components.tsv_example_gen.streams import BLOCK_BYTES, go_to, is_stored_plain, open_stream, size_bytes
from core.config import DataConfig
from schema.task import Task

# The largest range, about 800,000 reviews: few to plan in memory.
RANGE_BYTES = 64 << 20
# The smallest one that several workers share: a second of work.
_LEAST_RANGE_BYTES = 1 << 20
# Ranges for each worker, so that all finish at about the same time.
_RANGES_PER_WORKER = 4


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


def choose_range_bytes(total_bytes: int, workers: int) -> int:
    """Returns the size of the ranges of files that several workers read.

    Args:
      total_bytes: size of all files.
      workers: number of workers; for one, ranges have the largest size.
    """
    if workers == 1:
        return RANGE_BYTES
    return min(max(total_bytes // (workers * _RANGES_PER_WORKER), _LEAST_RANGE_BYTES), RANGE_BYTES)


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
        hashed = HashedStream(stream)
        ranges = [whole_file(file, head)] if head.has_records else []
        if head.format == "parquet":
            ranges = _row_groups(file, head)
        elif ranges and is_stored_plain(file.path, data.encoding):
            if size_bytes(file.path) > head.start + range_bytes:
                hashed.read(head.start)
                ranges = _cut(ranges[0], Lines(hashed, head.start, head.first_line, data), data, task, range_bytes)
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
        lines = Lines(stream, file_range.start, file_range.first_line, data)
        for record in join_lines(lines, data, _row_test(file_range, data, task), file_range.keys):
            if file_range.end is not None and record.offset >= file_range.end:
                return
            yield record


def _cut(whole: FileRange, lines: Lines, data: DataConfig, task: Task, range_bytes: int) -> list[FileRange]:
    """Cuts a file before the first record that begins `range_bytes` or more after the start of a range."""
    ranges = [whole]
    joined = join_lines(lines, data, _row_test(whole, data, task), whole.keys)
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
