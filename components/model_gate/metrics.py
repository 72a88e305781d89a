"""Metrics that TFMA lacks: calibration error, and the standard error of the difference between two models.

TFMA's own confidence intervals (jackknife, Poisson bootstrap) are paired too, but compute every metric of every slice
21 times, which takes 9 times as long as the whole evaluation on 799 rows. They are also random, so that a result near a
bound would be random too. `PairedErrors` needs one pass and no random numbers.
"""

import collections
import json
from typing import Any, Iterable, Mapping, Optional

import apache_beam as beam
import numpy as np
from tensorflow_model_analysis.metrics import calibration_histogram, metric_types, metric_util
from tensorflow_model_analysis.proto import config_pb2
from tensorflow_model_analysis.utils import model_util

# Suffix of the standard error of a metric's difference between the candidate and the baseline.
ERROR_SUFFIX = "_diff_error"

# Bins of probability. In bins with few rows, sampling error looks like bad calibration: with 1,000 rows spread evenly
# over 10 bins it is about 0.03.
CALIBRATION_BINS = 10

# Scores are rounded up to multiples of 1/1000, so that the table of a pair of models has at most two million cells,
# for any number of rows; rounding up keeps scores above 0.5 above it.
STEPS = 1000

# Name of the metric with the `Scores` of both models, as JSON.
SCORES = "scores"

# (label, candidate's score, baseline's score), the scores in steps -> rows.
PairedScores = Mapping[tuple[int, int, int], int]


class CalibrationError(metric_types.Metric):
    """Expected calibration error of a probability: the mean distance between prediction and observed frequency.

    Rows are put into `CALIBRATION_BINS` bins of equal width by the predicted probability of class 1; the error is the
    mean over rows of their bin's |mean prediction - share of class 1|. After Guo et al., "On Calibration of Modern
    Neural Networks", ICML 2017, who bin the confidence in the predicted class; with bins by the probability of one
    class, errors on the two classes can't cancel.
    """

    def __init__(self, name: str = "calibration_error") -> None:
        super().__init__(metric_util.merge_per_key_computations(_calibration_error_computations), name=name)


def _calibration_error_computations(
    name: str,
    eval_config: Optional[config_pb2.EvalConfig] = None,
    model_name: str = "",
    output_name: str = "",
    example_weighted: bool = False,
) -> metric_types.MetricComputations:
    # The same histogram as for TFMA's AUC, so it is computed once.
    computations = calibration_histogram.calibration_histogram(
        eval_config=eval_config, model_name=model_name, output_name=output_name, example_weighted=example_weighted
    )
    histogram_key = computations[-1].keys[-1]
    key = metric_types.MetricKey(
        name=name, model_name=model_name, output_name=output_name, example_weighted=example_weighted
    )

    def result(metrics: Mapping[metric_types.MetricKey, Any]) -> dict[metric_types.MetricKey, float]:
        return {key: calibration_error(metrics[histogram_key])}

    return [*computations, metric_types.DerivedMetricComputation(keys=[key], result=result)]


def calibration_error(histogram: calibration_histogram.Histogram) -> float:
    """Returns the expected calibration error, 0 to 1, of TFMA's histogram of predictions; nan without rows."""
    edges = [index / CALIBRATION_BINS for index in range(CALIBRATION_BINS)]
    bins = calibration_histogram.rebin(edges, histogram)
    rows = sum(bucket.weighted_examples for bucket in bins)
    return sum(abs(b.weighted_predictions - b.weighted_labels) for b in bins) / rows if rows else float("nan")


class PairedErrors(metric_types.Metric):
    """Standard errors of candidate minus baseline on the same rows, for each metric: `accuracy_diff_error`, ...

    It also returns the scores that they are computed from, as the metric `SCORES`.
    """

    def __init__(self, name: str = "paired_errors") -> None:
        super().__init__(_paired_error_computations, name=name)


def _paired_error_computations(
    name: str, eval_config: config_pb2.EvalConfig, model_names: Iterable[str], **unused_kwargs: Any
) -> metric_types.MetricComputations:
    del name  # The keys are named after the metrics.
    baseline = model_util.get_baseline_model_spec(eval_config).name
    (candidate,) = set(model_names) - {baseline}
    combiner = _PairedScoresCombiner(eval_config, candidate, baseline)
    return [metric_types.MetricComputation(keys=combiner.keys, preprocessors=None, combiner=combiner)]


class _PairedScoresCombiner(beam.CombineFn):
    """Counts rows by label and both scores, then computes the errors."""

    def __init__(self, eval_config: config_pb2.EvalConfig, candidate: str, baseline: str) -> None:
        super().__init__()
        self._eval_config = eval_config
        self._candidate, self._baseline = candidate, baseline
        names = [*(name + ERROR_SUFFIX for name in paired_errors({})), SCORES]
        self.keys = [metric_types.MetricKey(name, model_name=candidate) for name in names]

    def create_accumulator(self) -> collections.Counter:
        return collections.Counter()

    def add_input(
        self, accumulator: collections.Counter, element: metric_types.StandardMetricInputs
    ) -> collections.Counter:
        label, candidate = self._label_and_score(element, self._candidate)
        _, baseline = self._label_and_score(element, self._baseline)
        accumulator[label, candidate, baseline] += 1
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[collections.Counter]) -> collections.Counter:
        merged: collections.Counter = collections.Counter()
        for accumulator in accumulators:
            merged.update(accumulator)
        return merged

    def extract_output(self, accumulator: collections.Counter) -> dict[metric_types.MetricKey, float]:
        values = [*paired_errors(accumulator).values(), json.dumps(count_scores(accumulator))]
        return dict(zip(self.keys, values, strict=True))

    def _label_and_score(self, element: metric_types.StandardMetricInputs, model: str) -> tuple[int, int]:
        label, prediction, _ = next(
            metric_util.to_label_prediction_example_weight(element, eval_config=self._eval_config, model_name=model)
        )
        return int(label.item()), int(np.ceil(prediction.item() * STEPS))


