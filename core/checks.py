"""The checks of a gate: each with its value, its bound and a sentence that explains the result."""

import dataclasses
import json
import os
from typing import Literal, Mapping, Optional, Sequence, Union

CHECKS_FILE = "checks.json"
# In ModelGate's folder: the metrics of `candidate` and of `baseline`, the model in serving, which is null without one.
METRICS_FILE = "metrics.json"

Metrics = Mapping[str, Optional[Mapping[str, float]]]
NO_METRICS: Metrics = {"candidate": None, "baseline": None}

Severity = Literal["fail", "warn"]
Verdict = Literal["failed", "warning", "not checked", "passed"]


@dataclasses.dataclass(frozen=True)
class Check:
    """One check of one gate.

    Attributes:
      gate: `data`, `model`, `invariance`, `serving` or `push`.
      check: short name of the check (`accuracy`, `label_balance`).
      passed: whether the check passed.
      value: the measured value.
      bound: its limit.
      reason: a sentence that explains the result, with numbers.
      severity: effect of a failed check: `fail` stops the run or the push, `warn` is only reported.
      compared: whether there was something to check; if not, a check may pass although it says nothing about the model.
    """

    gate: str
    check: str
    passed: bool
    value: Optional[Union[float, str]]
    bound: Optional[Union[float, str]]
    reason: str
    severity: Severity = "fail"
    compared: bool = True

    @property
    def verdict(self) -> Verdict:
        """The verdict for people: a check that compared nothing has not passed, although it does not block."""
        if not self.passed:
            return "failed" if self.blocks else "warning"
        return "passed" if self.compared else "not checked"

    @property
    def blocks(self) -> bool:
        """Whether this check keeps the model out of serving."""
        return not self.passed and self.severity == "fail"


def write_checks(folder: str, checks: Sequence[Check]) -> None:
    """Writes `checks.json` into an artifact's folder."""
    with open(os.path.join(folder, CHECKS_FILE), "w", encoding="utf-8") as stream:
        json.dump([dataclasses.asdict(check) for check in checks], stream, ensure_ascii=False, indent=2)


def read_checks(folder: str) -> list[Check]:
    """Reads the `checks.json` of an artifact's folder; without the file there are no checks."""
    path = os.path.join(folder, CHECKS_FILE)
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as stream:
        return [Check(**check) for check in json.load(stream)]


def write_metrics(folder: str, metrics: Metrics) -> None:
    """Writes `metrics.json` into an artifact's folder."""
    with open(os.path.join(folder, METRICS_FILE), "w", encoding="utf-8") as stream:
        json.dump(metrics, stream, indent=2)


def read_metrics(folder: str) -> Metrics:
    """Reads the `metrics.json` of an artifact's folder; without the file there are no metrics."""
    path = os.path.join(folder, METRICS_FILE)
    if not os.path.exists(path):
        return NO_METRICS
    with open(path, encoding="utf-8") as stream:
        return json.load(stream)
