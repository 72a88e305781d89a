"""Tiny models behind the real server, in a thread or a process, and requests to it over loopback."""

import asyncio
import concurrent.futures
import contextlib
import dataclasses
import os
import pathlib
import re
import shutil
import subprocess
import sys
import threading
import time
from typing import Any, Callable, Iterator, Optional

import requests
import tensorflow as tf

from artifacts import model_card
from local.server import listener, run
from local.server.methods import Service
from local.server.settings import Settings
from schema.task import Task, make_task
from tests import saved_models
from tests.runner import REPO

LAYOUT = {"label": "label", "quoting": "minimal", "header": True, "encoding": "utf-8", "max_line_bytes": 1024}
PAIR_TASK = make_task(("question", "sentence"), {"0": "no", "1": "yes"})
SCORE_TASK = make_task(("document",), {}, "regression", (0, 5))
MAX_LENGTH = 8

# A batch with this text takes about a second, without a text of other batches.
SLOW = "slow"
# A batch with this text ends the process, as a fault in a library would.
DEADLY = "deadly"


class CountedWords(tf.Module):
    """A model for any task with one logit: the number of good words less that of bad ones, in all texts of a row."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self._task = task
        texts = [tf.TensorSpec([None], tf.string, name) for name in task.text_inputs]
        self.serve = tf.function(self._serve, input_signature=texts)
        self.count_tokens = tf.function(self._count, input_signature=texts)

    def _serve(self, *texts: tf.Tensor) -> dict[str, tf.Tensor]:
        text = tf.strings.join(texts, " ")
        rounds = tf.where(tf.reduce_any(tf.equal(text, SLOW)), 150_000, 0)
        delay = tf.while_loop(lambda i, _: i < rounds, lambda i, x: (i + 1, tf.sin(x)), (0, tf.constant(0.0)))[1]
        with tf.control_dependencies([tf.cond(tf.reduce_any(tf.equal(text, DEADLY)), _abort, lambda: True)]):
            logits = _count_words(text, "good") - _count_words(text, "bad") + delay
        return self.outputs(logits[:, tf.newaxis])

    def outputs(self, logits: tf.Tensor) -> dict[str, tf.Tensor]:
        return self._task.served_outputs(logits)

    def _count(self, *texts: tf.Tensor) -> tf.Tensor:
        return tf.add_n([tf.strings.split(text).row_lengths() for text in texts]) + len(texts) + 1


def _abort() -> bool:
    with tf.control_dependencies([tf.raw_ops.Abort(error_msg="deadly")]):
        return tf.constant(True)


def _count_words(text: tf.Tensor, word: str) -> tf.Tensor:
    words = tf.strings.split(text)
    return tf.reduce_sum(tf.cast(tf.equal(words, word), tf.float32), axis=1)


def save(folder: Any, task: Task = saved_models.TASK, make: Callable[[Task], Any] = CountedWords) -> str:
    """Writes a model with its card; returns the folder."""
    module = make(task)
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.serve})
    model_card.write(str(folder), model_card.ModelCard(task, LAYOUT, MAX_LENGTH))
    return str(folder)


def push(model: Any, serving: pathlib.Path, version: int) -> pathlib.Path:
    """Copies a model, then makes it a version in one step, as a push does."""
    hidden = serving / f".push-{version}"
    shutil.copytree(model, hidden)
    return hidden.rename(serving / str(version))


@dataclasses.dataclass
class Running:
    """A server in a thread.

    Attributes:
      address: such as `http://127.0.0.1:8501`.
      service: its parts.
      reports: what it said on the terminal.
    """

    address: str
    service: Service
    reports: list[str]
    stop: Callable[[], None]

    def get(self, path: str) -> requests.Response:
        return requests.get(self.address + path, timeout=30)

    def post(self, method: str, content: Any, model: str = "tiny", **options: Any) -> requests.Response:
        return requests.post(f"{self.address}/v1/models/{model}:{method}", json=content, timeout=30, **options)


@contextlib.contextmanager
def running(model: Any, **settings: Any) -> Iterator[Running]:
    """Serves a model while the context is open, by default under the name `tiny` with one worker."""
    reports: list[str] = []
    ready: concurrent.futures.Future = concurrent.futures.Future()

    async def serve(port: Any) -> None:
        chosen = Settings(str(model), "runs", **{"name": "tiny", "workers": 1, **settings})
        async with run.open_service(chosen, reports.append) as service:
            server = run.make_server(service)
            ready.set_result((service, server))
            await server.serve(sockets=[port])

    with listener.listen("127.0.0.1", 0) as port, concurrent.futures.ThreadPoolExecutor(1) as thread:
        ended = thread.submit(lambda: asyncio.run(serve(port)))
        concurrent.futures.wait([ready, ended], return_when=concurrent.futures.FIRST_COMPLETED)
        if ended.done():
            ended.result()
        service, server = ready.result()

        def stop() -> None:
            server.should_exit = True

        try:
            yield Running(listener.address(port), service, reports, stop)
        finally:
            stop()
            ended.result()


@contextlib.contextmanager
def held(server: Running) -> Iterator[None]:
    """Lets the model wait while the context is open, so that requests arrive meanwhile."""
    released, batcher = threading.Event(), server.service.batcher
    compute = batcher._compute

    async def wait(key: Any, rows: Any) -> Any:
        while not released.is_set():
            await asyncio.sleep(0.005)
        return await compute(key, rows)

    batcher._compute = wait
    try:
        yield
    finally:
        released.set()
        batcher._compute = compute


def start(*arguments: Any) -> tuple[subprocess.Popen, list[str], Optional[str]]:
    """Starts `serve` in a process; returns it, the lines it printed until it was ready, and its address."""
    command = [sys.executable, os.path.join(REPO, "local_runner.py"), "serve", *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line.rstrip("\n"))
        if line.startswith("Ctrl-C"):
            break
    found = re.search(r"http://[\d.]+:\d+", "\n".join(lines))
    return process, lines, found[0] if found else None


def wait_until(condition: Callable[[], Any], seconds: float = 60.0) -> None:
    """Waits until a condition is true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "not within the time"
        time.sleep(0.02)
