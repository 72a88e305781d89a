"""Turns answers into checks: pure, so that each verdict can be tested with literal answers."""

import dataclasses
import math
from typing import Mapping, Optional, Sequence, Union

import numpy as np

from artifacts.model_run import GoldenAnswers
from components.serving_validator import comparison, request_set
from components.serving_validator.answers import Answer, Response
from components.serving_validator.comparison import Rows
from components.serving_validator.model_server import NotRun, Served
from components.serving_validator.request_set import Request
from core.checks import Check
from core.config import ServingGateConfig
from schema.task import Task

GATE = "serving"

# More than there are hostile requests: each of those is named.
_NAMES_SHOWN = 20
_REAL = (request_set.WARM_UP, request_set.ALONE, request_set.TOGETHER)
_BAD_INPUT = (request_set.MALFORMED, request_set.MISSHAPEN, request_set.RECOVERY)


@dataclasses.dataclass(frozen=True)
class _Asked:
    """A request with its answer's rows, or with what is wrong with it."""

    request: Request
    response: Optional[Response]
    fault: Optional[str]

    @property
    def rows(self) -> Rows:
        return {name: output.values for name, output in self.response.outputs.items()}


def judge(
    answer: Answer,
    outside_files: Sequence[str],
    served: Union[NotRun, Served],
    golden: GoldenAnswers,
    bounds: ServingGateConfig,
    task: Task,
) -> list[Check]:
    """Holds all that was found of a model against the bounds.

    Args:
      answer: what the probe's process wrote down.
      outside_files: what the graph names that is not part of it.
      served: what a model server answered.
      golden: the training process's answers.
      bounds: `gates.serving`.
      task: whose outputs the model serves.

    Returns:
      All checks; only `loads` where the model could not be loaded.
    """
    checks = [_loads(answer)]
    if answer.loaded:
        asked = _asked(answer, task)
        checks += [
            _self_contained(outside_files),
            _answers("answers_real_rows", "real reviews", asked, _REAL),
            _agrees_with_training(asked, golden, bounds.tolerance, task),
            _batch_independent(asked, bounds.tolerance, task),
            _concurrent_callers(asked, bounds, task),
            _latency("latency_p50_ms", 50, asked, bounds.max_p50_ms),
            _latency("latency_p99_ms", 99, asked, bounds.max_p99_ms),
            _refuses_bad_input(asked),
            _answers("answers_hostile_rows", "hostile texts", asked, (request_set.HOSTILE,)),
            _memory(asked, bounds.max_memory_mb),
            _model_server(asked, served, bounds, task),
        ]
    return [dataclasses.replace(check, severity=bounds.severity.get(check.check, check.severity)) for check in checks]


def _asked(answer: Answer, task: Task) -> list[_Asked]:
    return [
        _Asked(request, response, _fault(request, response, task))
        for request, response in zip(answer.requests, answer.responses, strict=True)
    ]


def _fault(request: Request, response: Optional[Response], task: Task) -> Optional[str]:
    """What is wrong with a response, or None."""
    if response is None:
        return "it was never asked"
    if response.fatal:
        return response.error
    if request.group == request_set.MISSHAPEN:
        return None
    if request.group == request_set.MALFORMED:
        return None if response.error else "it was answered as if it were right"
    return response.error or comparison.fault(response.outputs, len(request.texts), task)


def _loads(answer: Answer) -> Check:
    if answer.loaded:
        return _check(
            "loads", True, reason="a fresh process with TensorFlow and TF Text only loaded the exported model"
        )
    return _check("loads", False, reason=f"a fresh process could not load the exported model: {answer.fault}")


def _self_contained(outside_files: Sequence[str]) -> Check:
    check = "self_contained"
    if not outside_files:
        return _check(check, True, 0, 0, "the exported model names no file by where it lies on this machine")
    reason = f"the exported model names {_listed(outside_files)}, which no server has; make it an asset of the model"
    return _check(check, False, len(outside_files), 0, reason)


