"""The record of a replay, for tests and people: `runs/<run id>.json`."""

import dataclasses
import json
import os
from typing import Any, Mapping, Optional

from core.files import atomic_write

COMPLETE, FAILED, SKIPPED = "complete", "failed", "skipped"


class TaskFailed(Exception):
    """A task failed; the text is a sentence.

    Attributes:
      exit_status: of its container; None if something else failed.
    """

    def __init__(self, text: str, exit_status: Optional[int] = None):
        super().__init__(text)
        self.exit_status = exit_status


@dataclasses.dataclass(frozen=True)
class TaskRecord:
    """The result of a container task.

    Attributes:
      status: COMPLETE, FAILED or SKIPPED.
      seconds: of all attempts.
      attempts: how often its container was started; 0 if never.
      exit_status: of the last attempt; None if no container failed.
      error: why it failed or was skipped.
      artifacts: output -> URI.
    """

    status: str
    seconds: float = 0.0
    attempts: int = 0
    exit_status: Optional[int] = None
    error: Optional[str] = None
    artifacts: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Record:
    """The result of a run.

    Attributes:
      run_id: its id.
      file: the compiled file.
      layout: the backend's.
      pipeline_root: URI.
      parameters: name -> value.
      exit_status: None while it runs, and if it was interrupted.
      tasks: name -> result, in the order in which they ended.
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
