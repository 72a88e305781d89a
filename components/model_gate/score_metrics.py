"""The metrics of a model that predicts a number, beside those of the baseline.

Labels and answers are rounded to `STEPS` steps of their range. The table has a cell for each combination that occurs,
so its memory is bounded by the number of test rows, 16 bytes each.
"""

import functools
from typing import Any, Iterable, Union

import numpy as np
from tensorflow_model_analysis.metrics import metric_types
from tensorflow_model_analysis.proto import config_pb2

from components.model_gate import cell_counts, paired
from components.model_gate.cell_counts import CellCounts, Cells
from components.model_gate.paired import Results

STEPS = 1000

# Bins of the report's plots, for labels and for answers.
PLOT_BINS = 20

# A change of the error that a person would see, in steps: a tenth of the range.
_NOTABLE = STEPS // 10


class ScoreMetrics(metric_types.Metric):
    """All metrics of `schema.task.ScoreTask`."""

    def __init__(self, low: float, high: float, name: str = "paired_metrics") -> None:
        super().__init__(_computations, name=name, low=low, high=high)


def _computations(
    low: float, high: float, eval_config: config_pb2.EvalConfig, model_names: Iterable[str], **unused_kwargs: Any
) -> metric_types.MetricComputations:
    return paired.computations(functools.partial(ScoreTable, low, high), eval_config, model_names)


class ScoreTable:
    """Rows by label and both models' scores, in steps of the range."""

    def __init__(self, low: float, high: float) -> None:
        """Starts empty, for scores from `low` to `high`."""
        self._low, self._high = low, high
        self.cells = CellCounts(STEPS)

    def add(self, label: float, candidate: np.ndarray, baseline: np.ndarray) -> None:
        """Adds a row: its label and both models' scores."""
        places = [(float(score) - self._low) / (self._high - self._low) for score in (label, *candidate, *baseline)]
        label_step, ours, theirs = (int(round(place * STEPS)) for place in places)
        self.cells.add(label_step, ours, theirs)

    def merge(self, other: "ScoreTable") -> None:
        """Adds the rows of another table."""
        self.cells.merge(other.cells)

    def results(self) -> Results:
        """Compares the models."""
        compared = compare(self.cells, STEPS)
        size = (self._high - self._low) / STEPS
        candidate, baseline, errors = (
            {**values, "mean_absolute_error": values["mean_absolute_error"] * size}
            for values in (compared.candidate, compared.baseline, compared.errors)
        )
        low, high = compared.bounds["mean_absolute_error"]
        bounds = {**compared.bounds, "mean_absolute_error": (low * size, high * size)}
        return Results(candidate, baseline, errors, bounds, _details(self.cells))


def compare(cells: Union[Cells, CellCounts], steps: int) -> Results:
    """Compares two models by correlation and mean absolute error.

    Args:
      cells: rows by label, candidate's and baseline's answer, whole numbers from 0 to `steps`.
      steps: the largest label and answer, the unit of the mean absolute error.
    """
    index, rows = cell_counts.arrays(cells)
    (labels, candidate, baseline), rows = index.T, rows.astype(np.float64)
    ours, theirs = (_measure(labels, answers, rows, steps) for answers in (candidate, baseline))
    limits = {"pearson": (-1.0, 1.0), "spearman": (-1.0, 1.0), "mean_absolute_error": (0.0, float(steps))}
    return Results(
        {name: value for name, (value, _) in ours.items()},
        {name: value for name, (value, _) in theirs.items()},
        {name: paired.error_of_mean(ours[name][1] - theirs[name][1], rows) for name in ours},
        {
            name: paired.normal_bounds(value, paired.error_of_mean(influence, rows), limits[name])
            for name, (value, influence) in ours.items()
        },
        {},
    )


