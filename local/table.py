"""Looks at a table of reviews: codec, delimiter, quoting, header and rows, as far as its bytes show them.

Rows of a tab-separated table are parsed as a run would parse them, so what is counted as unreadable here is rejected
there.
"""

import codecs
import collections
import csv
import dataclasses
import gzip
import io
import re
import zlib
from typing import Optional, Sequence, Union

import charset_normalizer

from components.tsv_example_gen import parse
from components.tsv_example_gen.dialect import Dialect
from core.errors import UserError

DELIMITERS = {"\t": "tab", ",": "comma", ";": "semicolon", "|": "pipe"}

# A million reviews, and little enough to hold in memory.
_MAX_BYTES = 128 << 20
# Enough for the codec, and for the delimiter even if the first texts are odd.
_HEAD_BYTES = 1 << 16
_HEAD_LINES = 1000
# The longer ones first, because UTF-32's mark starts with UTF-16's.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# The usual name where several codecs read the same text.
_USUAL_CODECS = ("cp949", "cp932", "gb18030", "big5", "cp1251", "cp1252")
_NUMBER = re.compile(r"[+-]?\d+([.,]\d+)?")


@dataclasses.dataclass(frozen=True)
class Table:
    """A table without its header.

    Attributes:
      file: its path.
      encoding: codec, such as `utf-8` or `utf-16-le`.
      delimiter: a key of `DELIMITERS`.
      quoting: `minimal` or `none`, as in `DataConfig`.
      header: names of the columns in the file; None without a header.
      rows: the fields of each readable row, as many as there are columns.
      unreadable: reason, as in `schema.rejections` -> number of lines.
      is_whole: whether the file was read to its end.
    """

    file: str
    encoding: str
    delimiter: str
    quoting: str
    header: Optional[tuple[str, ...]]
    rows: list[list[str]]
    unreadable: collections.Counter[str]
    is_whole: bool

    @property
    def width(self) -> int:
        """Number of columns."""
        return len(self.rows[0])

    @property
    def is_wide(self) -> bool:
        """Whether the codec writes a tab as more than one byte."""
        return self.encoding.startswith(("utf-16", "utf-32"))


def read(file: str) -> Table:
    """Reads a table, up to 128 MiB of it.

    Raises:
      UserError: the file can't be read, or is not a table with a row.
    """
    content, is_whole = _read_bytes(file)
    encoding, start = detect_encoding(content)
    content = content[start:]
    if not content.strip():
        raise UserError(f"{file}: is empty; should be a table with a text and a label in each row")
    # Lines are looked for in bytes, as a run does; a codec of several bytes has no such lines, so it is converted.
    codec = encoding
    if encoding.startswith(("utf-16", "utf-32")):
        content, codec = content.decode(encoding, "replace").encode("utf-8", "replace"), "utf-8"
    lines = content.removesuffix(b"\n").split(b"\n")
    if not is_whole:
        lines.pop()
    delimiter = detect_delimiter(_decode(lines[:_HEAD_LINES], codec))
    if delimiter is None:
        names = ", ".join(DELIMITERS.values())
        raise UserError(f"{file}: no columns; the lines should be separated into columns by one of {names}")
    quoting = detect_quoting(lines, codec) if delimiter == "\t" else "minimal"
    outcomes = _parse(lines, codec, quoting, delimiter)
    rows, unreadable = _keep_usual_width(outcomes)
    if len(rows) < 2:
        raise UserError(f"{file}: has fewer than two rows with the same number of columns; is it a table?")
    header = tuple(rows.pop(0)) if has_header(rows) else None
    return Table(file, encoding, delimiter, quoting, header, rows, unreadable, is_whole)


def detect_encoding(content: bytes) -> tuple[str, int]:
    """Detects the codec of a text.

    Returns:
      The codec and the number of bytes of a byte order mark, which is 0 without one.
    """
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return encoding, len(mark)
    head = content[:_HEAD_BYTES]
    # Without a mark, UTF-16 shows by the zero bytes of tabs, digits and newlines, which no other text has.
    zeros = head[0::2].count(0), head[1::2].count(0)
    if sum(zeros) > len(head) // 50:
        return ("utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"), 0
    lines = head.split(b"\n")
    whole = lines if len(head) == len(content) else lines[:-1]
    # As a run allows: damaged rows are rare, and a wrong codec fails on most lines.
    if 2 * sum(not _is_utf8(line) for line in whole) <= sum(not line.isascii() for line in whole):
        return "utf-8", 0
    best = charset_normalizer.from_bytes(b"\n".join(line for line in whole if not line.isascii())).best()
    if best is None:
        return "utf-8", 0
    return next((codec for codec in _USUAL_CODECS if codec in best.could_be_from_charset), best.encoding), 0