def _answers(check: str, what: str, asked: Sequence[_Asked], groups: Sequence[str]) -> Check:
    concerned = [a for a in asked if a.request.group in groups]
    faulty = [a for a in concerned if a.fault]
    if not faulty:
        return _check(check, True, 0, 0, f"all {len(concerned)} requests with {what} got finite numbers")
    reason = f"{len(faulty)} of {len(concerned)} requests with {what} failed: {_told(faulty)}"
    return _check(check, False, len(faulty), 0, reason)


def _told(faulty: Sequence[_Asked]) -> str:
    """Names the requests by what is wrong with them, since a hundred may fail for one reason."""
    names_by_fault: dict[str, list[str]] = {}
    for a in faulty:
        names_by_fault.setdefault(a.fault, []).append(a.request.name)
    return "; ".join(f"{_listed(names)}: {fault}" for fault, names in names_by_fault.items())


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return ", ".join(names[:_NAMES_SHOWN]) + more


def _agrees_with_training(asked: Sequence[_Asked], golden: GoldenAnswers, tolerance: float, task: Task) -> Check:
    check = "agrees_with_training"
    batches = [a for a in asked if a.request.group == request_set.GOLDEN]
    if not batches:
        return _check(check, False, None, tolerance, "the training process recorded no answers to compare with")
    for batch in batches:
        if batch.fault:
            return _check(check, False, None, tolerance, f"{batch.request.name} could not be compared: {batch.fault}")
    names = comparison.served_signature(task)
    served = {name: np.concatenate([batch.rows[name] for batch in batches]) for name in names}
    difference = comparison.difference(
        served, {name: np.array(golden.outputs[name], np.float64) for name in served}, task
    )
    reason = (
        f"the exported model and the training process differ by {difference:.2g} at most on {len(golden.text)} rows"
    )
    return _bounded(check, difference, tolerance, reason)


def _batch_independent(asked: Sequence[_Asked], tolerance: float, task: Task) -> Check:
    alone = {a.request.texts[0]: a.rows for a in asked if a.request.group == request_set.ALONE and not a.fault}
    batches = [a for a in asked if a.request.group in (request_set.TOGETHER, request_set.HOSTILE) and not a.fault]
    differences = {
        a.request.name: comparison.difference(*pairs, task) for a in batches if (pairs := _paired(a, alone, task))
    }
    return _alike("batch_independent", differences, tolerance, "a review's answer alone and in a batch")


def _paired(batch: _Asked, alone: Mapping[bytes, Rows], task: Task) -> Optional[tuple[Rows, Rows]]:
    """The rows of a batch that were also asked alone, as they were answered in it and alone."""
    places = [i for i, text in enumerate(batch.request.texts) if text in alone]
    if not places:
        return None
    names = comparison.served_signature(task)
    texts = [batch.request.texts[i] for i in places]
    return (
        {name: batch.rows[name][places] for name in names},
        {name: np.concatenate([alone[text][name] for text in texts]) for name in names},
    )


def _concurrent_callers(asked: Sequence[_Asked], bounds: ServingGateConfig, task: Task) -> Check:
    check = "concurrent_callers"
    failed = _answers(check, "reviews from callers at once", asked, (request_set.CONCURRENT,))
    if not failed.passed:
        return failed
    serial = {a.request.texts: a.rows for a in asked if a.request.group in _REAL and not a.fault}
    differences = {
        a.request.name: comparison.difference(a.rows, serial[a.request.texts], task)
        for a in asked
        if a.request.group == request_set.CONCURRENT and a.request.texts in serial
    }
    what = f"the answers to {bounds.concurrent_callers} callers at once and to one"
    return _alike(check, differences, bounds.tolerance, what)


