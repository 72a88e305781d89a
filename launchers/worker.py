"""A worker's process, `python -m launchers.worker JOB_FILE`: calls the job's target and tells the launcher how it goes.

The job's file is a JSON object of `target`, an import path `package.module.function`, and the `arguments` to call it
with. What the launcher is told is one JSON object a line:

| kind        | with                                              | when                                        |
|-------------|---------------------------------------------------|---------------------------------------------|
| `started`   |                                                   | the process has started                     |
| `heartbeat` |                                                   | every `HEARTBEAT_S`, through a pipe alone   |
| `progress`  | `stage`, `done`, `total`, `figures`               | the target calls `core.progress.report` |
| `error`     | `type` (the class's name), `message`, `user_error`| the target raised; the traceback is logged  |
| `done`      |                                                   | the target returned                         |

A launcher on this machine names the descriptor of a pipe in the environment, under `CHANNEL_VARIABLE`. Without that the
job's folder is what worker and launcher share, maybe from several hosts:

| file                 | what                                                                                   |
|----------------------|----------------------------------------------------------------------------------------|
| `worker-<i>.jsonl`   | the messages of all attempts of worker i; the last line of a killed one may be torn    |
| `LAUNCHER_FILE`      | another content from time to time, for as long as the launcher lives                   |

No library is imported before the target's module: it finds the environment as the launcher set it.
"""

import abc
import importlib
import json
import logging
import os
import signal
import sys
import threading
import time
import traceback
from typing import Any, Callable

from core import gpu, progress
from core.errors import UserError

CHANNEL_VARIABLE = "REVIEWS_WORKER_CHANNEL"
HEARTBEAT_S = 1.0

LAUNCHER_FILE = "launcher"

# A launcher gives a sign every 10 s, and network file systems keep what they have read for up to a minute. It is all
# that ends the workers of a run that was cancelled: its Trainer is killed before it can do so.
LAUNCHER_SILENCE_S = 180.0

# What a worker raises when another one is gone: the names of TensorFlow's errors in collective operations.
COLLECTIVE_ERRORS = frozenset(
    ["UnavailableError", "AbortedError", "InternalError", "CancelledError", "DeadlineExceededError"]
)

# The exit status of a worker that has raised one of them. The Training Operator starts a worker again that ended with
# 128 or more; by its convention 138 is what a program chooses for that itself.
LOST_PEER_STATUS = 138

# How long a worker that is done leaves its part of the last exchange open to worker 0, whose end is the job's.
_LINGER_S = 30.0


class _Channel(logging.Handler, abc.ABC):
    """Sends messages to the launcher, among them the progress records that it handles.

    Where there is no launcher any more, the process ends: nobody waits for its work.
    """

    def send(self, kind: str, **fields: Any) -> None:
        """Sends one message; figures may be any type of number."""
        line = json.dumps({"kind": kind, **fields}, default=float)
        try:
            with self.lock:
                self._write(line + "\n")
        except OSError:
            self._abandon()

    def emit(self, record: logging.LogRecord) -> None:
        self.send("progress", stage=record.stage, done=record.done, total=record.total, figures=record.figures)

    @abc.abstractmethod
    def watch(self) -> None:
        """Watches for as long as the process lives whether the launcher is there."""

    @abc.abstractmethod
    def end(self, status: int) -> None:
        """Ends the process with this exit status, or leaves that to the caller."""

    @abc.abstractmethod
    def _write(self, text: str) -> None:
        """Writes to where the launcher reads."""

    @abc.abstractmethod
    def _abandon(self) -> None:
        """Ends the process at once."""


class _Pipe(_Channel):
    """A pipe to a launcher on this machine."""

    def __init__(self, descriptor: int):
        super().__init__()
        # A process that the target starts must not keep the channel open.
        os.set_inheritable(descriptor, False)
        self._stream = os.fdopen(descriptor, "w", encoding="utf-8")

    def watch(self) -> None:
        # A closed pipe shows when something is sent.
        while True:
            self.send("heartbeat")
            time.sleep(HEARTBEAT_S)

    def end(self, status: int) -> None:
        pass

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()

    def _abandon(self) -> None:
        # The worker leads a group of its own: what it started goes with it.
        os.killpg(os.getpgrp(), signal.SIGKILL)


class _SharedFolder(_Channel):
    """Files in a folder that a launcher on another host reads and writes; this process is a container's first."""

    def __init__(self, folder: str):
        super().__init__()
        self._index = json.loads(os.environ.get("TF_CONFIG", "{}")).get("task", {}).get("index", 0)
        self._messages = os.path.join(folder, f"worker-{self._index}.jsonl")
        self._sign = os.path.join(folder, LAUNCHER_FILE)
        # An attempt before this one may have been killed in the middle of a line.
        self._write("\n")

    def watch(self) -> None:
        # Whether the content changes, not when: the hosts' clocks may differ.
        seen, changed_at = None, time.monotonic()
        while time.monotonic() - changed_at < LAUNCHER_SILENCE_S:
            sign = self._read_sign()
            if sign is not None and sign != seen:
                seen, changed_at = sign, time.monotonic()
            time.sleep(LAUNCHER_SILENCE_S / 100)
        print(f"no sign of life from the launcher for {LAUNCHER_SILENCE_S:g} s", file=sys.stderr, flush=True)
        self._abandon()

    def end(self, status: int) -> None:
        if status == 0 and self._index:
            time.sleep(_LINGER_S)
        # A library that waits for its peers in its tear-down would hold the job up for ever.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)

    def _read_sign(self) -> "str | None":
        try:
            with open(self._sign, encoding="utf-8") as stream:
                return stream.read()
        except OSError:
            return None

    def _write(self, text: str) -> None:
        # Closed each time: only then network file systems show it to others.
        with open(self._messages, "a", encoding="utf-8") as stream:
            stream.write(text)

    def _abandon(self) -> None:
        # A status that nobody restarts. Not by a signal: a container's first process is deaf to its own.
        os._exit(1)


def main(job_file: str) -> int:
    """Runs the job.

    Args:
      job_file: the job as JSON.

    Returns:
      The exit status: 0 where the target returned, `LOST_PEER_STATUS` where it raised for the loss of another worker,
      1 where it raised anything else.
    """
    channel = _open_channel(job_file)
    channel.send("started")
    threading.Thread(target=channel.watch, daemon=True).start()
    progress.LOGGER.setLevel(logging.INFO)
    progress.LOGGER.addHandler(channel)
    status = _run(job_file, channel)
    channel.end(status)
    return status


def _open_channel(job_file: str) -> _Channel:
    descriptor = os.environ.pop(CHANNEL_VARIABLE, None)
    return _SharedFolder(os.path.dirname(job_file)) if descriptor is None else _Pipe(int(descriptor))


def _run(job_file: str, channel: _Channel) -> int:
    try:
        with open(job_file, encoding="utf-8") as stream:
            job = json.load(stream)
        gpu.load_libraries()  # Before the target's import of TensorFlow, which looks for them once.
        _imported(job["target"])(job["arguments"])
    except BaseException as error:  # SystemExit too: a target that leaves early has not done its work.
        # Before the message: it makes the launcher end this process.
        traceback.print_exc()
        name, is_user_error = type(error).__name__, isinstance(error, UserError)
        channel.send("error", type=name, message=str(error), user_error=is_user_error)
        return LOST_PEER_STATUS if name in COLLECTIVE_ERRORS else 1
    channel.send("done")
    return 0


def _imported(path: str) -> Callable[[Any], None]:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
