"""The rows that a report shows: which ones are collected, whatever the order and the division among workers."""

import functools
import random

import pytest

from components.model_gate import notable_rows
from components.model_gate.notable_rows import KEPT_ROWS, Row


def collect(*workers, rank=notable_rows.rank_binary):
    """Collects rows on several workers, and returns the texts of each list."""
    accumulators = [{} for _ in workers]
    for accumulator, rows in zip(accumulators, workers, strict=True):
        for row in rows:
            notable_rows.add(accumulator, row, rank)
    merged = notable_rows.merge(accumulators)
    return {name: [row.text for row in notable_rows.best_rows(ranking)] for name, ranking in merged.items()}


@pytest.mark.parametrize(
    ("label", "candidate", "baseline", "lists"),
    [
        (1, 0.9, 0.8, []),
        (1, 0.2, 0.1, ["mistakes_1"]),
        (0, 0.9, 0.8, ["mistakes_0"]),
        (1, 0.9, 0.5, ["fixed"]),  # 0.5 is class 0.
        (0, 0.3, 0.6, ["fixed"]),
        (1, 0.5, 0.9, ["mistakes_1", "broken"]),
        (0, 0.7, 0.2, ["mistakes_0", "broken"]),
    ],
)
def test_a_row_is_in_the_lists_that_it_belongs_to(label, candidate, baseline, lists):
    collected = collect([Row("1", "text", label, candidate, baseline)])
    assert [name for name, texts in collected.items() if texts] == lists


def test_the_most_confident_rows_are_kept_whatever_their_order():
    rows = [Row(str(n), f"text {n}", n % 2, n / 1000, 1 - n / 1000) for n in range(1000)]
    expected = collect(rows)
    # Label 0 and the highest probability of class 1, label 1 and the lowest.
    assert expected["mistakes_0"] == [f"text {n}" for n in range(998, 958, -2)]
    assert expected["mistakes_1"] == [f"text {n}" for n in range(1, 41, 2)]
    assert {len(texts) for texts in expected.values()} == {KEPT_ROWS}
    for seed in range(3):
        shuffled = random.Random(seed).sample(rows, len(rows))
        assert collect(shuffled[:10], shuffled[10:700], [], shuffled[700:]) == expected


def test_ties_do_not_depend_on_the_order_or_on_rounding_errors():
    rows = [Row(str(n), f"text {n}", 1, 0.1, 0.9) for n in range(200)]
    noisy = [row._replace(candidate=0.1 + 1e-7 * index) for index, row in enumerate(rows)]
    assert collect(rows) == collect(reversed(rows)) == collect(noisy[100:], noisy[:100])


def test_memory_is_bounded_while_rows_are_added():
    accumulator = {}
    for n in range(1000):
        notable_rows.add(accumulator, Row(str(n), "long " * 1000, 1, 0.1, 0.9), notable_rows.rank_binary)
        assert all(len(ranking) <= 2 * KEPT_ROWS for ranking in accumulator.values())
    assert all(len(row.text) <= 501 for _, row in accumulator["broken"])


@pytest.mark.parametrize(
    ("label", "classes", "lists"),
    [(1, (1, 1), []), (1, (2, 1), ["mistakes_1", "broken"]), (2, (2, 0), ["fixed"]), (0, (1, 2), ["mistakes_0"])],
)
def test_classes_are_right_or_wrong(label, classes, lists):
    collected = collect([Row("1", "text", label, 0.5, 0.6, classes)], rank=notable_rows.rank_classes)
    assert list(collected) == lists


@pytest.mark.parametrize(
    ("candidate", "baseline", "lists"),
    [(3.1, 3.0, []), (3.6, 3.7, ["mistakes"]), (3.0, 3.5, ["fixed"]), (4.0, 3.0, ["mistakes", "broken"])],
)
def test_scores_are_wrong_if_their_error_is_large(candidate, baseline, lists):
    rank = functools.partial(notable_rows.rank_scores, right=0.5)
    assert list(collect([Row("1", "text", 3.0, candidate, baseline)], rank=rank)) == lists
