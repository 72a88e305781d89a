"""The checks of a candidate's metrics: pure functions from what the evaluation found to `core.checks.Check`s.

| check                                      | fails where                                                    |
|--------------------------------------------|----------------------------------------------------------------|
| `<metric>`                                 | it misses `gates.model.<metric>.min` (or `max`)                |
| `<metric>_drop` (`_rise`)                  | it is worse than in serving: past `max_drop`, and surely so    |
| `<metric>/<slice>`, `<metric>_drop/<slice>`| the same of `gates.slices.<slice>`, from `min_rows` rows on    |

An absolute bound is held against the value itself: it is what the user promises, whatever the number of rows. A drop
is held against two things. The margin says what matters: less is not worth a model. The 95 % confidence interval of the
difference on the same rows says what is known: with few rows two equally good models differ past any useful margin, so
a drop blocks only where the interval leaves out 0 (significance of paired differences: Dror et al., "The Hitchhiker's
Guide to Testing Statistical Significance in NLP", ACL 2018). To ask for proof of the opposite, that the drop is within
the margin (non-inferiority), would block every candidate of a small test file. So a drop within chance goes through,
and several in a row may add up; that is what the absolute bounds are for.
"""

import dataclasses
import math
from typing import Mapping, Optional

from components.model_gate.evaluation import Comparison
from core.checks import Check, Severity
from core.config import MetricBound, SliceBound
from schema.task import Task

GATE = "model"

# Standard errors to each side of a difference that hold 95 % of what chance makes of it.
_Z_95 = 1.96

# A difference of 0.01 is 0.010000000000000009 in floating point, and still no more than a margin of 0.01.
_ROUNDING = 1e-9


@dataclasses.dataclass(frozen=True)
class _Judged:
    """One metric on one set of rows, and what it is held against.

    Attributes:
      metric: its name.
      rows: the slice's name, or None for all rows.
      found: both models on these rows.
      limit: what its value should reach, or stay under; None is no bound.
      margin: how much worse than the model in serving it may be; None is no bound.
      lower_is_better: whether it counts what is wrong.
      setting: the key of the configuration that has the bounds.
      severity: of the checks.
    """

    metric: str
    rows: Optional[str]
    found: Comparison
    limit: Optional[float]
    margin: Optional[float]
    lower_is_better: bool
    setting: str
    severity: Severity

    @property
    def value(self) -> float:
        return self.found.candidate[self.metric]

    @property
    def before(self) -> float:
        return self.found.baseline[self.metric]

    @property
    def worse_by(self) -> float:
        """How much worse the candidate is; under 0 where it is better."""
        return self.value - self.before if self.lower_is_better else self.before - self.value

    @property
    def half_interval(self) -> float:
        """Half the width of the difference's 95 % confidence interval."""
        return _Z_95 * self.found.errors[self.metric]

    def check(self, suffix: str, passed: bool, value: float, bound: Optional[float], sentence: str) -> Check:
        """A check named after the metric and the slice."""
        name, reason = self.metric + suffix, sentence
        if self.rows is not None:
            name, reason = f"{name}/{self.rows}", f"{self.rows} ({self.found.rows:,} rows): {sentence}"
        return Check(GATE, name, passed, None if math.isnan(value) else value, bound, reason, self.severity)


def check_metrics(found: Comparison, bounds: Mapping[str, MetricBound], task: Task, has_baseline: bool) -> list[Check]:
    """Holds each metric over all rows against its bounds.

    Args:
      found: both models on all rows.
      bounds: metric name -> bounds.
      task: what is predicted.
      has_baseline: whether the baseline is a model in serving; else it is the candidate itself.
    """
    checks = []
    for name, bound in bounds.items():
        lower = task.evaluation_metrics[name].lower_is_better
        limit, margin = (bound.max, bound.max_rise) if lower else (bound.min, bound.max_drop)
        judged = _Judged(name, None, found, limit, margin, lower, f"gates.model.{name}", bound.severity)
        checks += _judge(judged, has_baseline)
    return checks


