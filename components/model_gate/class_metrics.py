"""The metrics of a model with any number of classes, beside those of the baseline."""

import collections
import functools
from typing import Any, Iterable, Sequence

import numpy as np
from tensorflow_model_analysis.metrics import metric_types
from tensorflow_model_analysis.proto import config_pb2

from components.model_gate import confusion, paired, score_metrics
from components.model_gate.paired import Results

# Bins of the confidence, as in Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
BINS = 10

# Confidences are rounded up to multiples of 1/1000 and added up as whole numbers.
STEPS = 1000

# Sums over the rows of a pair of bins: rows, both gaps between confidence and correctness in steps, their squares and
# their product, both confidences in steps.
_SUMS = 8


class ClassMetrics(metric_types.Metric):
    """All metrics of `schema.task.MulticlassTask`, and with `values` those of `OrdinalTask`."""

    def __init__(self, classes: int, values: Sequence[float] = (), name: str = "paired_metrics") -> None:
        super().__init__(_computations, name=name, classes=classes, values=values)


def _computations(
    classes: int,
    values: Sequence[float],
    eval_config: config_pb2.EvalConfig,
    model_names: Iterable[str],
    **unused_kwargs: Any,
) -> metric_types.MetricComputations:
    return paired.computations(functools.partial(ClassTable, classes, values), eval_config, model_names)


class ClassTable:
    """Rows by label and both models' classes, and sums of their confidences."""

    def __init__(self, classes: int, values: Sequence[float] = ()) -> None:
        """Starts empty.

        Args:
          classes: number of classes.
          values: the number of each class, ascending, if the classes are in order. The expected value under a model's
            probabilities is then compared with that of the label.
        """
        self._classes, self._values = classes, np.array(values)
        self._scores = score_metrics.ScoreTable(values[0], values[-1]) if values else None
        self.cells: collections.Counter[tuple[int, int, int]] = collections.Counter()
        self.confidences = np.zeros((BINS, BINS, _SUMS), np.int64)

    def add(self, label: float, candidate: np.ndarray, baseline: np.ndarray) -> None:
        """Adds a row: its class, and both models' probabilities float[classes]."""
        ours, theirs = int(np.argmax(candidate)), int(np.argmax(baseline))
        self.cells[int(label), ours, theirs] += 1
        a, b = int(np.ceil(candidate[ours] * STEPS)), int(np.ceil(baseline[theirs] * STEPS))
        x, y = a - STEPS * (ours == label), b - STEPS * (theirs == label)
        self.confidences[_bin(a), _bin(b)] += (1, x, y, x * x, y * y, x * y, a, b)
        if self._scores:
            expected = (np.atleast_1d(probabilities @ self._values) for probabilities in (candidate, baseline))
            self._scores.add(self._values[int(label)], *expected)

    def merge(self, other: "ClassTable") -> None:
        """Adds the rows of another table."""
        self.cells.update(other.cells)
        self.confidences += other.confidences
        if self._scores and other._scores:
            self._scores.merge(other._scores)

    def results(self) -> Results:
        """Compares the models."""
        both = confusion.tables(self.cells, self._classes)
        ours, theirs = (confusion.values(table) for table in both)
        errors, bounds = confusion.paired_errors(self.cells, self._classes), confusion.bounds(both[0])
        ours["calibration_error"], theirs["calibration_error"], errors["calibration_error"] = self._calibration()
        if self._scores:
            compared = self._scores.results()
            ours, theirs = {**ours, **compared.candidate}, {**theirs, **compared.baseline}
            errors, bounds = {**errors, **compared.errors}, {**bounds, **compared.bounds}
        return Results(ours, theirs, errors, bounds, self._details(both))

    def _calibration(self) -> tuple[float, float, float]:
        """Returns the expected calibration error of both models, and the standard error of the difference."""
        sums = self.confidences.astype(np.float64)
        rows = sums[..., 0].sum()
        if not rows:
            return float("nan"), float("nan"), float("inf")
        ours, theirs = sums[..., 1].sum(axis=1), sums[..., 2].sum(axis=0)
        # Each row counts with the sign of its bin, whose sum the absolute value is.
        signs, other_signs = np.sign(ours)[:, np.newaxis], np.sign(theirs)
        mean = (np.abs(ours).sum() - np.abs(theirs).sum()) / rows
        squares = sums[..., 3] * signs**2 + sums[..., 4] * other_signs**2 - 2 * sums[..., 5] * signs * other_signs
        variance = max(squares.sum() / rows - mean**2, 0.0)
        error = float(np.sqrt(variance / (rows - 1))) / STEPS if rows > 1 else float("inf")
        return float(np.abs(ours).sum() / rows / STEPS), float(np.abs(theirs).sum() / rows / STEPS), error

    def _details(self, both: tuple[np.ndarray, np.ndarray]) -> dict[str, Any]:
        wrong = both[0].sum() - np.trace(both[0])
        return {
            "candidate": both[0].astype(int).tolist(),
            "baseline": both[1].astype(int).tolist(),
            "confusion": both[0].astype(int).tolist(),
            "calibration": {
                name: self.confidences[..., [0, gap, total]].sum(axis=axis).tolist()
                for name, axis, gap, total in (("candidate", 1, 1, 6), ("baseline", 0, 2, 7))
            },
            **confusion.changed_rows(self.cells),
            "mistakes": int(wrong),
        }


def _bin(confidence: int) -> int:
    return min(confidence * BINS // STEPS, BINS - 1)
