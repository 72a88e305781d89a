"""A worker's process, `python -m launchers.worker JOB_FILE`: runs the job's target and reports to the launcher.

The job's file is a JSON object of `target`, an import path `package.module.function`, and the `arguments` to call it
with. The worker sends `launchers.messages`, in one of two ways. A launcher on this machine passes the descriptor of a
pipe in the environment variable `CHANNEL_VARIABLE`. If it is not set, worker and launcher share the job's folder,
possibly from different hosts:

| file                 | content                                                                                      |
|----------------------|----------------------------------------------------------------------------------------------|
| `worker-<i>.jsonl`   | the messages of all attempts of worker i; a killed attempt may leave an incomplete last line |
| `LAUNCHER_FILE`      | the launcher's heartbeat: its content changes for as long as the launcher is alive           |

No slow library is imported before the target's module, so all of them see the environment that the launcher set.
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
from launchers.messages import Done, Error, Heartbeat, Message, Progress, Started, encode

CHANNEL_VARIABLE = "REVIEWS_WORKER_CHANNEL"
HEARTBEAT_S = 1.0

LAUNCHER_FILE = "launcher"

# The launcher rewrites its file every 10 s, and network file systems cache reads for up to a minute. This timeout is
# the only thing that ends the workers of a cancelled run: its Trainer is killed before it can stop them.
LAUNCHER_TIMEOUT_S = 180.0

# The exit status after a collective error. The Training Operator restarts a worker that exits with 128 or more, and
# reserves 138 for programs that need to be restarted.
LOST_PEER_STATUS = 138

# How long a finished worker keeps its connections open for worker 0, which may still need them and ends the job.
_LINGER_S = 30.0


class _Channel(logging.Handler, abc.ABC):
    """Sends messages to the launcher, including the progress records that it handles.

    If the launcher is gone, the process ends: nobody is waiting for its result.
    """

    def __init__(self) -> None:
        super().__init__()
        self._sending = threading.Lock()

    def send(self, message: Message) -> None:
        """Sends one message."""
        try:
            with self._sending:
                self._write(encode(message) + "\n")
        except OSError:
            self._abort()

    def emit(self, record: logging.LogRecord) -> None:
        fields = vars(record)
        self.send(Progress(fields["stage"], fields["done"], fields["total"], fields["figures"], fields["keep"]))

    @abc.abstractmethod
    def watch(self) -> None:
        """Watches the launcher for as long as the process lives."""

    @abc.abstractmethod
    def end(self, status: int) -> None:
        """Ends the process with this exit status, or returns so that the caller does."""

    @abc.abstractmethod
    def _write(self, text: str) -> None:
        """Writes text to the launcher."""

    @abc.abstractmethod
    def _abort(self) -> None:
        """Ends the process immediately."""


class _Pipe(_Channel):
    """A pipe to a launcher on this machine."""

    def __init__(self, descriptor: int):
        super().__init__()
        # A process that the target starts must not keep the pipe open.
        os.set_inheritable(descriptor, False)
        self._stream = os.fdopen(descriptor, "w", encoding="utf-8")

    def watch(self) -> None:
        # Only a write reveals that the pipe is closed.
        while True:
            self.send(Heartbeat())
            time.sleep(HEARTBEAT_S)

    def end(self, status: int) -> None:
        pass

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()

    def _abort(self) -> None:
        # The worker leads its process group, so this also kills its child processes.
        os.killpg(os.getpgrp(), signal.SIGKILL)


class _SharedFolder(_Channel):
    """Files in a folder that a launcher on another host reads and writes; this process is PID 1 of a container."""

    def __init__(self, folder: str):
        super().__init__()
        self._index = json.loads(os.environ.get("TF_CONFIG", "{}")).get("task", {}).get("index", 0)
        self._messages = os.path.join(folder, f"worker-{self._index}.jsonl")
        self._launcher_file = os.path.join(folder, LAUNCHER_FILE)
        # An earlier attempt may have been killed in the middle of a line.
        self._write("\n")

    def watch(self) -> None:
        # Compares contents, not times: the hosts' clocks may differ.
        last, changed_at = None, time.monotonic()
        while time.monotonic() - changed_at < LAUNCHER_TIMEOUT_S:
            content = self._read_launcher_file()
            if content is not None and content != last:
                last, changed_at = content, time.monotonic()
            time.sleep(LAUNCHER_TIMEOUT_S / 100)
        print(f"timed out: no heartbeat from the launcher for {LAUNCHER_TIMEOUT_S:g} s", file=sys.stderr, flush=True)
        self._abort()

    def end(self, status: int) -> None:
        if status == 0 and self._index:
            time.sleep(_LINGER_S)
        # Skips the libraries' teardown, which may wait for its peers forever.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)

    def _read_launcher_file(self) -> "str | None":
        try:
            with open(self._launcher_file, encoding="utf-8") as stream:
                return stream.read()
        except OSError:
            return None

    def _write(self, text: str) -> None:
        # Closed each time, since network file systems show a write to other hosts only then.
        with open(self._messages, "a", encoding="utf-8") as stream:
            stream.write(text)

    def _abort(self) -> None:
        # Below 128, so that the operator does not restart it. Not a signal: process 1 of a container ignores its own.
        os._exit(1)


def main(job_file: str) -> int:
    """Runs the job.

    Args:
      job_file: the job as JSON.

    Returns:
      The exit status: 0 if the target returned, `LOST_PEER_STATUS` if it raised a collective error, 1 if it raised
      anything else.
    """
    channel = _open_channel(job_file)
    channel.send(Started())
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
        gpu.load_libraries()  # TensorFlow looks for them once, when the target imports it.
        _import_function(job["target"])(job["arguments"])
    except BaseException as error:  # SystemExit too: a target that exits early has not done its work.
        # Before the message, because the launcher ends this process when it arrives.
        traceback.print_exc()
        message = Error(type(error).__name__, str(error), user_error=isinstance(error, UserError))
        channel.send(message)
        return LOST_PEER_STATUS if message.is_collective else 1
    channel.send(Done())
    return 0


def _import_function(path: str) -> Callable[[Any], None]:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
