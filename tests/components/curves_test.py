"""The curves of a report, on scores in tenths that can be counted by hand."""

import math

import numpy as np
import pytest

from components.run_report import curves


def tenths(negative, positive):
    """Rows by label and score, from the scores of each label in tenths."""
    return np.array([np.bincount(scores, minlength=11) for scores in (negative, positive)])


# One negative above one positive.
COUNTS = tenths(negative=[0, 2, 5, 7], positive=[6, 8, 10, 10])


def test_thresholds_go_from_nothing_to_everything_called_positive():
    shares = curves.thresholds(COUNTS)
    first, *others = shares
    assert (first.false_positives, first.recall) == (0.0, 0.0) and math.isnan(first.precision)
    assert [(round(s.score, 1), s.false_positives, s.recall, s.precision) for s in others] == [
        (1.0, 0.0, 0.5, 1.0),
        (0.8, 0.0, 0.75, 1.0),
        (0.7, 0.25, 0.75, 0.75),
        (0.6, 0.25, 1.0, 0.8),
        (0.5, 0.5, 1.0, pytest.approx(4 / 6)),
        (0.2, 0.75, 1.0, pytest.approx(4 / 7)),
        (0.0, 1.0, 1.0, 0.5),
    ]


@pytest.mark.parametrize(("score", "recall"), [(0.95, 0.5), (0.75, 0.75), (0.65, 0.75), (0.1, 1.0)])
def test_shares_between_two_scores_are_those_of_the_higher_one(score, recall):
    assert curves.at_score(curves.thresholds(COUNTS), score).recall == recall


def test_calibration_has_a_bin_for_each_tenth_with_rows():
    bins = curves.calibration(tenths(negative=[3, 3, 3, 10], positive=[3, 10, 10, 9]))
    assert [(each.low, each.rows, each.observed) for each in bins] == [(0.3, 4, 0.25), (0.9, 4, 0.75)]
    assert [each.score for each in bins] == pytest.approx([0.3, (10 + 10 + 10 + 9) / 40])


def test_histogram_keeps_every_row():
    table = curves.histogram(COUNTS, 5)
    assert table.tolist() == [[1, 1, 1, 1, 0], [0, 0, 0, 1, 3]]
