"""Starts the probe in a process of its own, watches it, and ends it when it takes too long."""

import base64
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from typing import Optional, Sequence

from tfx.utils import io_utils

from components.serving_validator.answers import Answer, parse_answers
from components.serving_validator.request_set import Request
from pipeline import progress

PROBE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "probe.py")

# A large BERT on one core answers a few full-length rows a second, and the requests hold some 1,500 rows.
ANSWER_TIMEOUT_S = 1800.0
_POLL_S = 0.2
# Of what a process said before it died, as much as fits into a verdict.
_STDERR_LINES = 5
_STDERR_COLUMNS = 200


def ask_in_fresh_process(model_path: str, requests: Sequence[Request], startup_timeout_s: float) -> Answer:
    """Copies a model elsewhere and has a fresh Python process load and ask it.

    Args:
      model_path: folder of the SavedModel.
      requests: what to ask, in order.
      startup_timeout_s: time for TensorFlow to start and the model to load.

    Returns:
      Whatever answers there are; a model that fails, crashes or hangs raises nothing.
    """
    with tempfile.TemporaryDirectory(prefix="serving-validator-") as folder:
        job, answers, errors = (os.path.join(folder, name) for name in ("job.json", "answers.jsonl", "stderr.txt"))
        copy = os.path.join(folder, "model")
        io_utils.copy_dir(model_path, copy)
        _write_job(job, copy, requests)
        with open(errors, "wb") as stream:
            # Isolated mode: neither the working directory nor PYTHON* variables can lend the model a module.
            command = [sys.executable, "-I", PROBE, job, answers]
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, env=_environment()
            )
            try:
                end = _watch(process, answers, len(requests), startup_timeout_s)
            finally:
                process.kill()
                process.wait()
        if end is not None:
            end = f"{end}; its last words: {_last_words(errors)}"
        return parse_answers(_lines(answers), requests, end)


def describe_exit(status: int) -> Optional[str]:
    """Says how a process ended, from `Popen.returncode`; None where it ended well."""
    if status == 0:
        return None
    if status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    return f"ended with exit status {status}"


def _write_job(path: str, model_path: str, requests: Sequence[Request]) -> None:
    texts = [[base64.b64encode(text).decode() for text in request.texts] for request in requests]
    with open(path, "w", encoding="utf-8") as stream:
        json.dump({"model": model_path, "requests": texts}, stream)


def _environment() -> dict[str, str]:
    # The verdict should be that of a plain CPU server, and leave the accelerator to others.
    return {**os.environ, "TF_USE_LEGACY_KERAS": "1", "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "1"}


def _watch(process: subprocess.Popen, answers: str, total: int, startup_timeout_s: float) -> Optional[str]:
    """Waits for the process; returns how it ended if not of its own accord and well."""
    started_s = time.monotonic()
    reported = -1
    while process.poll() is None:
        elapsed_s, steps = time.monotonic() - started_s, len(_lines(answers))
        if not steps and elapsed_s > startup_timeout_s:
            return f"had not loaded the model after {startup_timeout_s:g} s (gates.serving.startup_timeout_s)"
        if elapsed_s > startup_timeout_s + ANSWER_TIMEOUT_S:
            return f"had not answered all requests after {elapsed_s:.0f} s"
        # One line for the model, two for a request.
        if (answered := max(0, steps - 1) // 2) > reported:
            progress.report("asking the exported model", answered, total)
            reported = answered
        time.sleep(_POLL_S)
    return describe_exit(process.returncode)


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.readlines()
    except FileNotFoundError:
        return []


def _last_words(path: str) -> str:
    """The end of a log on one line, without control characters that a terminal would obey."""
    with open(path, encoding="utf-8", errors="replace") as stream:
        lines = [line.strip()[:_STDERR_COLUMNS] for line in stream.readlines()[-_STDERR_LINES:]]
    return "".join(c if c.isprintable() else "?" for c in " | ".join(filter(None, lines))) or "none"
