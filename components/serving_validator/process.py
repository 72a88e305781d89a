"""Runs the probe in a separate process and terminates it if it takes too long."""

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
from components.serving_validator.answers import Transcript, parse_transcript, unanswered
from components.serving_validator.request_set import Request
from core import progress
from core.config import ServingGateConfig

_HERE = os.path.dirname(os.path.abspath(__file__))
GUARD = os.path.join(_HERE, "guard.py")
PROBE = os.path.join(_HERE, "probe.py")

_POLL_S = 0.2
# The end of a process's log that is quoted in a reason.
_STDERR_LINES = 5
_STDERR_COLUMNS = 200


def query_in_fresh_process(model_path: str, requests: Sequence[Request], bounds: ServingGateConfig) -> Transcript:
    """Copies a model elsewhere, then loads and queries it in a fresh Python process.

    Args:
      model_path: folder of the SavedModel.
      requests: the requests, in order.
      bounds: time limits and the number of concurrent callers.

    Returns:
      All responses received; a model that fails, crashes or hangs raises no error.
    """
    with tempfile.TemporaryDirectory(prefix="serving-validator-") as folder:
        job, answers, log = (os.path.join(folder, name) for name in ("job.json", "answers.jsonl", "log.txt"))
        copy = os.path.join(folder, "model")
        io_utils.copy_dir(model_path, copy)
        _write_job(job, copy, requests, bounds.concurrent_callers)
        # Isolated mode: the model can't import modules from the working directory or PYTHONPATH.
        with guarded([sys.executable, "-I", PROBE, job, answers], log) as process:
            end = _watch(process, answers, requests, bounds)
        if end is not None:
            end = f"{end}; last log lines: {last_lines(log)}"
        return parse_transcript(_lines(answers), requests, end)


@contextlib.contextmanager
def guarded(command: Sequence[str], log: str) -> Iterator[subprocess.Popen]:
    """Runs a command until this block or this process ends, even by `kill -9`.

    Args:
      command: the command, which runs without a GPU, as on a plain CPU server; the GPU stays free for others.
      log: file for its output.

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
            # Ctrl-C in a terminal should only reach this process, which then terminates the command.
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.communicate()  # Closes its standard input, which makes the guard terminate the command.


def describe_exit(status: int) -> Optional[str]:
    """Describes the exit status of a guarded process; None for 0."""
    if status == 0:
        return None
    number = abs(status) if status < 0 else status - 128
    if number in set(signal.Signals):
        return f"was killed by {signal.Signals(number).name}"
    return f"exited with status {status}"


def last_lines(log: str) -> str:
    """Returns the last lines of a log as one, with control characters replaced."""
    with open(log, encoding="utf-8", errors="replace") as stream:
        lines = [line.strip()[:_STDERR_COLUMNS] for line in stream.readlines()[-_STDERR_LINES:]]
    return "".join(c if c.isprintable() else "?" for c in " | ".join(filter(None, lines))) or "none"


def _write_job(path: str, model_path: str, requests: Sequence[Request], callers: int) -> None:
    described = [
        {"inputs": request_set.as_json(request.inputs), "concurrent": request.group == request_set.CONCURRENT}
        for request in requests
    ]
    with open(path, "w", encoding="utf-8") as stream:
        json.dump({"model": model_path, "callers": callers, "requests": described}, stream)


def _watch(
    process: subprocess.Popen, answers: str, requests: Sequence[Request], bounds: ServingGateConfig
) -> Optional[str]:
    """Waits for the process; returns how it ended, or None for a normal exit."""
    started_s, loaded_s = time.monotonic(), None
    reported = -1
    while process.poll() is None:
        lines, now_s = _lines(answers), time.monotonic()
        if lines and loaded_s is None:
            loaded_s = now_s
        if loaded_s is None and now_s - started_s > bounds.startup_timeout_s:
            return f"did not load the model within {bounds.startup_timeout_s:g} s (gates.serving.startup_timeout_s)"
        if loaded_s is not None and now_s - loaded_s > bounds.answer_timeout_s:
            waiting = ", ".join(repr(requests[index].name) for index in unanswered(lines)) or "the next request"
            return (
                f"did not answer all requests within {bounds.answer_timeout_s:g} s (gates.serving.answer_timeout_s); "
                f"still waiting for {waiting}"
            )
        # One line for loading the model, two for each request.
        if (answered := max(0, len(lines) - 1) // 2) > reported:
            progress.report("querying the exported model", answered, len(requests))
            reported = answered
        time.sleep(_POLL_S)
    return describe_exit(process.returncode)


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.readlines()
    except FileNotFoundError:
        return []
