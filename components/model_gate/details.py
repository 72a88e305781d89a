"""Makes `artifacts.evaluation.Evaluation`, what the report shows of an evaluation: pure functions of TFMA's results."""

import math
from typing import Any, Mapping, Optional, Sequence

from artifacts.evaluation import Change, Evaluation, Interval, NotableRow, Scores, Slice
from components.model_gate import results
from components.model_gate.results import OVERALL, Comparison
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
      comparisons: result of `results.read_comparisons`.
      details: result of `results.read_details`.
      bounds: slice name -> its bounds.
      task: what is predicted.
      has_baseline: whether the baseline is the model in serving.
    """
    overall = comparisons[OVERALL]
    scores = dict(details[results.SCORES])
    lists = details[results.NOTABLE_ROWS]
    suspicion, suspects = scores.pop("suspicion", None), scores.pop("suspects", 0)
    return Evaluation(
        label_names=task.label_names,
        plots=task.plots,
        score_range=task.score_range,
        answer_note=task.report_notes[0],
        mistake_title=task.report_notes[1],
        mistake_note=task.report_notes[2],
        metric_titles=task.metric_titles,
        has_baseline=has_baseline,
        scores=Scores.model_validate(scores),
        intervals={name: interval for name in overall.bounds if (interval := _bounds(overall, name))},
        changes=_changes(overall) if has_baseline else {},
        slice_metric=task.slice_metric,
        slices=_slices(comparisons, bounds, task.slice_metric, has_baseline),
        mistakes=_mistakes(lists),
        fixed=_rows(lists.get(results.FIXED, ())),
        broken=_rows(lists.get(results.BROKEN, ())),
        suspicion=suspicion,
        suspects=suspects,
    )


def _bounds(comparison: Comparison, metric: str) -> Optional[Interval]:
    """Returns the interval of the candidate's value; None if it is unknown."""
    low, high = comparison.bounds.get(metric, (math.nan, math.nan))
    return None if math.isnan(low) or math.isnan(high) else Interval(low=low, high=high)


def _changes(overall: Comparison) -> dict[str, Change]:
    differences = {name: overall.candidate[name] - overall.baseline[name] for name in overall.errors}
    return {
        name: Change(difference=difference, interval=_interval(difference, overall.errors[name]))
        for name, difference in differences.items()
        if math.isfinite(difference)
    }


def _interval(difference: float, error: float) -> Optional[Interval]:
    """Returns the interval of a difference with a normal error."""
    if not math.isfinite(error):
        return None
    half = intervals.Z_95 * error
    return Interval(low=difference - half, high=difference + half)


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
        interval=_bounds(comparison, metric),
        baseline=comparison.baseline[metric] if has_baseline else None,
        min=bound.min if comparison.rows >= bound.min_rows else None,
    )


def _mistakes(lists: Mapping[str, Sequence[Sequence[Any]]]) -> tuple[NotableRow, ...]:
    """Returns the mistakes on the rows of all labels, the worst first."""
    rows = [row for name in sorted(lists) if name.startswith(results.MISTAKES) for row in _rows(lists[name])]
    return tuple(sorted(rows, key=lambda row: -(row.candidate if row.classes else abs(row.label - row.candidate))))


def _rows(rows: Sequence[Sequence[Any]]) -> tuple[NotableRow, ...]:
    return tuple(NotableRow(**results.Row(*row)._asdict()) for row in rows)
