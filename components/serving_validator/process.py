"""Starts the probe in a process of its own, watches it, and ends it when it takes too long."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from typing import Iterator, Optional, Sequence

from tfx.utils import io_utils

from components.serving_validator import request_set
from components.serving_validator.answers import Answer, parse_answers, unanswered
from components.serving_validator.request_set import Request
from core import progress
from core.config import ServingGateConfig

_HERE = os.path.dirname(os.path.abspath(__file__))
GUARD = os.path.join(_HERE, "guard.py")
PROBE = os.path.join(_HERE, "probe.py")

_POLL_S = 0.2
# Of what a process said before it died, as much as fits into a verdict.
_STDERR_LINES = 5
_STDERR_COLUMNS = 200


def ask_in_fresh_process(model_path: str, requests: Sequence[Request], bounds: ServingGateConfig) -> Answer:
    """Copies a model elsewhere and has a fresh Python process load and ask it.

    Args:
      model_path: folder of the SavedModel.
      requests: what to ask, in order.
      bounds: its time limits, and the number of concurrent callers.

    Returns:
      Whatever answers there are; a model that fails, crashes or hangs raises nothing.
    """
    with tempfile.TemporaryDirectory(prefix="serving-validator-") as folder:
        job, answers, log = (os.path.join(folder, name) for name in ("job.json", "answers.jsonl", "log.txt"))
        copy = os.path.join(folder, "model")
        io_utils.copy_dir(model_path, copy)
        _write_job(job, copy, requests, bounds.concurrent_callers)
        # Isolated mode: neither the working directory nor PYTHON* variables can lend the model a module.
        with guarded([sys.executable, "-I", PROBE, job, answers], log) as process:
            end = _watch(process, answers, requests, bounds)
        if end is not None:
            end = f"{end}; its last words: {last_words(log)}"
        return parse_answers(_lines(answers), requests, end)


@contextlib.contextmanager
def guarded(command: Sequence[str], log: str) -> Iterator[subprocess.Popen]:
    """Runs a command that ends with this block, and with this process however that ends.

    Args:
      command: without a GPU: the verdict should be that of a plain CPU server, and leave the accelerator to others.
      log: file for all that it writes.

    Yields:
      The process; its exit status is 128 + n for signal n.
    """
    environment = {
        **os.environ,
        "TF_USE_LEGACY_KERAS": "1",
        "CUDA_VISIBLE_DEVICES": "-1",
        "TF_CPP_MIN_LOG_LEVEL": "1",
    }
    with open(log, "wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-I", GUARD, *command],
            stdin=subprocess.PIPE,
            stdout=stream,
            stderr=stream,
            env=environment,
            # Ctrl-C on a terminal is for this process, which then ends the command.
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.stdin.close()
        process.wait()


def describe_exit(status: int) -> Optional[str]:
    """Says how a guarded process ended, from its exit status; None where it ended well."""
    if status == 0:
        return None
    number = abs(status) if status < 0 else status - 128
    if number in set(signal.Signals):
        return f"was ended by {signal.Signals(number).name}"
    return f"ended with exit status {status}"


def last_words(log: str) -> str:
    """The end of a log on one line, without control characters that a terminal would obey."""
    with open(log, encoding="utf-8", errors="replace") as stream:
        lines = [line.strip()[:_STDERR_COLUMNS] for line in stream.readlines()[-_STDERR_LINES:]]
    return "".join(c if c.isprintable() else "?" for c in " | ".join(filter(None, lines))) or "none"


def _write_job(path: str, model_path: str, requests: Sequence[Request], callers: int) -> None:
    asked = [
        {"inputs": request_set.as_json(request.inputs), "concurrent": request.group == request_set.CONCURRENT}
        for request in requests
    ]
    with open(path, "w", encoding="utf-8") as stream:
        json.dump({"model": model_path, "callers": callers, "requests": asked}, stream)


def _watch(
    process: subprocess.Popen, answers: str, requests: Sequence[Request], bounds: ServingGateConfig
) -> Optional[str]:
    """Waits for the process; returns how it ended if not of its own accord and well."""
    started_s, loaded_s = time.monotonic(), None
    reported = -1
    while process.poll() is None:
        lines, now_s = _lines(answers), time.monotonic()
        if lines and loaded_s is None:
            loaded_s = now_s
        if loaded_s is None and now_s - started_s > bounds.startup_timeout_s:
            return f"had not loaded the model after {bounds.startup_timeout_s:g} s (gates.serving.startup_timeout_s)"
        if loaded_s is not None and now_s - loaded_s > bounds.answer_timeout_s:
            waiting = ", ".join(repr(requests[index].name) for index in unanswered(lines)) or "the next request"
            return (
                f"had not answered all requests after {bounds.answer_timeout_s:g} s (gates.serving.answer_timeout_s), "
                f"but was at {waiting}"
            )
        # One line for the model, two for a request.
        if (answered := max(0, len(lines) - 1) // 2) > reported:
            progress.report("asking the exported model", answered, len(requests))
            reported = answered
        time.sleep(_POLL_S)
    return describe_exit(process.returncode)


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.readlines()
    except FileNotFoundError:
        return []
