"""Turns a probe's answers into checks: pure, so that each verdict can be tested with literal answers."""

import dataclasses
import math
from typing import Mapping, Optional, Sequence

import numpy as np
import tensorflow as tf

from components.serving_validator import request_set
from components.serving_validator.answers import Answer, Response
from components.serving_validator.request_set import Request
from pipeline.config import ServingGateConfig
from pipeline.gates import Check
from schema.task import Task
from trainer.model_run import GoldenAnswers

GATE = "serving"

# More than there are hostile requests: each of those is named.
_NAMES_SHOWN = 20
_REAL = (request_set.WARM_UP, request_set.ALONE, request_set.TOGETHER)

# Served output -> (name of its dtype, its shape without the batch).
Signature = Mapping[str, tuple[str, tuple[int, ...]]]
# Served output -> float64[rows, ...].
Rows = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class _Asked:
    """A request with its answer's rows, or with what is wrong with it."""

    request: Request
    response: Optional[Response]
    fault: Optional[str]

    @property
    def rows(self) -> Rows:
        return {name: output.values for name, output in self.response.outputs.items()}


def served_signature(task: Task) -> Signature:
    """The outputs that a model of the task should serve."""
    outputs = task.served_outputs(tf.zeros([1, task.head_units]))
    return {name: (tensor.dtype.name, tuple(tensor.shape[1:])) for name, tensor in outputs.items()}


def judge(answer: Answer, golden: GoldenAnswers, bounds: ServingGateConfig, task: Task) -> list[Check]:
    """Holds a probe's answers against the bounds.

    Args:
      answer: what the probe's process wrote down.
      golden: the training process's answers.
      bounds: `gates.serving`.
      task: whose outputs the model serves.

    Returns:
      All checks; only `loads` where the model could not be loaded.
    """
    if not answer.loaded:
        return [_check("loads", False, reason=f"a fresh process could not load the exported model: {answer.fault}")]
    signature = served_signature(task)
    asked = [
        _Asked(request, response, _fault(request, response, signature, task))
        for request, response in zip(answer.requests, answer.responses, strict=True)
    ]
    return [
        _check("loads", True, reason="a fresh process with TensorFlow and TF Text only loaded the exported model"),
        _answers("answers_real_rows", "real reviews", asked, _REAL),
        _answers("answers_hostile_rows", "hostile texts", asked, (request_set.HOSTILE,)),
        _agrees_with_training(asked, golden, bounds.tolerance, task),
        _batch_independent(asked, bounds.tolerance, task),
        _latency(asked, bounds.max_p99_ms),
        _memory(asked, bounds.max_memory_mb),
    ]


def _fault(request: Request, response: Optional[Response], signature: Signature, task: Task) -> Optional[str]:
    """What is wrong with a response, or None."""
    if response is None:
        return "it was never asked, the process had ended"
    if response.error is not None:
        return response.error
    for name, (dtype, shape) in signature.items():
        if name not in response.outputs:
            return f"there is no output {name!r} among {sorted(response.outputs)}"
        output, wanted = response.outputs[name], (len(request.texts), *shape)
        if (output.dtype, output.values.shape) != (dtype, wanted):
            return f"{name} is {output.dtype}{list(output.values.shape)}, should be {dtype}{list(wanted)}"
        if not np.isfinite(output.values).all():
            return f"{name} is not a finite number"
    return _implausible({name: output.values for name, output in response.outputs.items()}, task)


def _implausible(rows: Rows, task: Task) -> Optional[str]:
    try:
        probabilities = [probability for _, probability in task.predictions(rows)]
    except IndexError:
        return "an answer's label is none of the task's"
    if not all(0.0 <= probability <= 1.0 for probability in probabilities):
        return "an answer's probability is outside 0 to 1"
    return None


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
    served = {name: np.concatenate([batch.rows[name] for batch in batches]) for name in served_signature(task)}
    difference = _difference(served, {name: np.array(golden.outputs[name], np.float64) for name in served}, task)
    reason = (
        f"the exported model and the training process differ by {difference:.2g} at most on {len(golden.text)} rows"
    )
    return _bounded(check, difference, tolerance, reason)


