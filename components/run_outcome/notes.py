"""Why a task of a run failed, kept on a folder that all tasks share: a cluster only passes on that it failed."""

import contextlib
import dataclasses
import glob
import json
import os
from typing import Any, Optional, Sequence

# One a task: several may fail at the same time.
_PREFIX = "failure-"


@dataclasses.dataclass(frozen=True)
class Failure:
    """A task's failure.

    Attributes:
      task: its id.
      error: what was wrong, in words.
      is_user_error: whether a user must mend it.
      checks: `core.checks.Check`s as mappings, where a gate stopped the run.
    """

    task: str
    error: str
    is_user_error: bool
    checks: Sequence[dict[str, Any]] = ()


def run_folder(reports_dir: str, run_id: str) -> str:
    """Returns the folder of one run."""
    return os.path.join(reports_dir, run_id)


def write(folder: str, failure: Failure) -> None:
    """Writes a failure into a run's folder; a retried task's later one replaces it."""
    os.makedirs(folder, exist_ok=True)
    path = _path(folder, failure.task)
    with open(path + ".new", "w", encoding="utf-8") as stream:
        json.dump(dataclasses.asdict(failure), stream, ensure_ascii=False, indent=2)
    os.replace(path + ".new", path)


def remove(folder: str, task: str) -> None:
    """Removes what an earlier attempt of a task has left: it has succeeded."""
    with contextlib.suppress(FileNotFoundError):
        os.remove(_path(folder, task))


def read(folder: str) -> Optional[Failure]:
    """Reads a run's first failure; None where no task has left one."""
    files = glob.glob(os.path.join(glob.escape(folder), f"{_PREFIX}*.json"))
    if not files:
        return None
    with open(min(files, key=os.path.getmtime), encoding="utf-8") as stream:
        return Failure(**json.load(stream))


def _path(folder: str, task: str) -> str:
    return os.path.join(folder, f"{_PREFIX}{task}.json")
