"""Reads Parquet files as JSON Lines: one JSON object per row, whose offset is the row's number from 0."""

import json
from typing import Any, BinaryIO, Iterator, Optional

from components.tsv_example_gen.records import Record

# Of short texts: a few megabytes.
_BATCH_ROWS = 10_000


def read_columns(stream: BinaryIO) -> tuple[tuple[str, ...], list[int]]:
    """Returns the names of the columns, and the number of rows in each row group.

    Raises:
      OSError: the file is damaged.
    """
    metadata = _open(stream).metadata
    names = tuple(metadata.schema.to_arrow_schema().names)
    return names, [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)]


def read_rows(stream: BinaryIO, start: int, end: Optional[int]) -> Iterator[Record]:
    """Yields the rows from `start` to before `end`, both the first row of a row group.

    Raises:
      OSError: the file is damaged.
    """
    file, offset = _open(stream), 0
    for group in range(file.metadata.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        if offset >= start and (end is None or offset < end):
            yield from _read_group(file, group, offset)
        offset += rows


def _read_group(file: Any, group: int, offset: int) -> Iterator[Record]:
    for batch in file.iter_batches(_BATCH_ROWS, row_groups=[group]):
        for row in batch.to_pylist():
            content = json.dumps(row, ensure_ascii=False, default=str).encode("utf-8", "surrogatepass")
            yield Record(offset, offset + 1, content)
            offset += 1


def _open(stream: BinaryIO) -> Any:
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.ParquetFile(stream)
    except pyarrow.ArrowException as error:
        raise OSError(f"{str(error).splitlines()[0]} (a Parquet file)") from error
