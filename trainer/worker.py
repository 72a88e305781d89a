"""A worker's process, `python -m trainer.worker JOB_FILE`: calls the job's target and tells the launcher how it goes.

The job's file is a JSON object of `target`, an import path `package.module.function`, and the `arguments` to call it
with. The descriptor of a pipe to the launcher is in the environment, under `CHANNEL_VARIABLE`; what goes through it is
one JSON object a line:

| kind        | with                                              | when                                        |
|-------------|---------------------------------------------------|---------------------------------------------|
| `heartbeat` |                                                   | every `HEARTBEAT_S`                         |
| `progress`  | `stage`, `done`, `total`, `figures`               | the target calls `pipeline.progress.report` |
| `error`     | `type` (the class's name), `message`, `user_error`| the target raised; the traceback is logged  |
| `done`      |                                                   | the target returned                         |

No library is imported before the target's module: it finds the environment as the launcher set it.
"""

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

from pipeline import progress
from pipeline.errors import UserError
from trainer import gpu

CHANNEL_VARIABLE = "REVIEWS_WORKER_CHANNEL"
HEARTBEAT_S = 1.0


class _Channel(logging.Handler):
    """Sends messages to the launcher, among them the progress records that it handles.

    Where there is no launcher any more, sending ends the process: nobody waits for its work.
    """

    def __init__(self, descriptor: int):
        super().__init__()
        # A process that the target starts must not keep the channel open.
        os.set_inheritable(descriptor, False)
        self._stream = os.fdopen(descriptor, "w", encoding="utf-8")

    def send(self, kind: str, **fields: Any) -> None:
        """Sends one message; figures may be any type of number."""
        line = json.dumps({"kind": kind, **fields}, default=float)
        try:
            with self.lock:
                self._stream.write(line + "\n")
                self._stream.flush()
        except OSError:
            # The worker leads a group of its own: what it started goes with it.
            os.killpg(os.getpgrp(), signal.SIGKILL)

    def emit(self, record: logging.LogRecord) -> None:
        self.send("progress", stage=record.stage, done=record.done, total=record.total, figures=record.figures)

    def beat(self) -> None:
        """Sends heartbeats for as long as the process lives."""
        while True:
            self.send("heartbeat")
            time.sleep(HEARTBEAT_S)


def main(job_file: str) -> int:
    """Runs the job.

    Args:
      job_file: the job as JSON.

    Returns:
      The exit status: 0 where the target returned, 1 where it raised.
    """
    channel = _Channel(int(os.environ.pop(CHANNEL_VARIABLE)))
    threading.Thread(target=channel.beat, daemon=True).start()
    progress.LOGGER.setLevel(logging.INFO)
    progress.LOGGER.addHandler(channel)
    try:
        with open(job_file, encoding="utf-8") as stream:
            job = json.load(stream)
        gpu.load_libraries()  # Before the target's import of TensorFlow, which looks for them once.
        _imported(job["target"])(job["arguments"])
    except BaseException as error:  # SystemExit too: a target that leaves early has not done its work.
        # Before the message: it makes the launcher end this process.
        traceback.print_exc()
        is_user_error = isinstance(error, UserError)
        channel.send("error", type=type(error).__name__, message=str(error), user_error=is_user_error)
        return 1
    channel.send("done")
    return 0


def _imported(path: str) -> Callable[[Any], None]:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
