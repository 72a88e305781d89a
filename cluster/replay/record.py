"""The record of a replay, for tests and for people: `runs/<run id>.json`."""

import dataclasses
import json
import os
from typing import Any, Mapping, Optional


@dataclasses.dataclass(frozen=True)
class TaskRecord:
    """What became of a container's task.

    Attributes:
      status: as in `driver.Result`.
      seconds: of all attempts.
      attempts: how often its container was started; 0 if never.
      exit_status: of the last attempt; None where no container failed or none ran.
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
    """What became of a run.

    Attributes:
      run_id: its id.
      file: the compiled file.
      layout: the backend's.
      pipeline_root: URI.
      parameters: name -> value.
      exit_status: None while it runs, and where it was interrupted.
      tasks: name -> what became of it, in the order of their ends.
    """

    run_id: str
    file: str
    layout: str
    pipeline_root: str
    parameters: Mapping[str, Any]
    exit_status: Optional[int] = None
    tasks: dict[str, TaskRecord] = dataclasses.field(default_factory=dict)

    def write(self, file: str) -> None:
        """Writes the record in one move."""
        os.makedirs(os.path.dirname(file), exist_ok=True)
        with open(file + ".new", "w", encoding="utf-8") as stream:
            json.dump(dataclasses.asdict(self), stream, ensure_ascii=False, indent=2)
        os.replace(file + ".new", file)
