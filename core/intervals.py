"""95 % confidence intervals."""

import math
from typing import Optional

# Two-sided 95 % of the normal distribution, in standard errors.
Z_95 = 1.96

Interval = tuple[float, float]


def wilson(share: float, rows: float) -> Optional[Interval]:
    """Returns Wilson's interval of a share of rows; None without rows, or if the share is nan."""
    from scipy import stats  # Takes a second, and most commands need no interval.

    if not rows or math.isnan(share):
        return None
    interval = stats.binomtest(round(share * rows), int(rows)).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def paired_difference(fixed: int, broken: int, rows: int) -> Interval:
    """Returns the interval of the difference of two models' accuracies on the same rows.

    Args:
      fixed: number of rows that only the second model gets right.
      broken: number of rows that only the first model gets right.
      rows: number of all rows, at least 1.
    """
    difference = (fixed - broken) / rows
    half = Z_95 * math.sqrt((fixed + broken) / rows - difference**2) / math.sqrt(rows)
    return max(difference - half, -1.0), min(difference + half, 1.0)
