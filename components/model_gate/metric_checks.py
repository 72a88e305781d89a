"""The checks of a candidate's metrics: pure functions from the evaluation to `core.checks.Check`s.

| check                                      | fails if                                                       |
|--------------------------------------------|----------------------------------------------------------------|
| `<metric>`                                 | the value misses `gates.model.<metric>.min` (or `max`)         |
| `<metric>_drop` (`_rise`)                  | the drop from serving exceeds `max_drop` and is significant    |
| `<metric>_below_teacher`                   | the same of the drop from the teachers and `gates.teacher`     |
| `<metric>/<slice>`, `<metric>_drop/<slice>`| the same for `gates.slices.<slice>`, from `min_rows` rows on   |

An absolute bound applies to the value itself, for any number of rows. A drop fails only if it exceeds the margin
and the 95 % confidence interval of the difference on the same rows excludes 0: with few rows, two equally good models
differ by more than any useful margin (significance of paired differences: Dror et al., "The Hitchhiker's Guide to
Testing Statistical Significance in NLP", ACL 2018). A test of non-inferiority would block every candidate if the test
file is small. Drops that are not significant can therefore add up over several runs; the absolute bounds limit that.
"""

import dataclasses
import math
from typing import Mapping, Optional

import numpy as np

from components.model_gate.results import Comparison
from core import intervals
from core.checks import Check, Severity
from core.config import MetricBound, SliceBound, TeacherBound
from schema.task import Task

GATE = "model"

# Ends the name of the check of a student.
BELOW_TEACHER = "_below_teacher"

# A difference of 0.01 is 0.010000000000000009 in floating point, and still within a margin of 0.01.
_ROUNDING = 1e-9


@dataclasses.dataclass(frozen=True)
class _Measurement:
    """One metric on one set of rows, and its bounds.

    Attributes:
      metric: name of the metric.
      title: what people call it.
      slice_name: name of the slice, or None for all rows.
      comparison: both models on these rows.
      limit: the smallest value allowed (the largest, if lower is better); None for no bound.
      margin: the largest drop allowed from the model in serving; None for no bound.
      lower_is_better: whether the metric counts errors.
      setting: the configuration key of the bounds.
      severity: severity of the checks.
      other: the model that this one is compared with.
      change: ends the name of that comparison; None for `_drop` or `_rise`.
    """

    metric: str
    title: str
    slice_name: Optional[str]
    comparison: Comparison
    limit: Optional[float]
    margin: Optional[float]
    lower_is_better: bool
    setting: str
    severity: Severity
    other: str = "the model in serving"
    change: Optional[str] = None

    @property
    def value(self) -> float:
        return self.comparison.candidate[self.metric]

    @property
    def before(self) -> float:
        return self.comparison.baseline[self.metric]

    @property
    def worse_by(self) -> float:
        """How much worse the candidate is; negative if it is better."""
        return self.value - self.before if self.lower_is_better else self.before - self.value

    @property
    def half_interval(self) -> float:
        """Half the width of the difference's 95 % confidence interval."""
        return intervals.Z_95 * self.comparison.errors[self.metric]

    def check(
        self, suffix: str, passed: bool, value: float, bound: Optional[float], sentence: str, compared: bool = True
    ) -> Check:
        """Makes a check named after the metric and the slice."""
        name, reason = self.metric + suffix, sentence
        if self.slice_name is not None:
            name, reason = f"{name}/{self.slice_name}", f"{self.slice_name} ({self.comparison.rows:,} rows): {sentence}"
        return Check(GATE, name, passed, None if math.isnan(value) else value, bound, reason, self.severity, compared)


def check_metrics(overall: Comparison, bounds: Mapping[str, MetricBound], task: Task, not_compared: str) -> list[Check]:
    """Checks each metric over all rows.

    Args:
      overall: both models on all rows.
      bounds: metric name -> bounds.
      task: what is predicted.
      not_compared: why the baseline is the candidate itself; empty if it is the model in serving.
    """
    checks = []
    for name, bound in bounds.items():
        lower = task.evaluation_metrics[name].lower_is_better
        limit, margin = (bound.max, bound.max_rise) if lower else (bound.min, bound.max_drop)
        title, setting = task.metric_titles[name], f"gates.model.{name}"
        measurement = _Measurement(name, title, None, overall, limit, margin, lower, setting, bound.severity)
        checks += _check_bounds(measurement, not_compared)
    return checks


def check_student(student: np.ndarray, teacher: np.ndarray, bound: TeacherBound, task: Task) -> Check:
    """Checks how much worse a student is than its teachers, in the task's training metric.

    Args:
      student: float[n], scores of the rows by `Task.example_scores`.
      teacher: the scores of the teachers for the same rows.
      bound: the largest drop allowed.
      task: what is predicted.
    """
    metric, differences = task.training_metric, student.astype(np.float64) - teacher
    error = float(differences.std()) / len(student) ** 0.5
    comparison = Comparison(
        rows=len(student),
        candidate={metric: float(student.mean())},
        baseline={metric: float(teacher.mean())},
        errors={metric: error},
    )
    measurement = _Measurement(
        metric,
        metric,
        None,
        comparison,
        limit=None,
        margin=bound.max_drop,
        lower_is_better=False,
        setting="gates.teacher",
        severity=bound.severity,
        other="the teachers",
        change=BELOW_TEACHER,
    )
    return _check_change(measurement, bound.max_drop, not_compared="")


