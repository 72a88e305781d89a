"""The curves of two classes, from the number of rows at each score: ROC, precision and recall, calibration.

`counts` is int[2, n]: for each label, the number of rows at each score. The n scores are evenly spaced from 0 to 1 and
are probabilities of class 1.
"""

import dataclasses
from typing import Sequence

import numpy as np

_CALIBRATION_BINS = 10


@dataclasses.dataclass(frozen=True)
class Threshold:
    """The shares if rows are called class 1 from a score on.

    Attributes:
      score: the smallest score of class 1.
      false_positives: share of the rows of class 0 that are called class 1.
      recall: share of the rows of class 1 that are called class 1.
      precision: share of class 1 among the rows called class 1; nan if there are none.
    """

    score: float
    false_positives: float
    recall: float
    precision: float


@dataclasses.dataclass(frozen=True)
class Bin:
    """The rows whose scores are in a range: their number, mean score and share of class 1."""

    low: float
    high: float
    rows: int
    score: float
    observed: float


def thresholds(counts: np.ndarray) -> list[Threshold]:
    """Returns the shares at each score that rows have, from above the highest to the lowest."""
    scores = np.linspace(0, 1, counts.shape[1])
    called = np.cumsum(counts[:, ::-1], axis=1)[:, ::-1]
    rows = np.maximum(counts.sum(axis=1), 1)
    used = np.flatnonzero(counts.sum(axis=0))[::-1]
    thresholds = [
        Threshold(
            float(scores[i]),
            float(called[0, i] / rows[0]),
            float(called[1, i] / rows[1]),
            float(called[1, i] / called[:, i].sum()),
        )
        for i in used
    ]
    return [Threshold(float("inf"), 0.0, 0.0, float("nan")), *thresholds]


def at_score(shares: list[Threshold], score: float) -> Threshold:
    """Returns the shares if rows are called class 1 from `score` on; `shares` as returned by `thresholds`."""
    return [share for share in shares if share.score >= score][-1]


def calibration(counts: np.ndarray) -> list[Bin]:
    """Returns the bins of equal width that have rows."""
    scores = np.linspace(0, 1, counts.shape[1])
    index = np.minimum((scores * _CALIBRATION_BINS + 1e-9).astype(int), _CALIBRATION_BINS - 1)
    rows, positives, sums = (
        np.bincount(index, weights, _CALIBRATION_BINS)
        for weights in (counts.sum(axis=0), counts[1], counts.sum(axis=0) * scores)
    )
    return [
        Bin(i / 10, (i + 1) / 10, int(rows[i]), float(sums[i] / rows[i]), float(positives[i] / rows[i]))
        for i in np.flatnonzero(rows)
    ]


def confidence_bins(sums: Sequence[Sequence[int]]) -> list[Bin]:
    """Returns the bins that have rows; `sums` as in `artifacts.evaluation.Scores.calibration`."""
    return [
        Bin(i / len(sums), (i + 1) / len(sums), rows, total / rows / 1000, (total - gap) / rows / 1000)
        for i, (rows, gap, total) in enumerate(sums)
        if rows
    ]


def histogram(counts: np.ndarray, bins: int) -> np.ndarray:
    """Returns int[2, bins], the number of rows by label in bins of equal width."""
    index = np.minimum(np.arange(counts.shape[1]) * bins // (counts.shape[1] - 1), bins - 1)
    return np.array([np.bincount(index, row, bins) for row in counts]).astype(int)
