"""Turns the responses of a model into checks, by pure functions."""

import dataclasses
import math
from typing import Mapping, Optional, Sequence, Union

import numpy as np

from artifacts.model_run import GoldenAnswers
from components.serving_validator import comparison, request_set
from components.serving_validator.answers import Response, Transcript
from components.serving_validator.comparison import Rows
from components.serving_validator.model_server import NotRun, Served
from components.serving_validator.request_set import Request
from core.checks import Check, Severity
from core.config import ServingGateConfig
from schema.task import Task

GATE = "serving"

# More than the number of hostile requests, so that all of them are named.
_NAMES_SHOWN = 20
_REAL = (request_set.WARM_UP, request_set.ALONE, request_set.TOGETHER)
_BAD_INPUT = (request_set.MALFORMED, request_set.WRONG_SHAPE, request_set.RECOVERY)


@dataclasses.dataclass(frozen=True)
class _Exchange:
    """A request and its response; `fault` describes what is wrong with the response, or is None."""

    request: Request
    response: Response
    fault: Optional[str]

    @property
    def rows(self) -> Rows:
        return {name: output.values for name, output in self.response.outputs.items()}


def judge(
    transcript: Transcript,
    outside_files: Sequence[str],
    served: Union[NotRun, Served],
    golden: GoldenAnswers,
    bounds: ServingGateConfig,
    task: Task,
) -> list[Check]:
    """Runs all checks of a model.

    Args:
      transcript: requests and responses of the fresh process.
      outside_files: files outside the model that its graph refers to.
      served: the responses of a model server.
      golden: the training process's answers.
      bounds: `gates.serving`.
      task: the task of the model.

    Returns:
      All checks; only `loads` if the model could not be loaded.
    """
    checks = [_check_loads(transcript)]
    if transcript.loaded:
        exchanges = _exchanges(transcript, task)
        checks += [
            _check_self_contained(outside_files),
            _check_answers("answers_real_rows", "real reviews", exchanges, _REAL),
            _check_agreement_with_training(exchanges, golden, bounds.tolerance, task),
            _check_batch_independence(exchanges, bounds.tolerance, task),
            _check_concurrent_callers(exchanges, bounds, task),
            _check_latency("latency_p50_ms", 50, exchanges, bounds.max_p50_ms),
            _check_latency("latency_p99_ms", 99, exchanges, bounds.max_p99_ms),
            _check_bad_input(exchanges),
            _check_answers("answers_hostile_rows", "hostile texts", exchanges, (request_set.HOSTILE,)),
            _check_memory(exchanges, bounds.max_memory_mb),
            _check_model_server(exchanges, served, bounds, task),
        ]
    severities: dict[str, Severity] = {name: severity for name, severity in bounds.severity.items()}
    return [dataclasses.replace(check, severity=severities.get(check.check, check.severity)) for check in checks]


def _exchanges(transcript: Transcript, task: Task) -> list[_Exchange]:
    return [
        _Exchange(request, response or Response(), _find_fault(request, response, task))
        for request, response in zip(transcript.requests, transcript.responses, strict=True)
    ]


def _find_fault(request: Request, response: Optional[Response], task: Task) -> Optional[str]:
    """Returns what is wrong with a response, or None."""
    if response is None:
        return "not sent"
    if response.fatal:
        return response.error
    if request.group == request_set.WRONG_SHAPE:
        return None
    if request.group == request_set.MALFORMED:
        return None if response.error else "answered without an error"
    return response.error or comparison.find_fault(response.outputs, len(request.texts), task)


def _check_loads(transcript: Transcript) -> Check:
    if transcript.loaded:
        return _check(
            "loads", True, reason="a fresh process with only TensorFlow and TF Text loaded the exported model"
        )
    return _check("loads", False, reason=f"a fresh process could not load the exported model: {transcript.fault}")


def _check_self_contained(outside_files: Sequence[str]) -> Check:
    check = "self_contained"
    if not outside_files:
        return _check(check, True, 0, 0, "the graph refers to no file outside the exported model")
    reason = f"the graph refers to {_join(outside_files)}, which will be missing on a server; make it an asset"
    return _check(check, False, len(outside_files), 0, reason)


