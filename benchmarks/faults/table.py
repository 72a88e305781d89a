"""The table of faults."""

import dataclasses
from typing import Sequence

import rich.table


@dataclasses.dataclass(frozen=True)
class Row:
    """One fault.

    Attributes:
      fault: what was done.
      moment: when or where, in words.
      seen: what the user saw.
      rerun: what became of the same command after the mend.
      good: whether that is what is promised.
    """

    fault: str
    moment: str
    seen: str
    rerun: str
    good: bool


def make(rows: Sequence[Row]) -> rich.table.Table:
    """Makes the table, a line a fault."""
    table = rich.table.Table("", "fault", "moment", "what the user saw", "the same command again")
    for number, row in enumerate(rows, 1):
        table.add_row(f"{number} {'✓' if row.good else '✗'}", row.fault, row.moment, row.seen, row.rerun)
    return table