def detect_delimiter(lines: Sequence[str]) -> Optional[str]:
    """Returns the delimiter that cuts most lines into the same number of columns; None if none gives two or more."""
    shares = {delimiter: _regularity(lines, delimiter) for delimiter in DELIMITERS}
    best = max(shares, key=shares.__getitem__)  # The first of equals: a tab is rare in text.
    return best if shares[best] > 0.5 else None


def detect_quoting(lines: Sequence[bytes], encoding: str) -> str:
    """Returns `minimal` if quotes around fields are well-formed in most lines that have any, otherwise `none`."""
    well_formed = broken = 0
    for line in lines:
        if b'"' in line and isinstance(plain := parse.parse_fields(line, Dialect("none", encoding)), list):
            if any(field.startswith('"') for field in plain):
                unquoted = parse.parse_fields(line, Dialect("minimal", encoding))
                well_formed += isinstance(unquoted, list)
                broken += not isinstance(unquoted, list)
    return "minimal" if well_formed >= broken else "none"


def has_header(rows: Sequence[Sequence[str]]) -> bool:
    """Returns whether the first row names the columns: no numbers, no value that a column repeats."""
    first, *others = rows
    if any(_NUMBER.fullmatch(cell.strip()) for cell in first):
        return False
    if not any(cell.strip() for cell in first):
        return False
    return not any(cell in {row[index] for row in others} for index, cell in enumerate(first) if cell)


def _read_bytes(file: str) -> tuple[bytes, bool]:
    """Returns the decompressed start of a file, and whether that is all of it."""
    try:
        with gzip.open(file) if file.endswith(".gz") else open(file, "rb") as stream:
            content = stream.read(_MAX_BYTES + 1)
    except (EOFError, zlib.error) as error:
        raise UserError(f"{file}: can't be decompressed ({error}); get a complete copy") from error
    except OSError as error:
        raise UserError(f"{file}: {error.strerror or error}; should be a table of reviews on this machine") from error
    return content[:_MAX_BYTES], len(content) <= _MAX_BYTES


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _decode(lines: Sequence[bytes], encoding: str) -> list[str]:
    return [line.removesuffix(b"\r").decode(encoding, "replace") for line in lines]


def _regularity(lines: Sequence[str], delimiter: str) -> float:
    """Returns the share of rows that have the usual number of columns; 0 if that is one column."""
    widths = collections.Counter(len(row) for row in _split(lines, delimiter) if row)
    usual, count = max(widths.items(), key=lambda item: item[1], default=(1, 0))
    return count / widths.total() if usual > 1 else 0.0


def _split(lines: Sequence[str], delimiter: str) -> list[list[str]]:
    """Splits lines leniently; quoted fields may span lines unless the delimiter is a tab."""
    if delimiter == "\t":
        return [line.split("\t") for line in lines]
    text = "\n".join(lines).replace("\0", "")
    try:
        return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error:  # A field of more than 128 KiB: an unclosed quote.
        return [line.split(delimiter) for line in lines]


def _parse(
    lines: Sequence[bytes], encoding: str, quoting: str, delimiter: str
) -> list[Union[list[str], parse.Rejection]]:
    if delimiter == "\t":
        return [parse.parse_fields(line, Dialect(quoting, encoding)) for line in lines]
    return [row or parse.Rejection("blank_line", "") for row in _split(_decode(lines, encoding), delimiter)]


def _keep_usual_width(
    outcomes: Sequence[Union[list[str], parse.Rejection]],
) -> tuple[list[list[str]], collections.Counter[str]]:
    """Returns the rows with the usual number of columns, and the reasons why the others can't be read."""
    rows = [outcome for outcome in outcomes if isinstance(outcome, list)]
    unreadable = collections.Counter(each.reason for each in outcomes if isinstance(each, parse.Rejection))
    width = collections.Counter(map(len, rows)).most_common(1)[0][0] if rows else 0
    kept = [row for row in rows if len(row) == width]
    if len(kept) < len(rows):
        unreadable["wrong_column_count"] += len(rows) - len(kept)
    return kept, unreadable
