"""The interface of a launcher, its jobs and its errors."""

import abc
import dataclasses
import json
import os
from typing import Any, Callable, Mapping, Sequence

JOB_FILE = "job.json"


def import_path(function: Callable[..., Any]) -> str:
    """Returns the path `package.module.function` by which another process can import a function."""
    return f"{function.__module__}.{function.__qualname__}"


@dataclasses.dataclass(frozen=True)
class WorkerJob:
    """The function that each worker runs, and its arguments.

    Attributes:
      target: `import_path` of the function that is called with the arguments.
      arguments: JSON values by name.
      log_dir: folder of `worker-0.log`, `worker-1.log`, ..., one per worker with all of its output; created if missing,
        existing logs are appended to.
      inputs: names of the arguments that are paths to read, one or a list: of a file, a folder, or a glob pattern.
      outputs: names of the arguments that are folders which worker 0 writes.
    """

    target: str
    arguments: Mapping[str, Any]
    log_dir: str
    inputs: Sequence[str] = ()
    outputs: Sequence[str] = ()

    def write(self, folder: str, arguments: Mapping[str, Any]) -> str:
        """Writes the file that `launchers.worker` runs, and returns its path.

        Args:
          folder: where to write it.
          arguments: the job's arguments, with paths as the workers see them.
        """
        file = os.path.join(folder, JOB_FILE)
        with open(file, "w", encoding="utf-8") as stream:
            json.dump({"target": self.target, "arguments": arguments}, stream, ensure_ascii=False, indent=2)
        return file


class WorkerFailed(Exception):
    """A worker failed, and with it the job.

    Attributes:
      worker: its number, from 0.
      reason: what happened, in a few words.
    """

    def __init__(self, worker: int, workers: int, reason: str, log: str):
        super().__init__(f"worker {worker} of {workers}: {reason}; its log: {log}")
        self.worker, self.reason = worker, reason


class Launcher(abc.ABC):
    """Runs jobs on workers that train together.

    An implementation puts the job's file where its workers can read it, starts them, each with a `TF_CONFIG` that
    names all of them, and monitors them until they finish. It passes worker 0's progress to `core.progress`, and leaves
    no worker running however the job ends.
    """

    @abc.abstractmethod
    def launch(self, job: WorkerJob, workers: int) -> None:
        """Runs a job; returns when it has succeeded.

        Args:
          job: what to run.
          workers: number of workers, at least 1. Only worker 0 writes.

        Raises:
          UserError: a worker raised it, with this text; or the job can't be divided among this number of workers.
          WorkerFailed: a worker raised another error, died or stopped responding. If several failed, it is the one
            that failed first.
        """
