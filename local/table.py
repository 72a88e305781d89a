"""Looks at a table of reviews: codec, delimiter, quoting, header and rows, as far as its bytes show them.

Rows are parsed as a run would parse them, so what is counted as unreadable here is rejected there.
"""

import codecs
import collections
import csv
import dataclasses
import io
import itertools
import lzma
import re
import zipfile
import zlib
from typing import Iterator, Optional, Sequence, Union

import charset_normalizer

from components.tsv_example_gen import diagnosis, file_head, parse, reader
from components.tsv_example_gen.dialect import Dialect, make_dialect
from components.tsv_example_gen.records import JoinedLines, Record
from components.tsv_example_gen.sources import SourceFile
from components.tsv_example_gen.streams import open_stream
from core import config
from core.config import DataConfig, is_wide
from core.errors import UserError

# Blanks are in texts too.
DELIMITERS = {character: name for name, character in config.DELIMITERS.items() if name != "space"}

# A million reviews, and little enough to hold in memory.
_MAX_BYTES = 128 << 20
# Enough for the codec, and for the delimiter even if the first texts are odd.
_HEAD_BYTES = 1 << 16
_HEAD_LINES = 1000
_DIALECT_LINES = 100_000
_MAX_OBJECTS = 1_000_000
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
      escape: as in `DataConfig`.
      format: `tsv` (any delimiter), `jsonl` or `parquet`.
    """

    file: str
    encoding: str
    delimiter: str
    quoting: str
    header: Optional[tuple[str, ...]]
    rows: list[list[str]]
    unreadable: collections.Counter[str]
    is_whole: bool
    escape: Optional[str] = None
    format: str = "tsv"

    @property
    def width(self) -> int:
        """Number of columns."""
        return len(self.rows[0])


def read(file: str) -> Table:
    """Reads a table, up to 128 MiB of it.

    Raises:
      UserError: the file can't be read, or is not a table with a row.
    """
    content, is_whole = _read_bytes(file)
    if content.startswith(b"PAR1") or diagnosis.is_json_lines(content):
        return _read_objects(file)
    encoding, start = detect_encoding(content)
    if not content[start:].strip():
        raise UserError(f"{file}: is empty; should be a table with a text and a label in each row")
    # Lines are looked for in bytes, as a run does; a codec of several bytes is converted, as a run does too.
    codec = encoding
    if is_wide(encoding):
        content, start, codec = content[start:].decode(encoding, "replace").encode("utf-8", "replace"), 0, "utf-8"
    lines = content[start:].removesuffix(b"\n").split(b"\n")
    if not is_whole:
        lines.pop()
    delimiter = detect_delimiter(_decode(lines[:_HEAD_LINES], codec))
    if delimiter is None:
        kind = diagnosis.name_other_kind(content, DataConfig(train=file, encoding=encoding))
        names = ", ".join(DELIMITERS.values())
        raise UserError(f"{file}: {kind or f'no columns; a line should be separated into columns by one of {names}'}")
    dialect = detect_dialect(lines[:_DIALECT_LINES], codec, delimiter)
    outcomes = [parse.parse_fields(record, dialect) for record in _join(lines, dialect)]
    rows, unreadable = _keep_usual_width(outcomes)
    if len(rows) < 2:
        raise UserError(f"{file}: has fewer than two rows with the same number of columns; is it a table?")
    header = tuple(rows.pop(0)) if has_header(rows) else None
    return Table(file, encoding, delimiter, dialect.quoting, header, rows, unreadable, is_whole, dialect.escape)


def _read_objects(file: str) -> Table:
    """Reads JSON Lines or Parquet, as a run does."""
    data = DataConfig(train=file, id=None)
    source = SourceFile("train", file, file)
    head = file_head.read_head(source, data)
    whole, dialect = reader.whole_file(source, head), make_dialect(data, head.keys)
    records = reader.read_records(whole, data, data.make_task())
    outcomes = [parse.parse_fields(record.content, dialect) for record in itertools.islice(records, _MAX_OBJECTS)]
    rows, unreadable = _keep_usual_width(outcomes)
    if not rows:
        raise UserError(f"{file}: has no row")
    is_whole = len(outcomes) < _MAX_OBJECTS
    return Table(file, "utf-8", "\t", "minimal", head.columns, rows, unreadable, is_whole, None, head.format)


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


def detect_dialect(lines: Sequence[bytes], encoding: str, delimiter: str) -> Dialect:
    """Returns the dialect in which most records with a quoted field are well-formed."""
    minimal = Dialect("minimal", encoding, delimiter)
    candidates = [minimal]
    if any(b'\\"' in line for line in lines):
        candidates.append(dataclasses.replace(minimal, escape="\\"))
    counts = {dialect: _count_broken(lines, dialect) for dialect in candidates}
    best = min(candidates, key=lambda dialect: counts[dialect][0])
    broken, quoted = counts[best]
    return best if 2 * broken <= quoted else dataclasses.replace(minimal, quoting="none")


def _count_broken(lines: Sequence[bytes], dialect: Dialect) -> tuple[int, int]:
    """Returns the number of broken records with a quoted field, and of all with one."""
    plain = dataclasses.replace(dialect, quoting="none", escape=None)
    broken = quoted = 0
    for record in _join(lines, dialect):
        if b'"' in record and isinstance(fields := parse.parse_fields(record, plain), list):
            if any(field.startswith('"') for field in fields):
                quoted += 1
                broken += not isinstance(parse.parse_fields(record, dialect), list)
    return broken, quoted


def _join(lines: Sequence[bytes], dialect: Dialect) -> Iterator[bytes]:
    """Yields the records of a file's lines."""
    numbered = (Record(0, number, line) for number, line in enumerate(lines, start=1))
    # The label is not known yet: no line counts as a row by itself.
    for record in JoinedLines(numbered, dialect, lambda line: False, _MAX_BYTES):
        yield record.content


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
        with open_stream(file) as stream:
            content = stream.read(_MAX_BYTES + 1)
    except (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as error:
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