def _batch_independent(asked: Sequence[_Asked], tolerance: float, task: Task) -> Check:
    check = "batch_independent"
    alone = {a.request.texts[0]: a.rows for a in asked if a.request.group == request_set.ALONE and not a.fault}
    differences = {
        a.request.name: _difference(*pairs, task)
        for a in asked
        if a.request.group in (request_set.TOGETHER, request_set.HOSTILE)
        and not a.fault
        and (pairs := _paired(a, alone, task))
    }
    if not differences:
        return _check(check, False, None, tolerance, "no review was answered both alone and in a batch")
    worst = max(differences, key=differences.get)
    reason = f"a review's answer alone and in a batch differs by {differences[worst]:.2g} at most ({worst})"
    return _bounded(check, differences[worst], tolerance, reason)


def _paired(batch: _Asked, alone: Mapping[bytes, Rows], task: Task) -> Optional[tuple[Rows, Rows]]:
    """The rows of a batch that were also asked alone, as they were answered in it and alone."""
    places = [i for i, text in enumerate(batch.request.texts) if text in alone]
    if not places:
        return None
    names = served_signature(task)
    texts = [batch.request.texts[i] for i in places]
    return (
        {name: batch.rows[name][places] for name in names},
        {name: np.concatenate([alone[text][name] for text in texts]) for name in names},
    )


def _difference(ours: Rows, theirs: Rows, task: Task) -> float:
    """The largest difference between two answers to the same rows.

    Numbers are compared as they are up to 1 and relative to their size beyond, since a float's precision is
    relative. Integers are compared by the probability that they stand for: a label that turns over differs
    by next to nothing at the boundary, by much elsewhere.
    """
    differences = [
        np.abs(ours[name] - theirs[name]) / np.maximum(1.0, np.abs(theirs[name]))
        for name, (dtype, _) in served_signature(task).items()
        if tf.as_dtype(dtype).is_floating
    ]
    ours_predicted, theirs_predicted = ([p for _, p in task.predictions(rows)] for rows in (ours, theirs))
    differences.append(np.abs(np.subtract(ours_predicted, theirs_predicted)))
    # np.max, not max: a NaN should come through.
    return float(np.max([np.max(difference) for difference in differences]))


def _latency(asked: Sequence[_Asked], bound_ms: float) -> Check:
    check = "latency_p99_ms"
    latencies_ms = [a.response.latency_ms for a in asked if a.request.group == request_set.ALONE and not a.fault]
    if not latencies_ms:
        return _check(check, False, None, bound_ms, "no request with one review was answered")
    p50_ms, p99_ms = np.percentile(latencies_ms, [50, 99])
    reason = f"one review takes {p50_ms:.3g} ms (p50), {p99_ms:.3g} ms (p99) over {len(latencies_ms)} requests"
    return _bounded(check, float(p99_ms), bound_ms, reason)


def _memory(asked: Sequence[_Asked], bound_mb: float) -> Check:
    check = "memory_mb"
    peaks_mb = [a.response.peak_memory_mb for a in asked if a.response and a.response.peak_memory_mb is not None]
    if not peaks_mb:
        return _check(check, False, None, bound_mb, "the process ended before its memory was measured")
    reason = f"the process held {max(peaks_mb):.0f} MiB at most, TensorFlow itself included"
    return _bounded(check, max(peaks_mb), bound_mb, reason)


def _bounded(check: str, value: float, bound: float, reason: str) -> Check:
    # A value that is not a number holds no bound.
    passed = value <= bound
    comparison = f"within {bound:g}" if passed else f"more than {bound:g} allows"
    return _check(check, passed, value, bound, f"{reason}; {comparison}")


def _check(
    check: str, passed: bool, value: Optional[float] = None, bound: Optional[float] = None, reason: str = ""
) -> Check:
    shown = value if value is not None and math.isfinite(value) else None
    return Check(GATE, check, passed, shown, bound, reason)
