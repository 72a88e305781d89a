"""One line of a TSV to a row or to a rejection with its reason.

The reasons, short words that reports and tests rely on:

| reason               | the line ...                                                                      |
|----------------------|-----------------------------------------------------------------------------------|
| `line_too_long`      | has more than `data.max_line_bytes` bytes, or more characters than `csv` takes    |
| `blank_line`         | is empty                                                                          |
| `control_character`  | has a NUL, or (`minimal`) a carriage return outside quotes                        |
| `undecodable`        | is not text in `data.encoding`                                                    |
| `bad_quoting`        | (`minimal`) has an unclosed quote, or text after a closing one                    |
| `wrong_column_count` | has more or fewer columns than the header                                         |
| `empty_text`         | has a text of nothing but whitespace                                              |
| `bad_label`          | has a label that `data.labels` does not list                                      |
"""

import csv
import dataclasses
from typing import Optional, Sequence, Union

from core import escape
from core.config import DataConfig
from core.errors import UserError
from schema.task import Task

LINE_TOO_LONG = "line_too_long"
BLANK_LINE = "blank_line"
CONTROL_CHARACTER = "control_character"
UNDECODABLE = "undecodable"
BAD_QUOTING = "bad_quoting"
WRONG_COLUMN_COUNT = "wrong_column_count"
EMPTY_TEXT = "empty_text"
BAD_LABEL = "bad_label"

# The setting to look at first where a reason is frequent.
SETTINGS = {
    LINE_TOO_LONG: "data.max_line_bytes",
    UNDECODABLE: "data.encoding",
    BAD_QUOTING: "data.quoting",
    WRONG_COLUMN_COUNT: "data.quoting and data.header",
    EMPTY_TEXT: "data.text",
    BAD_LABEL: "data.labels and data.label",
}


@dataclasses.dataclass(frozen=True)
class Row:
    """A record that can be learned from.

    Attributes:
      id: the record's own id, "" where the file has none.
      texts: one text a text column of the task, as in the file; none is blank.
      label: the `label` feature's value.
    """

    id: str
    texts: tuple[str, ...]
    label: int


@dataclasses.dataclass(frozen=True)
class Rejection:
    """Why a line is no record.

    Attributes:
      reason: one of this module's words.
      detail: what was found, for a person.
    """

    reason: str
    detail: str


@dataclasses.dataclass(frozen=True)
class Layout:
    """How the lines of one file are read.

    Attributes:
      width: number of columns.
      texts: indices of the text columns, in the task's order.
      label: index of the label column.
      id: index of the id column, None where there is none.
      quoting: `minimal` or `none`, as in `DataConfig`.
      encoding: name of the codec.
    """

    width: int
    texts: tuple[int, ...]
    label: int
    id: Optional[int]
    quoting: str
    encoding: str


class _MinimalQuoting(csv.Dialect):
    """What pandas' writer makes: a field is quoted where it must be, its quotes are doubled."""

    delimiter = "\t"
    quotechar = '"'
    doublequote = True
    lineterminator = "\n"
    quoting = csv.QUOTE_MINIMAL
    strict = True


def make_layout(names: Sequence[str], data: DataConfig, task: Task) -> Layout:
    """Finds the configured columns among a file's.

    Args:
      names: column names in the file's order.
      data: names the id and label columns.
      task: names the text columns.

    Returns:
      The layout of the file.

    Raises:
      UserError: a column is missing, or there twice; the text names those that are there.
    """
    return Layout(
        width=len(names),
        texts=tuple(_index(names, "data.text", column) for column in task.text_columns),
        label=_index(names, "data.label", data.label),
        id=None if data.id is None else _index(names, "data.id", data.id),
        quoting=data.quoting,
        encoding=data.encoding,
    )


def parse_row(line: bytes, layout: Layout, task: Task) -> Union[Row, Rejection]:
    """Parses one line; never raises, whatever the bytes.

    Args:
      line: the line without its newline; one trailing carriage return is dropped.
      layout: of the file that holds the line.
      task: says which labels there are.

    Returns:
      The row, or why it is none.
    """
    fields = parse_fields(line, layout.quoting, layout.encoding)
    if isinstance(fields, Rejection):
        return fields
    if len(fields) != layout.width:
        return Rejection(WRONG_COLUMN_COUNT, f"{len(fields)} columns, expected {layout.width}")
    texts = tuple(fields[index] for index in layout.texts)
    if not all(text.strip() for text in texts):
        return Rejection(EMPTY_TEXT, "")
    label = task.parse_label(fields[layout.label])
    if label is None:
        return Rejection(BAD_LABEL, f"label {escape.quote(fields[layout.label])}")
    return Row("" if layout.id is None else fields[layout.id], texts, label)


def parse_fields(line: bytes, quoting: str, encoding: str) -> Union[list[str], Rejection]:
    """Splits one line (a record or a header) into its fields; never raises.

    Args:
      line: the line without its newline; one trailing carriage return is dropped.
      quoting: `minimal` or `none`, as in `DataConfig`.
      encoding: name of the codec.

    Returns:
      The fields, unquoted; or why there are none.
    """
    line = line.removesuffix(b"\r")
    if not line:
        return Rejection(BLANK_LINE, "")
    try:
        text = line.decode(encoding)
        # Codecs such as utf-7 can make lone surrogates, which no example can hold.
        text.encode("utf-8")
    except UnicodeError as error:
        return Rejection(UNDECODABLE, str(error))
    # In the text, not in the bytes: utf-7 and the like write it without a zero byte.
    if "\0" in text:
        return Rejection(CONTROL_CHARACTER, f"NUL as character {text.index(chr(0))} of the line")
    return text.split("\t") if quoting == "none" else _unquoted_fields(text)


def _unquoted_fields(text: str) -> Union[list[str], Rejection]:
    if len(text) > csv.field_size_limit():
        return Rejection(LINE_TOO_LONG, f"{len(text)} characters; csv reads up to {csv.field_size_limit()}")
    try:
        return next(csv.reader((text,), _MinimalQuoting))
    except csv.Error as error:
        return Rejection(CONTROL_CHARACTER if "\r" in text else BAD_QUOTING, str(error))


def _index(names: Sequence[str], field: str, column: str) -> int:
    if names.count(column) != 1:
        fault = "twice" if column in names else "not"
        found = ", ".join(map(escape.quote, names))
        cure = "; data.id=null where there is none" if field == "data.id" else ""
        raise UserError(f"{field} = {column!r} is {fault} among the columns {found}{cure}")
    return names.index(column)
