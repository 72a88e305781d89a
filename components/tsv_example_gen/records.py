"""Joins the lines of a file to records.

What is damaged costs one line. A line whose quote is left open is a record by itself, which the parser rejects, and
reading goes on in the line after it. A quote counts as left open if

- the file ends before it is closed, or `MAX_SPAN_BYTES` or `data.max_line_bytes` are read before;
- the quote that would close it is followed by text: in such a file, the next quote usually opens a field;
- all lines that it would join are rows by themselves, with a label: a stray quote further down has closed it.
"""

import collections
import csv
from typing import Callable, Iterator, NamedTuple, Optional

from components.tsv_example_gen.dialect import BROKEN, RECORD, Dialect

# Of a record of several lines: what Python's csv reads, and little to go through again after a quote left open.
MAX_SPAN_BYTES = csv.field_size_limit()


class Record(NamedTuple):
    """One record of a file, or one line.

    Attributes:
      offset: offset of its first byte in the file.
      number: number of its first line, from 1.
      content: the bytes without the last newline; only the start if it is too long.
      too_long: whether it has more than `data.max_line_bytes` bytes.
    """

    offset: int
    number: int
    content: bytes
    too_long: bool = False

    @property
    def lines(self) -> int:
        """Number of lines."""
        return self.content.count(b"\n") + 1


class JoinedLines:
    """Iterates over the records of a file.

    Args:
      lines: the file's lines, the first of which begins a record.
      dialect: how the lines are written.
      is_row: whether a line by itself is a row with a label.
      max_bytes: limit of a record of several lines, in bytes.
      comment: lines that begin with it are skipped, except inside quotes; None for none.
    """

    def __init__(
        self,
        lines: Iterator[Record],
        dialect: Dialect,
        is_row: Callable[[bytes], bool],
        max_bytes: int,
        comment: Optional[bytes] = None,
    ) -> None:
        self._lines, self._dialect, self._is_row, self._comment = lines, dialect, is_row, comment
        self._max_bytes = min(max_bytes, MAX_SPAN_BYTES)
        self._ahead: collections.deque[Record] = collections.deque()

    @property
    def is_level(self) -> bool:
        """Whether the next record begins with the next of the lines: none was read ahead."""
        return not self._ahead

    def __iter__(self) -> Iterator[Record]:
        first, *others = self._dialect.marks or (None,)
        while (line := self._ahead.popleft() if self._ahead else next(self._lines, None)) is not None:
            if self._comment is not None and line.content.startswith(self._comment):
                continue
            spans = first is not None and (first in line.content or any([mark in line.content for mark in others]))
            yield self._join(line) if spans and not line.too_long else line

    def _next_line(self) -> Optional[Record]:
        return self._ahead.popleft() if self._ahead else next(self._lines, None)

    def _join(self, first: Record) -> Record:
        """Returns the record that begins with a line."""
        joined, size = [first], len(first.content)
        state = self._dialect.read_line(RECORD, first.content)
        while state not in (RECORD, BROKEN):
            line = self._next_line()
            if line is None:
                break
            joined.append(line)
            size += 1 + len(line.content)
            fits = not line.too_long and size <= self._max_bytes
            state = self._dialect.read_line(state, line.content) if fits else BROKEN
        if len(joined) == 1:
            return first
        if state == RECORD and not all(self._is_row(line.content) for line in joined):
            return first._replace(content=b"\n".join([line.content for line in joined]))
        # What was read ahead is read again, line by line.
        self._ahead.extendleft(reversed(joined[1:]))
        return first
