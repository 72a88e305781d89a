"""Suspected label errors among the test rows, by confident learning.

After Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR 2021, which the
package cleanlab implements. It needs probabilities from a model that was not trained on the rows, as those of the test
split are. A class's self-confidence is the mean probability of that class on the rows with its label. A row's label is
suspected to be wrong if the model gives the other class at least the other class's self-confidence, and its own class
either less than its self-confidence or less than the other one.
"""

from typing import Optional

import numpy as np


def suspicion(counts: np.ndarray) -> Optional[tuple[float, float]]:
    """Computes from which probability of the other class on a label is suspected to be wrong.

    Args:
      counts: int[2, n], rows by label and probability of class 1, which is evenly spaced from 0 to 1.

    Returns:
      The threshold for rows of class 0 and of class 1, 0 to 1; None if a class has no rows.
    """
    rows = counts.sum(axis=1)
    if not rows.all():
        return None
    positive = (counts @ np.linspace(0, 1, counts.shape[1])) / rows
    confidence = 1 - positive[0], positive[1]
    of_0, of_1 = (max(confidence[1 - label], min(0.5, 1 - confidence[label])) for label in (0, 1))
    return float(of_0), float(of_1)


def count_suspects(counts: np.ndarray, thresholds: Optional[tuple[float, float]]) -> int:
    """Counts the rows whose label is suspected to be wrong; `counts` and `thresholds` as in `suspicion`."""
    if thresholds is None:
        return 0
    positive = np.linspace(0, 1, counts.shape[1])
    return int(counts[0, positive >= thresholds[0]].sum() + counts[1, 1 - positive >= thresholds[1]].sum())