def _measure(
    labels: np.ndarray, answers: np.ndarray, rows: np.ndarray, steps: int
) -> dict[str, tuple[float, np.ndarray]]:
    """Returns each metric and the influence of the cells on it."""
    errors = np.abs(labels - answers).astype(np.float64)
    count = rows.sum()
    return {
        "pearson": _pearson(labels.astype(np.float64), answers.astype(np.float64), rows),
        "spearman": _spearman(labels, answers, rows, steps),
        "mean_absolute_error": (float(errors @ rows / count) if count else float("nan"), errors),
    }


def _pearson(x: np.ndarray, y: np.ndarray, rows: np.ndarray) -> tuple[float, np.ndarray]:
    """Returns the correlation and its influences; nan and zeros if one side is constant."""
    weights = rows / max(rows.sum(), 1.0)
    x, y = x - weights @ x, y - weights @ y
    return _correlation(weights @ (x * y), weights @ (x * x), weights @ (y * y), x * y, x * x, y * y)


def _correlation(
    covariance: float,
    of_x: float,
    of_y: float,
    slope: np.ndarray,
    slope_x: np.ndarray,
    slope_y: np.ndarray,
) -> tuple[float, np.ndarray]:
    """Returns covariance / sqrt(of_x of_y) and its derivative, from those of the three by each cell's share."""
    # Rounding leaves a constant side a variance of about 1e-32; of two values it is at least 1 / rows.
    if min(of_x, of_y) < 1e-12:
        return float("nan"), np.zeros_like(slope)
    root = np.sqrt(of_x * of_y)
    correlation = covariance / root
    return float(correlation), slope / root - correlation / 2 * (slope_x / of_x + slope_y / of_y)


def _spearman(labels: np.ndarray, answers: np.ndarray, rows: np.ndarray, steps: int) -> tuple[float, np.ndarray]:
    """Returns the correlation of the ranks, ties sharing theirs, and its influences.

    A row influences the correlation by its own ranks, and by those of all rows above it, which it moves.
    """
    weights = rows / max(rows.sum(), 1.0)
    x, y = (_ranks(values, weights, steps) for values in (labels, answers))
    moved = _moved(labels, weights * y, steps) + _moved(answers, weights * x, steps)
    moved_x, moved_y = _moved(labels, weights * x, steps), _moved(answers, weights * y, steps)
    return _correlation(
        weights @ (x * y),
        weights @ (x * x),
        weights @ (y * y),
        x * y + moved,
        x * x + 2 * moved_x,
        y * y + 2 * moved_y,
    )


def _ranks(values: np.ndarray, weights: np.ndarray, steps: int) -> np.ndarray:
    """Returns the share of the rows below each value plus half of those at it, minus its mean."""
    shares = np.bincount(values, weights, steps + 1)
    ranks = (np.cumsum(shares) - shares / 2)[values]
    return ranks - weights @ ranks


def _moved(values: np.ndarray, weighted: np.ndarray, steps: int) -> np.ndarray:
    """Returns, for each value, the sum over the rows above it plus half of that over the rows at it."""
    sums = np.bincount(values, weighted, steps + 1)
    return (np.cumsum(sums[::-1])[::-1] - sums / 2)[values]


def _details(cells: CellCounts) -> dict[str, Any]:
    """Returns both models' rows by label and score in bins, and the numbers of rows that changed or are far off."""
    tables = np.zeros((2, PLOT_BINS, PLOT_BINS), int)
    index, rows = cells.arrays()
    labels, ours, theirs = index.T
    for table, answers in zip(tables, (ours, theirs), strict=True):
        np.add.at(table, (_plot_bins(labels), _plot_bins(answers)), rows)
    better = np.abs(theirs - labels) - np.abs(ours - labels)
    fixed, broken, mistakes = (
        int(rows[chosen].sum())
        for chosen in (better >= _NOTABLE, -better >= _NOTABLE, np.abs(ours - labels) > _NOTABLE)
    )
    return {
        "candidate": tables[0].tolist(),
        "baseline": tables[1].tolist(),
        "fixed": fixed,
        "broken": broken,
        "mistakes": mistakes,
    }


def _plot_bins(steps: np.ndarray) -> np.ndarray:
    return np.minimum(steps * PLOT_BINS // STEPS, PLOT_BINS - 1)
