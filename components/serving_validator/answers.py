"""The responses of a model, from the probe's answer file or from a model server."""

import dataclasses
import json
from typing import Any, Iterable, Mapping, Optional, Sequence

import numpy as np

from components.serving_validator.request_set import Request


@dataclasses.dataclass(frozen=True)
class Output:
    """One served output.

    Attributes:
      dtype: name of its TensorFlow type, empty if the transport does not send it.
      values: float64[batch, ...], exact for float32 and for int64 below 2 ** 53; of words, str[batch, ...].
    """

    dtype: str
    values: np.ndarray


@dataclasses.dataclass(frozen=True)
class Response:
    """The response to one request: outputs or an error.

    Attributes:
      fatal: whether the process exited or the connection broke during the request.
    """

    outputs: Mapping[str, Output] = dataclasses.field(default_factory=dict)
    error: Optional[str] = None
    fatal: bool = False
    latency_ms: Optional[float] = None
    peak_memory_mb: Optional[float] = None


@dataclasses.dataclass(frozen=True)
class Transcript:
    """The requests and responses of one probe, or of one transport of a model server.

    Attributes:
      requests: all requests.
      responses: the response to each request; None if it was not sent.
      loaded: whether the model was loaded.
      fault: why responses are missing, as a sentence; None if all are there.
    """

    requests: Sequence[Request]
    responses: Sequence[Optional[Response]]
    loaded: bool = True
    fault: Optional[str] = None


def as_values(values: Any) -> np.ndarray:
    """Returns numbers as float64 and words, bytes in UTF-8 or str, as str, in an array of the same shape."""
    array = np.asarray(values)
    if array.dtype.kind not in "OSU":
        return array.astype(np.float64)
    # A faulty model may return bytes that are not UTF-8; what replaces them is not the name of a label.
    words = [word.decode("utf-8", "replace") if isinstance(word, bytes) else str(word) for word in array.ravel()]
    return np.array(words, str).reshape(array.shape)


def parse_transcript(lines: Iterable[str], requests: Sequence[Request], end: Optional[str]) -> Transcript:
    """Reads the probe's answer file.

    Args:
      lines: lines of the file; the last one may be incomplete.
      requests: the job's requests.
      end: how the process ended ("was killed by SIGSEGV; ..."); None for a normal exit.
    """
    responses: list[Optional[Response]] = [None] * len(requests)
    loaded, fault = False, end and f"the process {end}"
    for record in _records(lines):
        if "load_error" in record:
            fault = record["load_error"]
        elif "sent" in record:
            responses[record["sent"]] = Response(error=fault, fatal=True)
        elif "answered" in record:
            responses[record["answered"]] = _response(record)
        else:
            loaded = True
    return Transcript(requests, responses, loaded, fault)


def unanswered(lines: Iterable[str]) -> list[int]:
    """Returns the indices of the requests that were sent but not answered yet."""
    waiting: dict[int, None] = {}
    for record in _records(lines):
        if "sent" in record:
            waiting[record["sent"]] = None
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


def _output(dtype: str, shape: Sequence[int], values: Sequence[Any]) -> Output:
    array = as_values(values)
    # The probe leaves out values that are neither numbers nor words; their dtype fails the check.
    return Output(dtype, array.reshape(shape) if array.size == np.prod(shape) else array)
