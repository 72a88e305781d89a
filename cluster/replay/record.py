"""The record of a replay, for tests and users: `runs/<run id>.json`."""

import dataclasses
import json
import os
from typing import Any, Mapping, Optional

from core.files import atomic_write

COMPLETE, FAILED, SKIPPED = "complete", "failed", "skipped"


class TaskFailed(Exception):
    """A task failed; the message is one sentence.

    Attributes:
      exit_status: exit status of its container; None if something else failed.
    """

    def __init__(self, text: str, exit_status: Optional[int] = None):
        super().__init__(text)
        self.exit_status = exit_status


@dataclasses.dataclass(frozen=True)
class TaskRecord:
    """The result of a container task.

    Attributes:
      status: COMPLETE, FAILED or SKIPPED.
      seconds: duration of all attempts.
      attempts: number of attempts to run its container.
      exit_status: exit status of the last attempt; None if no container failed.
      error: reason why it failed or was skipped.
      artifacts: output -> URI.
      metadata: output -> metadata as ML Metadata stores them.
    """

    status: str
    seconds: float = 0.0
    attempts: int = 0
    exit_status: Optional[int] = None
    error: Optional[str] = None
    artifacts: Mapping[str, str] = dataclasses.field(default_factory=dict)
    metadata: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Record:
    """The result of a run.

    Attributes:
      run_id: its id.
      file: the compiled file.
      layout: the backend's layout.
      pipeline_root: URI of the artifacts' root.
      parameters: name -> value.
      exit_status: exit status of the replay; None while it runs, and if it was interrupted.
      tasks: name -> result, in the order in which the tasks finished.
    """

    run_id: str
    file: str
    layout: str
    pipeline_root: str
    parameters: Mapping[str, Any]
    exit_status: Optional[int] = None
    tasks: dict[str, TaskRecord] = dataclasses.field(default_factory=dict)

    def write(self, file: str) -> None:
        """Writes the record."""
        os.makedirs(os.path.dirname(file), exist_ok=True)
        with atomic_write(file) as stream:
            json.dump(dataclasses.asdict(self), stream, ensure_ascii=False, indent=2)