def check_slices(
    found: Mapping[str, Comparison], bounds: Mapping[str, SliceBound], task: Task, has_baseline: bool
) -> list[Check]:
    """Holds the task's slice metric against each slice's bounds; too small a slice is told, not judged.

    Args:
      found: slice name -> both models on its rows.
      bounds: slice name -> bounds.
      task: what is predicted.
      has_baseline: whether the baseline is a model in serving; else nothing is compared.
    """
    return [
        check
        for name, bound in bounds.items()
        for check in _check_slice(name, found.get(name), bound, task.slice_metric, has_baseline)
    ]


def _check_slice(
    name: str, found: Optional[Comparison], bound: SliceBound, metric: str, has_baseline: bool
) -> list[Check]:
    if found is None:
        reason = f"{name}: the test rows have none of this slice"
        return [Check(GATE, f"{metric}/{name}", True, None, None, reason, bound.severity)]
    setting = f"gates.slices.{name}"
    judged = _Judged(metric, name, found, bound.min, bound.max_drop, False, setting, bound.severity)
    if found.rows >= bound.min_rows:
        return _judge(judged, has_baseline)
    sentence = f"{metric} {judged.value:.4f} is told, not judged: {setting}.min_rows asks for {bound.min_rows:,}"
    return [judged.check("", True, judged.value, None, sentence)]


def _judge(judged: _Judged, has_baseline: bool) -> list[Check]:
    """The checks that have a bound; that a first run compares nothing is told once a metric, not once a slice."""
    checks = []
    if judged.limit is not None:
        checks.append(_check_value(judged, judged.limit))
    if judged.margin is not None and (has_baseline or judged.rows is None):
        checks.append(_check_change(judged, judged.margin, has_baseline))
    return checks


def _check_value(judged: _Judged, limit: float) -> Check:
    """The value against its absolute bound."""
    value, lower = judged.value, judged.lower_is_better
    passed = value <= limit if lower else value >= limit  # False for nan.
    if math.isnan(value):
        sentence = f"{judged.metric} is undefined on {judged.found.rows:,} rows; do they hold every label?"
    elif passed:
        sentence = f"{judged.metric} {value:.4f} is at {'most' if lower else 'least'} {limit:.4f}"
    else:
        side, key = ("over", "max") if lower else ("under", "min")
        sentence = (
            f"{judged.metric} {value:.4f} is {abs(limit - value):.4f} {side} the {limit:.4f} of {judged.setting}.{key}"
        )
    return judged.check("", passed, value, limit, sentence)


def _check_change(judged: _Judged, margin: float, has_baseline: bool) -> Check:
    """The value against that of the model in serving."""
    suffix = "_rise" if judged.lower_is_better else "_drop"
    if not has_baseline:
        return judged.check(suffix, True, 0.0, margin, "no other model is in serving to compare with")
    worse_by = judged.worse_by
    within = worse_by <= margin + _ROUNDING
    passed = within or worse_by <= judged.half_interval
    return judged.check(suffix, passed, worse_by, margin, _change_sentence(judged, margin, within, passed))


def _change_sentence(judged: _Judged, margin: float, within: bool, passed: bool) -> str:
    value, before = f"{judged.metric} {judged.value:.4f}", f"the {judged.before:.4f} of the model in serving"
    if math.isnan(judged.worse_by):
        return f"{judged.metric} can't be compared with the model in serving: it is undefined on these rows"
    if judged.worse_by <= 0:
        return f"{value} is no worse than {before}"
    side, noun = ("over", "rise") if judged.lower_is_better else ("under", "drop")
    sentence = f"{value} is {judged.worse_by:.4f} {side} {before}"
    setting = f"{judged.setting}.max_{noun}"
    if within:
        return f"{sentence}; {setting} allows a {noun} of {margin:.4f}"
    verdict = "so it does not block, though " if passed else ""
    return f"{sentence}; {_interval_words(judged)}, {verdict}{setting} allows {margin:.4f}"


def _interval_words(judged: _Judged) -> str:
    difference, half = judged.value - judged.before, judged.half_interval
    return (
        f"with {judged.found.rows:,} rows the difference is {difference - half:+.4f} to {difference + half:+.4f} "
        "with 95 % confidence"
    )
