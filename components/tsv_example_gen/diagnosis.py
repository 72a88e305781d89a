"""Says what a file is that can't be read as configured, and which setting reads it.

These are pure functions of the first bytes of a file, so that the user has the answer in seconds.
"""

import collections
import json
import re
from typing import Iterable, Optional, Sequence

from components.tsv_example_gen.dialect import Dialect
from core import escape
from core.config import DELIMITERS, DataConfig
from schema.task import Task

_MARKS = {b"\xff\xfe\0\0": "utf-32", b"\0\0\xfe\xff": "utf-32", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
# Share of lines: rows without a label are rare.
_MOST = 0.9


def name_other_kind(head: bytes, data: DataConfig) -> Optional[str]:
    """Returns what the file is instead of a table of lines, and what to do; None if it may be one.

    Args:
      head: the first bytes, decompressed.
      data: how the file would be read.
    """
    start = head[:1000].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for mark, encoding in _MARKS.items():
        if head.startswith(mark):
            return f"is {encoding.upper()}, as its first bytes show; set data.encoding={encoding}"
    if re.match(rb"<(!doctype html|html|head|\?xml)", start):
        return "is a web page or XML, not a table; download the file itself (on GitHub: the address behind `Raw`)"
    if re.match(rb"\[\s*\{", start):
        return "is one JSON array; write one object a line (`jq -c '.[]' FILE > FILE.jsonl`), which is read as it is"
    if data.format == "tsv" and is_json_lines(head):
        return "has a JSON object in each line; set data.format=jsonl"
    if b"\n" not in head and head.count(b"\r") > 2:
        return "ends its lines with carriage returns, as Macs once did; convert it: tr '\\r' '\\n' < FILE > COPY"
    return None


def is_json_lines(head: bytes) -> bool:
    """Returns whether the first line is a JSON object."""
    line = head.removeprefix(b"\xef\xbb\xbf").lstrip().split(b"\n")[0]
    try:
        return line.startswith(b"{") and isinstance(json.loads(line), dict)
    except ValueError:
        return False


def explain_columns(lines: Sequence[str], names: Sequence[str], data: DataConfig, task: Task) -> str:
    """Returns the end of a message about missing columns: the settings that would read the file.

    Args:
      lines: the first lines.
      names: the names in the first of them, as it was read.
      data: how it was read.
      task: the task, with the labels.
    """
    wanted = [*task.text_columns, data.label]
    if len(names) == 1 and (found := _find_delimiter(lines, data)) is not None:
        delimiter = next(name for name, each in DELIMITERS.items() if each == found)
        return f"; the first line has no {_name(data.delimiter)} but {found!r}: set data.delimiter={delimiter}"
    if len(names) == 1 and re.search(r"\S {2,}\S|\S +\S", lines[0] if lines else ""):
        return (
            f"; the first line has no {_name(data.delimiter)}: if blanks separate the columns, write the file "
            "again with tabs or commas, because texts contain blanks too"
        )
    if any(column in names for column in wanted) or data.header is not True:
        return ""
    example = _propose_header(lines, names, data, task)
    return (
        f"; if the first line is a row and no header, set data.header to the names of the columns, such as "
        f"data.header=[{','.join(example)}], and data.id=null if the file has no ids"
    )


def name_misplaced_label(
    rows: Iterable[Sequence[str]], names: Sequence[str], data: DataConfig, task: Task
) -> Optional[str]:
    """Returns a message if no row has a label in its column, but most have one in another.

    Args:
      rows: fields of the first rows.
      names: names of the columns.
      data: how the file was read; the names are from `data.header`.
      task: the task, with the labels.
    """
    counts, total = _count_labels(rows, len(names), task)
    place = list(names).index(data.label)
    best = max(counts, key=counts.__getitem__, default=place)
    if counts[place] or best == place or counts[best] < _MOST * total:
        return None
    swapped = list(names)
    swapped[place], swapped[best] = swapped[best], swapped[place]
    return (
        f"the labels are in column {best + 1}, which data.header calls {names[best]!r}; set "
        f"data.header=[{','.join(swapped)}]"
    )


def _count_labels(rows: Iterable[Sequence[str]], width: int, task: Task) -> tuple[collections.Counter[int], int]:
    """Returns column -> number of rows with a label there, and the number of rows."""
    counts: collections.Counter[int] = collections.Counter()
    total = 0
    for row in rows:
        if len(row) == width:
            total += 1
            counts.update(index for index, field in enumerate(row) if task.parse_label(field) is not None)
    return counts, total


def _find_delimiter(lines: Sequence[str], data: DataConfig) -> Optional[str]:
    """Returns the delimiter that is in most lines; of several, one that separates the configured columns."""
    candidates = [each for name, each in DELIMITERS.items() if each not in (data.delimiter, " ")]
    first = lines[0] if lines else ""
    shares = {each: sum(each in line for line in lines) / max(len(lines), 1) for each in candidates if each in first}
    found = [each for each, share in shares.items() if share > _MOST]
    return max(
        found,
        key=lambda each: ([name.strip() for name in first.split(each)].count(data.label), shares[each]),
        default=None,
    )


def _propose_header(lines: Sequence[str], names: Sequence[str], data: DataConfig, task: Task) -> list[str]:
    dialect = Dialect("none", "utf-8", data.delimiter)
    counts, total = _count_labels((dialect.split(line) for line in lines), len(names), task)
    if len(names) == 1 or not total:
        return [*task.text_columns, data.label]
    label = max(counts, key=counts.__getitem__, default=len(names) - 1)
    longest = sorted((i for i in range(len(names)) if i != label), key=lambda i: -len(names[i]))
    texts = sorted(longest[: len(task.text_columns)])
    roles = {label: data.label, **dict(zip(texts, task.text_columns, strict=False))}
    return [roles.get(index, f"column_{index + 1}") for index in range(len(names))]


def _name(delimiter: str) -> str:
    return next((name for name, each in DELIMITERS.items() if each == delimiter), escape.quote(delimiter))
