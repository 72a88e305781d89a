"""Metrics of two classes that TFMA lacks: calibration error, and standard errors of the difference between two models.

TFMA's own confidence intervals (jackknife, Poisson bootstrap) are paired too, but compute every metric of every slice
21 times, which takes 9 times as long as the whole evaluation on 799 rows. They are also random, so that a result near a
bound would be random too. `PairedErrors` needs one pass and no random numbers.
"""

from typing import Any, Iterable, Mapping, Optional, Union

import numpy as np
from tensorflow_model_analysis.metrics import calibration_histogram, metric_types, metric_util
from tensorflow_model_analysis.proto import config_pb2

from components.model_gate import cell_counts, confusion, label_errors, paired
from components.model_gate.cell_counts import CellCounts
from components.model_gate.paired import Results

# Bins of probability. In bins with few rows, sampling error looks like bad calibration: with 1,000 rows spread evenly
# over 10 bins it is about 0.03.
CALIBRATION_BINS = 10

# Scores are rounded up to multiples of 1/1000, so that the table of a pair of models has at most two million cells,
# for any number of rows; rounding up keeps scores above 0.5 above it.
STEPS = 1000

# (label, candidate's score, baseline's score), the scores in steps -> rows.
PairedScores = Union[cell_counts.Cells, CellCounts]


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

    It also returns the metrics of the confusion matrix, and the scores of both models.
    """

    def __init__(self, name: str = "paired_errors") -> None:
        super().__init__(_paired_error_computations, name=name)


def _paired_error_computations(
    eval_config: config_pb2.EvalConfig, model_names: Iterable[str], **unused_kwargs: Any
) -> metric_types.MetricComputations:
    return paired.computations(ScoreCounts, eval_config, model_names)


class ScoreCounts:
    """Rows by label and both models' scores, in steps."""

    def __init__(self) -> None:
        self.scores = CellCounts(STEPS)

    def add(self, label: float, candidate: np.ndarray, baseline: np.ndarray) -> None:
        """Adds a row: its class, and both models' probabilities of class 1."""
        ours, theirs = (int(np.ceil(prediction.item() * STEPS)) for prediction in (candidate, baseline))
        self.scores.add(int(label), ours, theirs)

    def merge(self, other: "ScoreCounts") -> None:
        """Adds the rows of another table."""
        self.scores.merge(other.scores)

    def results(self) -> Results:
        """Compares the models."""
        cells = _cells(self.scores)
        ours, theirs = confusion.tables(cells, 2)
        counts = count_scores(self.scores)
        return Results(
            _values_beside_tfma(ours),
            _values_beside_tfma(theirs),
            {**confusion.paired_errors(cells, 2), **paired_errors(self.scores)},
            {**confusion.bounds(ours), "auc": _auc_bounds(np.array(counts["candidate"]))},
            {**counts, "confusion": ours.astype(int).tolist(), "mistakes": int(ours.sum() - np.trace(ours))},
        )


def _values_beside_tfma(table: np.ndarray) -> dict[str, float]:
    """Returns the metrics of a confusion matrix that TFMA does not compute."""
    return {name: value for name, value in confusion.values(table).items() if name.startswith(("f1", "matthews"))}


def _cells(scores: PairedScores) -> confusion.Cells:
    """Returns the rows by label and both models' classes."""
    counts = np.zeros((2, 2, 2), int)
    index, rows = cell_counts.arrays(scores)
    labels, candidate, baseline = index.T
    np.add.at(counts, (labels, (candidate > STEPS // 2).astype(int), (baseline > STEPS // 2).astype(int)), rows)
    return {(label, ours, theirs): int(count) for (label, ours, theirs), count in np.ndenumerate(counts) if count}


def _auc_bounds(counts: np.ndarray) -> tuple[float, float]:
    labels, scores = (index.ravel() for index in np.indices(counts.shape))
    rows = counts.ravel().astype(np.float64)
    value = (_placements(scores, labels, rows) * rows)[labels == 1].sum() / max(counts[1].sum(), 1)
    return paired.normal_bounds(float(value), auc_error(counts), (0.0, 1.0))


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
    cells, rows = cell_counts.arrays(scores)
    (labels, candidate, baseline), rows = cells.T, rows.astype(np.float64)
    hits, placements, gaps = (
        contributions(candidate, labels, rows) - contributions(baseline, labels, rows)
        for contributions in (_is_correct, _placements, _signed_gaps)
    )
    in_class = [labels == 0, labels == 1]
    placement_errors = [paired.error_of_mean(placements[mask], rows[mask]) for mask in in_class]
    return {
        "accuracy": paired.error_of_proportion(hits, rows),
        "auc": float(np.hypot(placement_errors[0], placement_errors[1])),
        "recall_0": paired.error_of_proportion(hits[in_class[0]], rows[in_class[0]]),
        "recall_1": paired.error_of_proportion(hits[in_class[1]], rows[in_class[1]]),
        "calibration_error": paired.error_of_mean(gaps, rows),
    }


def count_scores(scores: PairedScores) -> dict[str, Any]:
    """Counts rows by label and score, for each model, and the rows on which only one of the models is correct.

    Returns:
      `candidate` and `baseline`: for each label, the number of rows at each of the `STEPS + 1` scores from 0 to 1;
      `fixed`: rows that only the candidate labels correctly; `broken`: rows that only the baseline does; `suspicion`
      and `suspects`, as in `label_errors`.
    """
    counts = {"candidate": np.zeros((2, STEPS + 1), int), "baseline": np.zeros((2, STEPS + 1), int)}
    cells, rows = cell_counts.arrays(scores)
    labels, candidate, baseline = cells.T
    np.add.at(counts["candidate"], (labels, candidate), rows)
    np.add.at(counts["baseline"], (labels, baseline), rows)
    thresholds = label_errors.suspicion(counts["candidate"])
    return {
        **{name: table.tolist() for name, table in counts.items()},
        **confusion.changed_rows(_cells(scores)),
        "suspicion": thresholds,
        "suspects": label_errors.count_suspects(counts["candidate"], thresholds),
    }


def auc_error(counts: np.ndarray) -> float:
    """Returns the standard error of one model's AUC.

    Args:
      counts: int[2, STEPS + 1], rows by label and score.
    """
    labels, scores = (index.ravel() for index in np.indices(counts.shape))
    rows = counts.ravel().astype(np.float64)
    placements = _placements(scores, labels, rows)
    errors = [paired.error_of_mean(placements[labels == label], rows[labels == label]) for label in (0, 1)]
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
