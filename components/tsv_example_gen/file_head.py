"""The start of a file: its form, its columns, where its records begin, and what is wrong with it."""

import codecs
import dataclasses
import io
import json
from typing import Any, Optional, Sequence

from components.tsv_example_gen import diagnosis, parquet, parse
from components.tsv_example_gen.dialect import make_dialect
from components.tsv_example_gen.lines import Lines, join_lines
from components.tsv_example_gen.records import Record
from components.tsv_example_gen.sources import SourceFile, reading, resolve_location
from components.tsv_example_gen.streams import go_to, open_stream
from core.config import DataConfig, is_wide
from core.errors import UserError
from schema.task import Task

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


def read_heads(files: Sequence[SourceFile], data: DataConfig) -> list[FileHead]:
    """Reads the start of every file of one role.

    Raises:
      UserError: a file can't be used, or no file has a record.
    """
    heads = [read_head(file, data) for file in files]
    if files and not any(head.has_records for head in heads):
        raise files[0].error(f"is empty: no rows{' after the header' if data.header is True else ''}")
    return heads


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
    for role, location in (("train", data.train), ("dev", data.dev), ("test", data.test)):
        if location is not None and "://" not in location:
            for file, head in zip(*_heads_of(role, location, data), strict=True):
                check_columns(file, head, data, task)


def _heads_of(role: str, location: str, data: DataConfig) -> tuple[tuple[SourceFile, ...], list[FileHead]]:
    files = resolve_location(role, location, None, data.span)[0]
    return files, read_heads(files, data)


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
        header = next(iter(join_lines(Lines(stream, start, number, data), data, lambda line: False)), None)
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
