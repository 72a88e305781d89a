"""TFMA's side of metrics that compare the candidate and the baseline row by row.

A `Table` has the arithmetic. It counts rows in whole numbers, so its results depend neither on the order of the rows
nor on how they are divided among workers.
"""

import dataclasses
import json
from typing import Any, Callable, Iterable, Mapping, Protocol

import apache_beam as beam
import numpy as np
from tensorflow_model_analysis.metrics import metric_types, metric_util
from tensorflow_model_analysis.proto import config_pb2
from tensorflow_model_analysis.utils import model_util

from components.model_gate.results import ERROR_SUFFIX, HIGH_SUFFIX, LOW_SUFFIX, SCORES
from core import intervals


@dataclasses.dataclass(frozen=True)
class Results:
    """The comparison of two models on the same rows.

    Attributes:
      candidate: metric -> value, of the metrics that the table computes.
      baseline: the same of the baseline.
      errors: metric -> standard error of candidate minus baseline; infinite if it is unknown.
      bounds: metric -> the ends of the 95 % confidence interval of the candidate's value; nan if they are unknown.
      details: what the report shows, the fields of `artifacts.evaluation.Scores`.
    """

    candidate: Mapping[str, float]
    baseline: Mapping[str, float]
    errors: Mapping[str, float]
    bounds: Mapping[str, tuple[float, float]]
    details: Mapping[str, Any]


class Table(Protocol):
    """Counts of rows by label and both models' answers."""

    def add(self, label: float, candidate: np.ndarray, baseline: np.ndarray) -> None:
        """Adds a row: its label and both models' evaluated outputs."""

    def merge(self, other: Any) -> None:
        """Adds the rows of another table."""

    def results(self) -> Results:
        """Compares the models; the names of the metrics are always the same."""


def computations(
    make_table: Callable[[], Table], eval_config: config_pb2.EvalConfig, model_names: Iterable[str]
) -> metric_types.MetricComputations:
    """Returns the computation of a table's results, under the names of both models."""
    baseline = model_util.get_baseline_model_spec(eval_config).name
    (candidate,) = set(model_names) - {baseline}
    combiner = _Combiner(make_table, eval_config, candidate, baseline)
    return [metric_types.MetricComputation(keys=combiner.keys, preprocessors=None, combiner=combiner)]


class _Combiner(beam.CombineFn):
    """Collects the rows in a table."""

    def __init__(
        self, make_table: Callable[[], Table], eval_config: config_pb2.EvalConfig, candidate: str, baseline: str
    ) -> None:
        super().__init__()
        self._make_table, self._eval_config = make_table, eval_config
        self._candidate, self._baseline = candidate, baseline
        self.keys = list(self._name(make_table().results()))

    def create_accumulator(self) -> Table:
        return self._make_table()

    def add_input(self, accumulator: Table, element: metric_types.StandardMetricInputs) -> Table:
        label, candidate = self._label_and_prediction(element, self._candidate)
        _, baseline = self._label_and_prediction(element, self._baseline)
        accumulator.add(label.item(), candidate, baseline)
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[Table]) -> Table:
        merged = self._make_table()
        for accumulator in accumulators:
            merged.merge(accumulator)
        return merged

    def extract_output(self, accumulator: Table) -> dict[metric_types.MetricKey, Any]:
        return self._name(accumulator.results())

    def _label_and_prediction(
        self, element: metric_types.StandardMetricInputs, model: str
    ) -> tuple[np.ndarray, np.ndarray]:
        label, prediction, _ = next(
            metric_util.to_label_prediction_example_weight(
                element, eval_config=self._eval_config, model_name=model, flatten=False
            )
        )
        return label, prediction

    def _name(self, results: Results) -> dict[metric_types.MetricKey, Any]:
        """Returns the results by their keys in TFMA."""
        of_candidate = {
            **results.candidate,
            **{name + ERROR_SUFFIX: error for name, error in results.errors.items()},
            **{name + LOW_SUFFIX: low for name, (low, _) in results.bounds.items()},
            **{name + HIGH_SUFFIX: high for name, (_, high) in results.bounds.items()},
            SCORES: json.dumps(results.details),
        }
        return {
            metric_types.MetricKey(name, model_name=model): value
            for model, values in ((self._candidate, of_candidate), (self._baseline, results.baseline))
            for name, value in values.items()
        }


def share_bounds(share: float, rows: float) -> tuple[float, float]:
    """Returns Wilson's interval of a share of rows; nan if it is unknown."""
    return intervals.wilson(share, rows) or (float("nan"), float("nan"))


def normal_bounds(value: float, error: float, limits: tuple[float, float]) -> tuple[float, float]:
    """Returns the interval of an estimate with a normal error, inside the metric's limits; nan if it is unknown."""
    if not np.isfinite(value) or not np.isfinite(error):
        return float("nan"), float("nan")
    low, high = limits
    return max(value - intervals.Z_95 * error, low), min(value + intervals.Z_95 * error, high)


def error_of_proportion(differences: np.ndarray, rows: np.ndarray) -> float:
    """Returns the standard error of a mean of -1, 0 and 1.

    Two rows are added, half of one at 1, half at -1, and one at 0 (Agresti and Min, Statistics in Medicine 2005):
    otherwise three rows of thirty that all changed the same way would look certain.
    """
    return error_of_mean(np.append(differences, (1.0, -1.0, 0.0)), np.append(rows, (0.5, 0.5, 1.0)))


def error_of_mean(values: np.ndarray, rows: np.ndarray) -> float:
    """Returns the standard error of the mean of values, weighted by their rows; infinite below two rows.

    For a metric that is not a mean, the values are the rows' influences on it (the infinitesimal jackknife, or delta
    method: Efron, "The Jackknife, the Bootstrap and Other Resampling Plans", 1982).
    """
    count = rows.sum()
    if count < 2:
        return float("inf")
    mean = (values * rows).sum() / count
    return float(np.sqrt((rows * (values - mean) ** 2).sum() / (count - 1) / count))