def paired_errors(scores: PairedScores) -> dict[str, float]:
    """Returns the standard error of candidate minus baseline for each metric of a binary task.

    Each metric is a mean of the rows' contributions, so its difference is the mean of their differences, whose spread
    gives the standard error; rows on which the models agree add nothing.

    - accuracy and recalls: whether a row's label is correct (the normal form of McNemar, Psychometrika 1947);
    - auc: the share of the other class's rows that a row is ranked correctly against (DeLong et al., Biometrics 1988);
    - calibration_error: the signed distance between score and label, with the sign of the whole bin. In bins that are
      nearly calibrated the sign is random, and the error is overestimated (by half, in a simulation of 400 rows): a
      small rise then passes rather than blocks.

    Args:
      scores: rows by label and both scores.
    """
    cells = np.array(list(scores), np.int64).reshape(-1, 3)
    labels, (candidate, baseline) = cells[:, 0], cells[:, 1:].T
    rows = np.array(list(scores.values()), np.float64)
    hits, placements, gaps = (
        contributions(candidate, labels, rows) - contributions(baseline, labels, rows)
        for contributions in (_is_correct, _placements, _signed_gaps)
    )
    in_class = [labels == 0, labels == 1]
    placement_errors = [_error_of_mean(placements[mask], rows[mask]) for mask in in_class]
    return {
        "accuracy": _error_of_proportion(hits, rows),
        "auc": float(np.hypot(placement_errors[0], placement_errors[1])),
        "recall_0": _error_of_proportion(hits[in_class[0]], rows[in_class[0]]),
        "recall_1": _error_of_proportion(hits[in_class[1]], rows[in_class[1]]),
        "calibration_error": _error_of_mean(gaps, rows),
    }


def count_scores(scores: PairedScores) -> dict[str, Any]:
    """Counts rows by label and score, for each model, and the rows on which only one of the models is correct.

    Returns:
      `candidate` and `baseline`: for each label, the number of rows at each of the `STEPS + 1` scores from 0 to 1;
      `fixed`: rows that only the candidate labels correctly; `broken`: rows that only the baseline does.
    """
    counts = {"candidate": np.zeros((2, STEPS + 1), int), "baseline": np.zeros((2, STEPS + 1), int)}
    correct: collections.Counter[tuple[bool, bool]] = collections.Counter()
    for (label, candidate, baseline), rows in scores.items():
        counts["candidate"][label, candidate] += rows
        counts["baseline"][label, baseline] += rows
        correct[(candidate > STEPS // 2) == label, (baseline > STEPS // 2) == label] += rows
    return {
        **{name: table.tolist() for name, table in counts.items()},
        "fixed": correct[True, False],
        "broken": correct[False, True],
    }


def auc_error(counts: np.ndarray) -> float:
    """Returns the standard error of one model's AUC.

    Args:
      counts: int[2, STEPS + 1], rows by label and score.
    """
    labels, scores = (index.ravel() for index in np.indices(counts.shape))
    rows = counts.ravel().astype(np.float64)
    placements = _placements(scores, labels, rows)
    errors = [_error_of_mean(placements[labels == label], rows[labels == label]) for label in (0, 1)]
    return float(np.hypot(errors[0], errors[1]))


def _is_correct(scores: np.ndarray, labels: np.ndarray, rows: np.ndarray) -> np.ndarray:
    del rows
    return ((scores > STEPS // 2) == (labels == 1)).astype(np.float64)


def _placements(scores: np.ndarray, labels: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Returns the share of the other class's rows that a row is ranked correctly against; ties count half."""
    counts = [np.bincount(scores[labels == k], rows[labels == k], STEPS + 1) for k in (0, 1)]
    ranks = [(np.cumsum(count) - count / 2) / max(count.sum(), 1.0) for count in counts]
    return np.where(labels == 1, ranks[0][scores], 1.0 - ranks[1][scores])


def _signed_gaps(scores: np.ndarray, labels: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Returns each row's contribution to its bin's distance; the mean over all rows is the calibration error."""
    bins = np.minimum(scores * CALIBRATION_BINS // STEPS, CALIBRATION_BINS - 1)
    gaps = scores / STEPS - labels
    return np.sign(np.bincount(bins, gaps * rows, CALIBRATION_BINS))[bins] * gaps


def _error_of_proportion(differences: np.ndarray, rows: np.ndarray) -> float:
    """Returns the standard error of a mean of -1, 0 and 1.

    Two rows are added, half of one at 1, half at -1, and one at 0 (Agresti and Min, Statistics in Medicine 2005):
    otherwise three rows of thirty that all changed the same way would look certain.
    """
    return _error_of_mean(np.append(differences, (1.0, -1.0, 0.0)), np.append(rows, (0.5, 0.5, 1.0)))


def _error_of_mean(values: np.ndarray, rows: np.ndarray) -> float:
    """Returns the standard error of the mean of values, weighted by their rows; infinite below two rows."""
    count = rows.sum()
    if count < 2:
        return float("inf")
    mean = (values * rows).sum() / count
    return float(np.sqrt((rows * (values - mean) ** 2).sum() / (count - 1) / count))