def _check_answers(check: str, what: str, exchanges: Sequence[_Exchange], groups: Sequence[str]) -> Check:
    selected = [e for e in exchanges if e.request.group in groups]
    faulty = [e for e in selected if e.fault]
    if not faulty:
        return _check(check, True, 0, 0, f"all {len(selected)} requests with {what} returned finite numbers")
    reason = f"{len(faulty)} of {len(selected)} requests with {what} failed: {_describe(faulty)}"
    return _check(check, False, len(faulty), 0, reason)


def _describe(faulty: Sequence[_Exchange]) -> str:
    """Lists the requests by fault, because a hundred may fail for the same reason."""
    names_by_fault: dict[Optional[str], list[str]] = {}
    for each in faulty:
        names_by_fault.setdefault(each.fault, []).append(each.request.name)
    return "; ".join(f"{_join(names)}: {fault}" for fault, names in names_by_fault.items())


def _join(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return ", ".join(names[:_NAMES_SHOWN]) + more


def _check_agreement_with_training(
    exchanges: Sequence[_Exchange], golden: GoldenAnswers, tolerance: float, task: Task
) -> Check:
    check = "agrees_with_training"
    batches = [e for e in exchanges if e.request.group == request_set.GOLDEN]
    if not batches:
        return _check(check, False, None, tolerance, "the training process recorded no answers to compare with")
    for batch in batches:
        if batch.fault:
            return _check(check, False, None, tolerance, f"{batch.request.name} failed: {batch.fault}")
    names = comparison.numeric_outputs(task)
    served = {name: np.concatenate([batch.rows[name] for batch in batches]) for name in names}
    difference = comparison.difference(
        served, {name: np.array(golden.outputs[name], np.float64) for name in served}, task
    )
    reason = (
        f"the exported model and the training process differ by at most {difference:.2g} on {len(golden.text)} rows"
    )
    return _check_bounded(check, difference, tolerance, reason)


def _check_batch_independence(exchanges: Sequence[_Exchange], tolerance: float, task: Task) -> Check:
    alone = {e.request.rows[0]: e.rows for e in exchanges if e.request.group == request_set.ALONE and not e.fault}
    batches = [e for e in exchanges if e.request.group in (request_set.TOGETHER, request_set.HOSTILE) and not e.fault]
    differences = {
        e.request.name: comparison.difference(*pairs, task) for e in batches if (pairs := _paired(e, alone, task))
    }
    return _check_difference(
        "batch_independent", differences, tolerance, "the answers to a review alone and in a batch"
    )


def _paired(batch: _Exchange, alone: Mapping[request_set.Texts, Rows], task: Task) -> Optional[tuple[Rows, Rows]]:
    """Returns the rows of a batch that were also sent alone, as answered in the batch and as answered alone."""
    rows = batch.request.rows
    places = [i for i, texts in enumerate(rows) if texts in alone]
    if not places:
        return None
    names = comparison.numeric_outputs(task)
    return (
        {name: batch.rows[name][places] for name in names},
        {name: np.concatenate([alone[rows[i]][name] for i in places]) for name in names},
    )


def _check_concurrent_callers(exchanges: Sequence[_Exchange], bounds: ServingGateConfig, task: Task) -> Check:
    check = "concurrent_callers"
    failed = _check_answers(check, "reviews from concurrent callers", exchanges, (request_set.CONCURRENT,))
    if not failed.passed:
        return failed
    serial = {e.request.rows: e.rows for e in exchanges if e.request.group in _REAL and not e.fault}
    differences = {
        e.request.name: comparison.difference(e.rows, serial[e.request.rows], task)
        for e in exchanges
        if e.request.group == request_set.CONCURRENT and e.request.rows in serial
    }
    what = f"the answers to {bounds.concurrent_callers} concurrent callers and to one"
    return _check_difference(check, differences, bounds.tolerance, what)


def _check_difference(check: str, differences: Mapping[str, float], tolerance: float, what: str) -> Check:
    """Checks the largest of the differences by request."""
    if not differences:
        return _check(check, False, None, tolerance, f"{what} could not be compared: no request succeeded both ways")
    # A NaN is larger than any number.
    worst = max(differences, key=lambda name: (math.isnan(differences[name]), differences[name]))
    return _check_bounded(
        check, differences[worst], tolerance, f"{what} differ by at most {differences[worst]:.2g} ({worst})"
    )


def _check_latency(check: str, percentile: int, exchanges: Sequence[_Exchange], bound_ms: float) -> Check:
    alone = [e.response for e in exchanges if e.request.group == request_set.ALONE and not e.fault]
    latencies_ms = [response.latency_ms for response in alone if response.latency_ms is not None]
    if not latencies_ms:
        return _check(check, False, None, bound_ms, "no request with one review succeeded")
    value_ms = float(np.percentile(latencies_ms, percentile))
    reason = f"p{percentile} latency of one review is {value_ms:.3g} ms over {len(latencies_ms)} requests"
    return _check_bounded(check, value_ms, bound_ms, reason)


def _check_bad_input(exchanges: Sequence[_Exchange]) -> Check:
    check = "refuses_bad_input"
    selected = [e for e in exchanges if e.request.group in _BAD_INPUT]
    faulty = [e for e in selected if e.fault]
    if faulty:
        return _check(
            check, False, len(faulty), 0, f"malformed requests should only return an error: {_describe(faulty)}"
        )
    refused = [e.request.name for e in selected if e.response.error]
    reason = f"{_join(refused)}: each returned an error, and later requests succeeded"
    return _check(check, True, 0, 0, reason)


def _check_memory(exchanges: Sequence[_Exchange], bound_mb: float) -> Check:
    check = "memory_mb"
    peaks_mb = [e.response.peak_memory_mb for e in exchanges if e.response.peak_memory_mb is not None]
    if not peaks_mb:
        return _check(check, False, None, bound_mb, "not measured: the process exited first")
    reason = f"peak memory is {max(peaks_mb):.0f} MiB, including TensorFlow"
    return _check_bounded(check, max(peaks_mb), bound_mb, reason)


def _check_model_server(
    exchanges: Sequence[_Exchange], served: Union[NotRun, Served], bounds: ServingGateConfig, task: Task
) -> Check:
    """Compares a model server's answers with the faultless ones of the fresh process."""
    check, tolerance = "model_server", bounds.tolerance
    if isinstance(served, NotRun):
        required = bounds.model_server == "required"
        reason = f"not run: {served.reason}"
        severity: Severity = "fail" if required else "warn"
        return Check(GATE, check, not required, "not run", None, reason, severity, compared=False)
    expected = {e.request.name: e for e in exchanges if not e.fault}
    differences: dict[str, float] = {}
    for transport, transcript in served.transcripts.items():
        compared = [e for e in _exchanges(transcript, task) if e.request.name in expected]
        failure = _server_failure(transcript, compared)
        if failure:
            return _check(check, False, None, tolerance, f"{served.server} over {transport}: {failure}")
        for e in compared:
            if e.request.group not in _BAD_INPUT:
                name = f"{e.request.name} over {transport}"
                differences[name] = comparison.difference(e.rows, expected[e.request.name].rows, task)
    what = f"the answers of {served.server} over {' and '.join(served.transcripts)} and those of the fresh process"
    return _check_difference(check, differences, tolerance, what)


def _server_failure(transcript: Transcript, compared: Sequence[_Exchange]) -> Optional[str]:
    faulty = [e for e in compared if e.fault]
    failed = f"{len(faulty)} of {len(compared)} requests failed: {_describe(faulty)}" if faulty else None
    return "; ".join(filter(None, [transcript.fault, failed])) or None


def _check_bounded(check: str, value: float, bound: float, reason: str) -> Check:
    passed = value <= bound  # False for nan.
    return _check(check, passed, value, bound, f"{reason}; {'within' if passed else 'over'} the limit of {bound:g}")


def _check(
    check: str, passed: bool, value: Optional[float] = None, bound: Optional[float] = None, reason: str = ""
) -> Check:
    finite = value if value is not None and math.isfinite(value) else None
    return Check(GATE, check, passed, finite, bound, reason)
