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
import re
from typing import Optional

from core.config import DataConfig

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
    """

    quoting: str = "minimal"
    encoding: str = "utf-8"
    delimiter: str = "\t"
    escape: Optional[str] = None

    def may_span_lines(self, line: bytes) -> bool:
        """Returns whether a record that begins in this line may go on in the next one, at a glance."""
        if self.quoting == "none" and self.escape is None:
            return False
        return (
            (b'"' in line and self.quoting == "minimal")
            or (self.escape is not None and self.escape.encode() in line)
            or self.encoding in _OPAQUE_CODECS
        )

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
        """
        if self.quoting == "none" and self.escape is None:
            return text.split(self.delimiter)
        return next(csv.reader((text,), _csv_dialect(self.quoting, self.delimiter, self.escape)))


def make_dialect(data: DataConfig) -> Dialect:
    """Returns the dialect of the lines of a configured file."""
    return Dialect(data.quoting, codecs.lookup(data.encoding).name, data.delimiter, data.escape)


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
