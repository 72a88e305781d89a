"""What came back from a model: from the probe's process, as its answer file tells, or from a model server."""

import dataclasses
import json
from typing import Any, Iterable, Mapping, Optional, Sequence

import numpy as np

from components.serving_validator.request_set import Request


@dataclasses.dataclass(frozen=True)
class Output:
    """One served output.

    Attributes:
      dtype: name of its TensorFlow type, empty where the transport tells none.
      values: float64[batch, ...]; int64 below 2 ** 53 and float32 fit exactly.
    """

    dtype: str
    values: np.ndarray


@dataclasses.dataclass(frozen=True)
class Response:
    """The answer to one request: outputs, or the error that it raised.

    Attributes:
      fatal: whether the request was the last that the process was at.
    """

    outputs: Mapping[str, Output] = dataclasses.field(default_factory=dict)
    error: Optional[str] = None
    fatal: bool = False
    latency_ms: Optional[float] = None
    peak_memory_mb: Optional[float] = None


@dataclasses.dataclass(frozen=True)
class Answer:
    """All that is known of one probe, or of one transport of a model server.

    Attributes:
      requests: what was to be asked.
      responses: one a request; None where it was never asked.
      loaded: whether the model was loaded.
      fault: why there are not all answers, a sentence; None where there are.
    """

    requests: Sequence[Request]
    responses: Sequence[Optional[Response]]
    loaded: bool = True
    fault: Optional[str] = None


def parse_answers(lines: Iterable[str], requests: Sequence[Request], end: Optional[str]) -> Answer:
    """Reads the probe's answer file.

    Args:
      lines: its lines; the last one may be torn.
      requests: the job's requests.
      end: how the process ended if not of its own accord ("was ended by SIGSEGV: ...").
    """
    responses: list[Optional[Response]] = [None] * len(requests)
    loaded, fault = False, end and f"the process {end}"
    for record in _records(lines):
        if "load_error" in record:
            fault = record["load_error"]
        elif "asked" in record:
            responses[record["asked"]] = Response(error=fault, fatal=True)
        elif "answered" in record:
            responses[record["answered"]] = _response(record)
        else:
            loaded = True
    return Answer(requests, responses, loaded, fault)


def unanswered(lines: Iterable[str]) -> list[int]:
    """The places of the requests that were asked and have no answer yet."""
    waiting: dict[int, None] = {}
    for record in _records(lines):
        if "asked" in record:
            waiting[record["asked"]] = None
        elif "answered" in record:
            del waiting[record["answered"]]
    return list(waiting)


def _records(lines: Iterable[str]) -> Iterable[dict[str, Any]]:
    return (json.loads(line) for line in lines if line.endswith("\n"))


def _response(record: Mapping[str, Any]) -> Response:
    outputs = {name: _output(**described) for name, described in record.get("outputs", {}).items()}
    return Response(
        outputs, record.get("error"), latency_ms=record["latency_ms"], peak_memory_mb=record["peak_memory_mb"]
    )


def _output(dtype: str, shape: Sequence[int], values: Sequence[float]) -> Output:
    array = np.array(values, np.float64)
    # Values that are no numbers do not come along; the type tells of them.
    return Output(dtype, array.reshape(shape) if array.size == np.prod(shape) else array)
