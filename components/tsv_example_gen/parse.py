"""Parses one record of a table into a row, or a rejection with one of the reasons in `schema.rejections`."""

import csv
import dataclasses
from typing import Callable, Optional, Sequence, Union

from components.tsv_example_gen.dialect import Dialect, make_dialect
from core import escape
from core.config import DataConfig
from core.errors import UserError
from schema import rejections
from schema.labels import LeftOut
from schema.task import Label, Task


@dataclasses.dataclass(frozen=True)
class Row:
    """A record to train or evaluate on.

    Attributes:
      id: value of the id column, "" if the file has no such column.
      texts: the unchanged text of each text column of the task, never blank.
      label: value of the `label` feature.
    """

    id: str
    texts: tuple[str, ...]
    label: Label


@dataclasses.dataclass(frozen=True)
class Rejection:
    """Why a line is rejected.

    Attributes:
      reason: one of the reasons in `schema.rejections`.
      detail: a description of the problem for error messages.
    """

    reason: str
    detail: str


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where the columns are in the lines of one file, and how to split and decode them.

    Attributes:
      width: number of columns.
      texts: indices of the text columns, in the task's order.
      label: index of the label column.
      id: index of the id column, None if there is no such column.
      dialect: how fields are separated, quoted and encoded.
    """

    width: int
    texts: tuple[int, ...]
    label: int
    id: Optional[int]
    dialect: Dialect


Outcome = Union[Row, Rejection, LeftOut]


def make_layout(names: Sequence[str], data: DataConfig, task: Task, keys: Optional[tuple[str, ...]] = None) -> Layout:
    """Finds the configured columns among a file's.

    Args:
      names: column names in the file's order.
      data: configures the id and label columns.
      task: the task, with the text columns.
      keys: as in `Dialect`.

    Raises:
      UserError: a column is missing or appears twice; the message lists the columns.
    """
    return Layout(
        width=len(names),
        texts=tuple(find_column(names, "data.text", column) for column in task.text_columns),
        label=find_column(names, "data.label", data.label),
        id=None if data.id is None else find_column(names, "data.id", data.id),
        dialect=make_dialect(data, keys),
    )


def parse_row(record: bytes, layout: Layout, task: Task) -> Outcome:
    """Parses one record; never raises, for any bytes.

    Args:
      record: the record without its last newline; one trailing carriage return is dropped.
      layout: layout of the record's file.
      task: the task, with the labels.
    """
    fields = parse_fields(record, layout.dialect)
    if isinstance(fields, Rejection):
        return fields
    texts = pick_texts(fields, layout.width, layout.texts)
    if isinstance(texts, Rejection):
        return texts
    label = task.parse_label(fields[layout.label])
    if label is None:
        return Rejection(rejections.BAD_LABEL, escape.quote(fields[layout.label]))
    if isinstance(label, LeftOut):
        return label
    return Row("" if layout.id is None else fields[layout.id], texts, label)


def make_row_test(names: Sequence[str], data: DataConfig, task: Task) -> Callable[[bytes], bool]:
    """Returns a function that says whether a line, as it is, has as many fields as columns, and a label.

    Args:
      names: column names in the file's order; a file without the label column has no such lines.
      data: configures the label column.
      task: the task, with the labels.
    """
    stripped = [name.strip() for name in names]
    if stripped.count(data.label.strip()) != 1:
        return lambda line: False
    width, label = len(names), stripped.index(data.label.strip())
    plain = dataclasses.replace(make_dialect(data), quoting="none", escape=None)

    def is_row(line: bytes) -> bool:
        fields = parse_fields(line, plain)
        return isinstance(fields, list) and len(fields) == width and task.parse_label(fields[label]) is not None

    return is_row


def pick_texts(fields: Sequence[str], width: int, indices: Sequence[int]) -> Union[tuple[str, ...], Rejection]:
    """Returns the fields of the text columns, or a rejection.

    Args:
      fields: the fields of one line.
      width: number of columns of the file.
      indices: indices of the text columns.
    """
    if len(fields) != width:
        return Rejection(rejections.WRONG_COLUMN_COUNT, f"{len(fields)} columns, expected {width}")
    texts = tuple([fields[index] for index in indices])
    return texts if all([text.strip() for text in texts]) else Rejection(rejections.EMPTY_TEXT, "")


def parse_fields(record: bytes, dialect: Dialect) -> Union[list[str], Rejection]:
    """Splits one record or header into its fields; never raises.

    Args:
      record: the record without its last newline; one trailing carriage return is dropped.
      dialect: how fields are separated, quoted and encoded.

    Returns:
      The fields, unquoted; or a rejection.
    """
    record = record.removesuffix(b"\r")
    if not record:
        return Rejection(rejections.BLANK_LINE, "")
    try:
        text = record.decode(dialect.encoding)
        # Codecs such as utf-7 can produce lone surrogates, which an example can't hold.
        text.encode("utf-8")
    except UnicodeError as error:
        return Rejection(rejections.UNDECODABLE, str(error))
    if dialect.quoting == "minimal" and dialect.keys is None and len(text) > csv.field_size_limit():
        return Rejection(rejections.LINE_TOO_LONG, f"{len(text)} characters; csv reads up to {csv.field_size_limit()}")
    # Checked in the text, not in the bytes: codecs such as utf-7 encode NUL without a zero byte.
    if "\0" in text:
        return Rejection(rejections.CONTROL_CHARACTER, f"NUL as character {text.index(chr(0))} of the line")
    try:
        fields = dialect.split(text)
    except csv.Error as error:
        return Rejection(rejections.CONTROL_CHARACTER if "\r" in text else rejections.BAD_QUOTING, str(error))
    except (ValueError, RecursionError) as error:
        return Rejection(rejections.BAD_JSON, str(error))
    if dialect.keys is not None:
        return _check_json_fields(fields)
    return fields


def _check_json_fields(fields: list[str]) -> Union[list[str], Rejection]:
    """Rejects what a JSON escape can write: NUL and lone surrogates."""
    for field in fields:
        if "\0" in field:
            return Rejection(rejections.CONTROL_CHARACTER, "NUL")
        try:
            field.encode()
        except UnicodeEncodeError as error:
            return Rejection(rejections.UNDECODABLE, str(error))
    return fields


def readable(line: bytes, encoding: str) -> str:
    """Decodes a line for display; bytes that can't be decoded are escaped."""
    try:
        return line.decode(encoding, "backslashreplace")
    except UnicodeError:  # Some codecs, such as idna, support no error handlers.
        return line.decode("ascii", "backslashreplace")


def find_column(names: Sequence[str], setting: str, column: str) -> int:
    """Returns the index of a column.

    Args:
      names: column names in the file's order.
      setting: the setting that names the column, such as `data.text`.
      column: name of the column.

    Raises:
      UserError: the column is missing or appears twice; the message lists the columns.
    """
    # Blanks around names in a header are invisible.
    stripped, wanted = [name.strip() for name in names], column.strip()
    if stripped.count(wanted) != 1:
        fault = "appears more than once in" if wanted in stripped else "missing from"
        hint = "; set data.id=null if the file has no ids" if setting == "data.id" else ""
        raise UserError(f"{setting} = {column!r}: {fault} the columns {', '.join(map(escape.quote, names))}{hint}")
    return stripped.index(wanted)