def check_slices(
    comparisons: Mapping[str, Comparison], bounds: Mapping[str, SliceBound], task: Task, not_compared: str
) -> list[Check]:
    """Checks the task's slice metric on each slice; a slice with too few rows is reported without a bound.

    Args:
      comparisons: slice name -> both models on its rows.
      bounds: slice name -> bounds.
      task: what is predicted.
      not_compared: as in `check_metrics`.
    """
    return [
        check
        for name, bound in bounds.items()
        for check in _check_slice(name, comparisons.get(name), bound, task, not_compared)
    ]


def _check_slice(
    name: str, comparison: Optional[Comparison], bound: SliceBound, task: Task, not_compared: str
) -> list[Check]:
    metric, title = task.slice_metric, task.metric_titles[task.slice_metric]
    if comparison is None:
        reason = f"{name}: no test rows"
        return [Check(GATE, f"{metric}/{name}", True, None, None, reason, bound.severity, compared=False)]
    setting = f"gates.slices.{name}"
    measurement = _Measurement(
        metric, title, name, comparison, bound.min, bound.max_drop, False, setting, bound.severity
    )
    if comparison.rows >= bound.min_rows:
        return _check_bounds(measurement, not_compared)
    sentence = f"{title} {measurement.value:.4f}, not checked: fewer rows than {setting}.min_rows = {bound.min_rows:,}"
    return [measurement.check("", True, measurement.value, None, sentence, compared=False)]


def _check_bounds(measurement: _Measurement, not_compared: str) -> list[Check]:
    """Makes a check for each bound; a missing baseline is reported once for each metric, not for each slice."""
    checks = []
    if measurement.limit is not None:
        checks.append(_check_value(measurement, measurement.limit))
    if measurement.margin is not None and (not not_compared or measurement.slice_name is None):
        checks.append(_check_change(measurement, measurement.margin, not_compared))
    return checks


def _check_value(measurement: _Measurement, limit: float) -> Check:
    """Checks the value against its absolute bound."""
    value, lower = measurement.value, measurement.lower_is_better
    side, key = ("above", "max") if lower else ("below", "min")
    bound = f"{measurement.setting}.{key} = {limit:.4f}"
    passed = value <= limit if lower else value >= limit  # False for nan.
    if math.isnan(value):
        rows = f"{measurement.comparison.rows:,} rows"
        sentence = f"{measurement.title} is undefined on {rows}; check that every label occurs in them"
    elif passed:
        sentence = f"{measurement.title} {value:.4f} is at {'most' if lower else 'least'} {limit:.4f}"
    else:
        sentence = f"{measurement.title} {value:.4f} is {abs(limit - value):.4f} {side} {bound}"
    return measurement.check("", passed, value, limit, sentence)


def _check_change(measurement: _Measurement, margin: float, not_compared: str) -> Check:
    """Compares the value with that of the other model."""
    suffix = measurement.change or ("_rise" if measurement.lower_is_better else "_drop")
    if not_compared:
        reason = f"not compared: {not_compared}"
        return measurement.check(suffix, True, 0.0, margin, reason, compared=False)
    worse_by = measurement.worse_by
    within = worse_by <= margin + _ROUNDING
    passed = within or worse_by <= measurement.half_interval
    return measurement.check(suffix, passed, worse_by, margin, _describe_change(measurement, margin, within, passed))


def _describe_change(measurement: _Measurement, margin: float, within: bool, passed: bool) -> str:
    title = measurement.title
    value, before = f"{title} {measurement.value:.4f}", f"the {measurement.before:.4f} of {measurement.other}"
    if math.isnan(measurement.worse_by):
        return f"{title} can't be compared with {measurement.other}: it is undefined on these rows"
    if measurement.worse_by <= 0:
        return f"{value} is no worse than {before}"
    side, noun = ("above", "rise") if measurement.lower_is_better else ("below", "drop")
    sentence = f"{value} is {measurement.worse_by:.4f} {side} {before}"
    bound = f"{measurement.setting}.max_{noun} = {margin:.4f}"
    if within:
        return f"{sentence}, within {bound}"
    significance = ", but not significant: " if passed else "; "
    return f"{sentence}, more than {bound}{significance}{_describe_interval(measurement)}"


def _describe_interval(measurement: _Measurement) -> str:
    difference, half = measurement.value - measurement.before, measurement.half_interval
    return (
        f"with {measurement.comparison.rows:,} rows, the 95 % confidence interval of the difference is "
        f"{difference - half:+.4f} to {difference + half:+.4f}"
    )
