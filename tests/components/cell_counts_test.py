"""Counts of rows by label and answers: the same as a counter's, from any parts."""

import collections

import numpy as np
import pytest

from components.model_gate import cell_counts
from components.model_gate.cell_counts import CellCounts


def count(rows, largest):
    counts = CellCounts(largest)
    for row in rows:
        counts.add(*row)
    return counts


@pytest.mark.parametrize("pending", [1, 7, 4096])
def test_counts_are_those_of_a_counter_from_any_parts(pending, monkeypatch):
    monkeypatch.setattr(cell_counts, "_PENDING", pending)
    rows = np.random.default_rng(0).integers(0, 4, (200, 3)).tolist()
    merged = count(rows[150:], 3)
    for part in (rows[:40], [], rows[40:150][::-1]):
        merged.merge(count(part, 3))
    index, numbers = merged.arrays()
    assert dict(zip(map(tuple, index.tolist()), numbers.tolist(), strict=True)) == collections.Counter(map(tuple, rows))
    for one, other in zip(merged.arrays(), count(rows, 3).arrays(), strict=True):
        assert np.array_equal(one, other)


def test_without_rows():
    index, rows = CellCounts(3).arrays()
    assert index.shape == (0, 3) and rows.shape == (0,)
