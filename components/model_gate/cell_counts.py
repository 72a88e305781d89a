"""Counts of rows by label and both models' answers, in arrays: 16 bytes for each combination that occurs.

A counter needs 200 bytes, and the test rows are counted in every slice.
"""

from typing import Mapping, Union

import numpy as np

# (label, candidate's answer, baseline's answer) -> rows.
Cells = Mapping[tuple[int, int, int], int]

# Rows to collect between two merges: few merges, and little memory in slices with few rows.
_PENDING = 4096


class CellCounts:
    """Rows by label, candidate's and baseline's answer, whole numbers from 0 to `largest`."""

    def __init__(self, largest: int) -> None:
        """Starts without rows."""
        self._base = largest + 1
        self._codes, self._rows = np.zeros(0, np.int64), np.zeros(0, np.int64)
        self._pending: list[int] = []

    def add(self, label: int, candidate: int, baseline: int) -> None:
        """Adds a row."""
        self._pending.append((label * self._base + candidate) * self._base + baseline)
        # As many as there are cells, so that a merge costs no more than the rows that it adds.
        if len(self._pending) >= max(_PENDING, self._codes.size):
            self._merge_pending()

    def merge(self, other: "CellCounts") -> None:
        """Adds the rows of other counts."""
        other._merge_pending()
        self._merge_pending()
        self._add(other._codes, other._rows)

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the cells int64[n, 3] in ascending order, and the rows of each, int64[n]."""
        self._merge_pending()
        answers = self._codes // self._base
        return np.stack([answers // self._base, answers % self._base, self._codes % self._base], axis=1), self._rows

    def _merge_pending(self) -> None:
        if self._pending:
            self._add(np.array(self._pending, np.int64), np.ones(len(self._pending), np.int64))
            self._pending = []

    def _add(self, codes: np.ndarray, rows: np.ndarray) -> None:
        self._codes, places = np.unique(np.concatenate([self._codes, codes]), return_inverse=True)
        merged = np.zeros(self._codes.size, np.int64)
        np.add.at(merged, places, np.concatenate([self._rows, rows]))
        self._rows = merged


def arrays(cells: Union[Cells, CellCounts]) -> tuple[np.ndarray, np.ndarray]:
    """Returns cells int64[n, 3] and the rows of each, int64[n]."""
    if isinstance(cells, CellCounts):
        return cells.arrays()
    return np.array(list(cells), np.int64).reshape(-1, 3), np.array(list(cells.values()), np.int64)
