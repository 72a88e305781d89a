"""How a file separates records and fields: what Python's `csv` reads with `strict=True`, line by line.

A record begins at the beginning of a line and usually ends with it. It goes on in the next line where a newline is
inside quotes (`minimal` quoting) or follows the escape character. A quote opens a quoted field only at its very
beginning; anywhere else it is a letter. After a quoted field's last quote, only a delimiter or the end of the line may
follow.
"""

import codecs
import csv
import dataclasses
import functools
import json
import re
from typing import Any, Optional

from core.config import DataConfig, is_wide

# States at the beginning or the end of a line.
RECORD, QUOTED, ESCAPED, BROKEN = "record", "quoted", "escaped", "broken"

# Codecs in which a quote may be written without its byte.
_OPAQUE_CODECS = (
    "utf-7",
    "unicode_escape",
    "raw_unicode_escape",
    "raw-unicode-escape",
    "unicode-escape",
    "idna",
    "punycode",
)


@dataclasses.dataclass(frozen=True)
class Dialect:
    """How to read the fields of a file; the attributes are as in `DataConfig`.

    Attributes:
      quoting: `minimal` or `none`.
      encoding: name of the codec of the lines.
      delimiter: one ASCII character.
      escape: one ASCII character, or None.
      keys: if lines are JSON objects, the keys of the columns; otherwise None.
    """

    quoting: str = "minimal"
    encoding: str = "utf-8"
    delimiter: str = "\t"
    escape: Optional[str] = None
    keys: Optional[tuple[str, ...]] = None

    @property
    def marks(self) -> tuple[bytes, ...]:
        """A record can go on in the next line only if its line contains one of these bytes; empty if never."""
        if self.keys is not None:
            return ()
        if self.encoding in _OPAQUE_CODECS and (self.quoting, self.escape) != ("none", None):
            return (b"",)  # Any line contains it.
        quote = (b'"',) if self.quoting == "minimal" else ()
        return quote if self.escape is None else (*quote, self.escape.encode())

    def read_line(self, state: str, line: bytes) -> str:
        """Reads the next line of a record.

        Args:
          state: state before the line: `RECORD` for its first line, otherwise the result for the line before.
          line: the line without its newline.

        Returns:
          `RECORD` if the record ends with the line, `QUOTED` or `ESCAPED` if it goes on, `BROKEN` if the line
          contradicts the dialect.
        """
        text, position = _decode(line, self.encoding), 0
        begin, quoted, escaped = _patterns(self.quoting, self.delimiter, self.escape)
        if state != RECORD:
            rest = (quoted if state == QUOTED else escaped).match(text)
            if rest is None:
                return BROKEN
            if rest.lastgroup != "closed":
                return state
            position = rest.end()
        match = begin.match(text, position)
        return BROKEN if match is None else match.lastgroup or RECORD

    def split(self, text: str) -> list[str]:
        """Splits a record into its fields.

        Raises:
          csv.Error: the record contradicts the dialect.
          ValueError: the record is not a JSON object.
        """
        if self.keys is not None:
            return _json_fields(text, self.keys)
        if self.quoting == "none" and self.escape is None:
            return text.split(self.delimiter)
        # An escaped newline at the end of a record needs the newline that ended the record after it.
        record = text if self.escape is None else f"{text}\n"
        return next(csv.reader((record,), _csv_dialect(self.quoting, self.delimiter, self.escape)))


def make_dialect(data: DataConfig, keys: Optional[tuple[str, ...]] = None) -> Dialect:
    """Returns the dialect of the lines of a configured file, as they come from its stream.

    Args:
      data: the configuration.
      keys: as in `Dialect`.
    """
    encoding = "utf-8" if keys is not None or is_wide(data.encoding) else codecs.lookup(data.encoding).name
    return Dialect(data.quoting, encoding, data.delimiter, data.escape, keys)


def _json_fields(text: str, keys: tuple[str, ...]) -> list[str]:
    record = json.loads(text)
    if not isinstance(record, dict):
        raise ValueError(f"is {type(record).__name__}, not an object")
    return [_as_text(record.get(key)) for key in keys]


def _as_text(value: Any) -> str:
    """Returns a JSON value as a table would have it; "" for null."""
    if value is None or isinstance(value, str):
        return value or ""
    # As Python and pandas write it to a table.
    return str(value) if isinstance(value, bool) else json.dumps(value, ensure_ascii=False)


@functools.lru_cache
def _csv_dialect(quoting: str, delimiter: str, escape: Optional[str]) -> type[csv.Dialect]:
    fields = {
        "delimiter": delimiter,
        "escapechar": escape,
        "quotechar": '"',
        "doublequote": True,
        "lineterminator": "\n",
        "quoting": csv.QUOTE_MINIMAL if quoting == "minimal" else csv.QUOTE_NONE,
        "strict": True,
    }
    return type("_Dialect", (csv.Dialect,), fields)


@functools.lru_cache
def _patterns(quoting: str, delimiter: str, escape: Optional[str]) -> tuple[re.Pattern[str], ...]:
    """Returns what may follow at the beginning of a field, inside quotes, and inside a field without quotes."""
    end = re.escape(delimiter)
    skip = re.escape(escape or "")
    pair = f"{skip}." if escape else "(?!)"
    cut = skip if escape else "(?!)"  # The escape character of the newline.
    plain = f"[^{end}{skip}]*(?:{pair}[^{end}{skip}]*)*"
    inside = f'[^"{skip}]*(?:(?:""|{pair})[^"{skip}]*)*'
    quote, unquoted = ('"', f'(?!"){plain}') if quoting == "minimal" else ("(?!)", plain)
    field = f'(?:{quote}{inside}"|{unquoted})'
    begin = (
        f"(?:{field}{end})*(?:(?P<{RECORD}>{field}\r?\\Z)"
        f"|(?P<{QUOTED}>{quote}{inside}(?:{cut})?\\Z)|(?P<{ESCAPED}>{unquoted}{cut}\\Z))"
    )
    quoted = f'{inside}(?:(?P<closed>"(?:{end}|(?=\r?\\Z)))|(?P<{QUOTED}>(?:{cut})?\\Z))'
    escaped = f"{plain}(?:(?P<closed>{end}|\\Z)|(?P<{ESCAPED}>{cut}\\Z))"
    return tuple(re.compile(pattern, re.DOTALL) for pattern in (begin, quoted, escaped))


def _decode(line: bytes, encoding: str) -> str:
    try:
        return line.decode(encoding, "replace")
    except UnicodeError:  # Some codecs, such as idna, support no error handlers.
        return line.decode("ascii", "replace")
