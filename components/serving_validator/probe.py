"""Loads a SavedModel as a model server would and writes its answers to a file.

    python -I probe.py JOB.json ANSWERS.jsonl

Run as a script, with only TensorFlow and TF Text: a model that needs anything else can't be served. JOB.json has
`model`, a folder; `callers`, a number of threads; and `requests`, each with `inputs` (bytes as `{"b64": ...}`, which
need not be UTF-8) and `concurrent`: consecutive concurrent requests are sent by all callers at once, the others one by
one. Each step is written to ANSWERS.jsonl immediately, so that the file shows where a process crashed:

    {"loaded": true}  or  {"load_error": "..."}
    {"sent": 0}
    {"answered": 0, "latency_ms": 1.5, "peak_memory_mb": 400.1,
     "outputs": {"logit": {"dtype": "float32", "shape": [1], "values": [0.5]}}}  or with "error" instead of outputs
"""

import base64
import itertools
import json
import resource
import sys
import threading
import time
from concurrent import futures
from typing import Any, Mapping, TextIO

import numpy as np
import tensorflow as tf
import tensorflow_text  # noqa: F401  Registers the ops of tokenisers.


class _Log:
    """The answer file, written by several threads."""

    def __init__(self, stream: TextIO):
        self._stream, self._lock = stream, threading.Lock()

    def write(self, record: Mapping[str, Any]) -> None:
        line = json.dumps(record) + "\n"
        with self._lock:
            self._stream.write(line)
            self._stream.flush()


def main(job_file: str, answers_file: str) -> None:
    """Runs every request of the job and writes the answers."""
    with open(job_file, encoding="utf-8") as stream:
        job = json.load(stream, object_hook=_bytes)
    with open(answers_file, "w", encoding="utf-8") as stream:
        log = _Log(stream)
        try:
            # Keep a reference to the model: its signature alone does not keep the variables alive.
            model = tf.saved_model.load(job["model"])
            serve = model.signatures["serving_default"]
        except Exception as error:  # noqa: BLE001  A broken model may raise anything.
            log.write({"load_error": _brief(error)})
            return
        log.write({"loaded": True})
        _answer_all(serve, job["requests"], job["callers"], log)


def _answer_all(serve: Any, requests: list[dict[str, Any]], callers: int, log: _Log) -> None:
    def answer(index: int) -> None:
        log.write({"sent": index})
        log.write({"answered": index, **_predict(serve, requests[index]["inputs"])})

    for concurrent, run in itertools.groupby(range(len(requests)), lambda index: requests[index]["concurrent"]):
        with futures.ThreadPoolExecutor(callers if concurrent else 1) as pool:
            # Consuming the results raises errors of this script.
            list(pool.map(answer, run))


def _predict(serve: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Runs one request; an exception is recorded like an answer."""
    started_s = time.perf_counter()
    try:
        tensors = serve(**{name: _tensor(value) for name, value in inputs.items()})
        outputs = {name: (tensor.dtype.name, tensor.numpy()) for name, tensor in tensors.items()}
    except Exception as error:  # noqa: BLE001  As above.
        return {"error": _brief(error), **_cost(started_s)}
    cost = _cost(started_s)
    return {"outputs": {name: _describe(*output) for name, output in outputs.items()}, **cost}


def _tensor(value: Any) -> tf.Tensor:
    """Converts numbers to float32, anything else, including an empty list, to string."""
    numbers = any(isinstance(item, float) for item in np.ravel(np.array(value, object)))
    return tf.constant(value, tf.float32 if numbers else tf.string)


def _cost(started_s: float) -> dict[str, float]:
    return {"latency_ms": (time.perf_counter() - started_s) * 1000.0, "peak_memory_mb": _peak_memory_mb()}


def _describe(dtype: str, array: np.ndarray) -> dict[str, Any]:
    values = array.ravel().tolist()
    if dtype == "string":
        values = [word.decode("utf-8", "replace") for word in values]
    elif not np.issubdtype(array.dtype, np.number):
        # The outputs should be numbers or words; the dtype of any others fails the check.
        values = []
    return {"dtype": dtype, "shape": list(array.shape), "values": values}


def _peak_memory_mb() -> float:
    """Returns the peak resident memory of this process in MiB, including TensorFlow (about 500)."""
    try:
        with open("/proc/self/status", encoding="ascii") as stream:
            (kib,) = [line.split()[1] for line in stream if line.startswith("VmHWM:")]
        return int(kib) / 1024.0
    except (OSError, ValueError):
        # Only a fallback: on Linux this figure includes the peak of the parent process.
        unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def _bytes(value: dict[str, Any]) -> Any:
    return base64.b64decode(value["b64"]) if set(value) == {"b64"} else value


def _brief(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}"


if __name__ == "__main__":
    main(*sys.argv[1:])