def _alike(check: str, differences: Mapping[str, float], tolerance: float, what: str) -> Check:
    """Holds the largest of the differences, by request, against the tolerance."""
    if not differences:
        return _check(check, False, None, tolerance, f"{what} could not be compared: no review was answered both ways")
    # A NaN is larger than any number.
    worst = max(differences, key=lambda name: (math.isnan(differences[name]), differences[name]))
    return _bounded(
        check, differences[worst], tolerance, f"{what} differ by {differences[worst]:.2g} at most ({worst})"
    )


def _latency(check: str, percentile: int, asked: Sequence[_Asked], bound_ms: float) -> Check:
    latencies_ms = [a.response.latency_ms for a in asked if a.request.group == request_set.ALONE and not a.fault]
    if not latencies_ms:
        return _check(check, False, None, bound_ms, "no request with one review was answered")
    value_ms = float(np.percentile(latencies_ms, percentile))
    reason = f"one review takes {value_ms:.3g} ms (p{percentile}) over {len(latencies_ms)} requests"
    return _bounded(check, value_ms, bound_ms, reason)


def _refuses_bad_input(asked: Sequence[_Asked]) -> Check:
    check = "refuses_bad_input"
    concerned = [a for a in asked if a.request.group in _BAD_INPUT]
    faulty = [a for a in concerned if a.fault]
    if faulty:
        return _check(check, False, len(faulty), 0, f"a wrong request was not just an error: {_told(faulty)}")
    refused = [a.request.name for a in concerned if a.response.error]
    reason = f"{_listed(refused)}: each got an error, and the process lived on and answered"
    return _check(check, True, 0, 0, reason)


def _memory(asked: Sequence[_Asked], bound_mb: float) -> Check:
    check = "memory_mb"
    peaks_mb = [a.response.peak_memory_mb for a in asked if a.response and a.response.peak_memory_mb is not None]
    if not peaks_mb:
        return _check(check, False, None, bound_mb, "the process ended before its memory was measured")
    reason = f"the process held {max(peaks_mb):.0f} MiB at most, TensorFlow itself included"
    return _bounded(check, max(peaks_mb), bound_mb, reason)


def _model_server(
    asked: Sequence[_Asked], served: Union[NotRun, Served], bounds: ServingGateConfig, task: Task
) -> Check:
    """Holds a model server's answers against the fresh process's, where those are right."""
    check, tolerance = "model_server", bounds.tolerance
    if isinstance(served, NotRun):
        required = bounds.model_server == "required"
        reason = f"not run: {served.reason}"
        return Check(GATE, check, not required, "not run", None, reason, "fail" if required else "warn")
    expected = {a.request.name: a for a in asked if not a.fault}
    differences: dict[str, float] = {}
    for transport, answer in served.answers.items():
        compared = [a for a in _asked(answer, task) if a.request.name in expected]
        failure = _server_failure(answer, compared)
        if failure:
            return _check(check, False, None, tolerance, f"{served.server} over {transport}: {failure}")
        for a in compared:
            if a.request.group not in _BAD_INPUT:
                name = f"{a.request.name} over {transport}"
                differences[name] = comparison.difference(a.rows, expected[a.request.name].rows, task)
    what = f"{served.server}'s answers over {' and '.join(served.answers)} and the fresh process's"
    return _alike(check, differences, tolerance, what)


def _server_failure(answer: Answer, compared: Sequence[_Asked]) -> Optional[str]:
    faulty = [a for a in compared if a.fault]
    told = f"{len(faulty)} of {len(compared)} requests failed: {_told(faulty)}" if faulty else None
    return "; ".join(filter(None, [answer.fault, told])) or None


def _bounded(check: str, value: float, bound: float, reason: str) -> Check:
    # A value that is not a number holds no bound.
    passed = value <= bound
    held = "within" if passed else "more than"
    return _check(check, passed, value, bound, f"{reason}; {held} {bound:g}" + ("" if passed else " allows"))


def _check(
    check: str, passed: bool, value: Optional[float] = None, bound: Optional[float] = None, reason: str = ""
) -> Check:
    shown = value if value is not None and math.isfinite(value) else None
    return Check(GATE, check, passed, shown, bound, reason)
