"""Makes `artifacts.evaluation.Evaluation`, what the report shows of an evaluation: pure functions of TFMA's results."""

import math
from typing import Any, Mapping, Optional, Sequence

import numpy as np

from artifacts.evaluation import Change, Evaluation, Interval, NotableRow, Scores, Slice
from components.model_gate import label_errors, metrics, notable_rows
from components.model_gate.evaluation import OVERALL, Comparison
from core import intervals
from core.config import SliceBound
from schema.task import Task


def make_evaluation(
    comparisons: Mapping[str, Comparison],
    details: Mapping[str, Any],
    bounds: Mapping[str, SliceBound],
    task: Task,
    has_baseline: bool,
) -> Evaluation:
    """Makes the evaluation behind a report.

    Args:
      comparisons: result of `evaluation.read_comparisons`.
      details: result of `evaluation.read_details`.
      bounds: slice name -> its bounds.
      task: what is predicted.
      has_baseline: whether the baseline is the model in serving.
    """
    overall = comparisons[OVERALL]
    counts = np.array(details[metrics.SCORES]["candidate"])
    lists = details[notable_rows.NOTABLE_ROWS]
    thresholds = label_errors.suspicion(counts)
    return Evaluation(
        label_names=task.label_names,
        metric_titles=task.metric_titles,
        has_baseline=has_baseline,
        scores=Scores.model_validate(details[metrics.SCORES]),
        intervals=_intervals(overall, counts),
        changes=_changes(overall, task) if has_baseline else {},
        slice_metric=task.slice_metric,
        slices=_slices(comparisons, bounds, task.slice_metric, has_baseline),
        mistakes=_mistakes(lists),
        fixed=_rows(lists[notable_rows.FIXED]),
        broken=_rows(lists[notable_rows.BROKEN]),
        suspicion=thresholds,
        suspects=label_errors.count_suspects(counts, thresholds),
    )


def share_interval(share: float, rows: float) -> Optional[Interval]:
    """Returns Wilson's interval of a share of rows; None without rows."""
    bounds = intervals.wilson(share, rows)
    return Interval(low=bounds[0], high=bounds[1]) if bounds else None


def _intervals(overall: Comparison, counts: np.ndarray) -> dict[str, Interval]:
    rows = counts.sum(axis=1)
    shares = {"accuracy": overall.rows, "recall_0": rows[0], "recall_1": rows[1]}
    known = {name: share_interval(overall.candidate[name], count) for name, count in shares.items()}
    known["auc"] = _interval(overall.candidate["auc"], metrics.auc_error(counts))
    return {name: interval for name, interval in known.items() if interval}


def _changes(overall: Comparison, task: Task) -> dict[str, Change]:
    differences = {name: overall.candidate[name] - overall.baseline[name] for name in task.evaluation_metrics}
    return {
        name: Change(difference=difference, interval=_interval(difference, overall.errors[name], limit=None))
        for name, difference in differences.items()
        if math.isfinite(difference)
    }


def _interval(value: float, error: float, limit: Optional[float] = 1.0) -> Optional[Interval]:
    """Returns the interval of an estimate with a normal error; a share stays below its limit."""
    if not math.isfinite(value) or not math.isfinite(error):
        return None
    high = value + intervals.Z_95 * error
    return Interval(low=value - intervals.Z_95 * error, high=high if limit is None else min(high, limit))


def _slices(
    comparisons: Mapping[str, Comparison], bounds: Mapping[str, SliceBound], metric: str, has_baseline: bool
) -> dict[str, Slice]:
    """Returns the slices that have bounds and rows."""
    return {
        name: _slice(comparisons[name], bound, metric, has_baseline)
        for name, bound in bounds.items()
        if name in comparisons
    }


def _slice(comparison: Comparison, bound: SliceBound, metric: str, has_baseline: bool) -> Slice:
    value = comparison.candidate[metric]
    return Slice(
        rows=comparison.rows,
        value=None if math.isnan(value) else value,
        interval=share_interval(value, comparison.rows),
        baseline=comparison.baseline[metric] if has_baseline else None,
        min=bound.min if comparison.rows >= bound.min_rows else None,
    )


def _mistakes(lists: Mapping[str, Sequence[Sequence[Any]]]) -> tuple[NotableRow, ...]:
    """Returns the mistakes on the rows of all labels, those with the highest confidence first."""
    rows = [row for name in notable_rows.MISTAKES for row in _rows(lists[name])]
    return tuple(sorted(rows, key=lambda row: -abs(row.label - row.candidate)))


def _rows(rows: Sequence[Sequence[Any]]) -> tuple[NotableRow, ...]:
    return tuple(NotableRow(**notable_rows.Row(*row)._asdict()) for row in rows)
