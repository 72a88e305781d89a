"""Notes on why tasks failed, in a folder that all tasks of a run share: a cluster does not report the reason."""

import contextlib
import dataclasses
import glob
import json
import os
from typing import Optional, Sequence

from core.checks import Check
from core.files import atomic_write

# One file per task, because several may fail at the same time.
_PREFIX = "failure-"


@dataclasses.dataclass(frozen=True)
class Failure:
    """A task's failure.

    Attributes:
      task: the task's id.
      error: the error message.
      is_user_error: whether the user can correct it.
      checks: all checks of the gate that stopped the run, if any.
      retries: number of automatic retries that are still to come and would fail in the same way.
    """

    task: str
    error: str
    is_user_error: bool
    checks: Sequence[Check] = ()
    retries: int = 0


def write(folder: str, failure: Failure) -> None:
    """Writes a failure into a run's folder; overwrites that of an earlier attempt of the task."""
    os.makedirs(folder, exist_ok=True)
    with atomic_write(_path(folder, failure.task)) as stream:
        json.dump(dataclasses.asdict(failure), stream, ensure_ascii=False, indent=2)


def take_retry(folder: str, task: str) -> Optional[Failure]:
    """Returns the failure of an earlier attempt if the task's next attempt would fail too, and counts that attempt.

    After the last automatic retry the task runs again: a person asked for it, who may have corrected the mistake.
    """
    path = _path(folder, task)
    if not os.path.isfile(path):
        return None
    failure, written = _read(path), os.stat(path)
    if failure.retries == 0:
        return None
    write(folder, dataclasses.replace(failure, retries=failure.retries - 1))
    # `read` finds the first failure by the time.
    os.utime(path, ns=(written.st_atime_ns, written.st_mtime_ns))
    return failure


def remove(folder: str, task: str) -> None:
    """Removes the failure of an earlier attempt, after the task succeeded."""
    with contextlib.suppress(FileNotFoundError):
        os.remove(_path(folder, task))


def read(folder: str) -> Optional[Failure]:
    """Reads a run's first failure; None if no task wrote one."""
    files = glob.glob(os.path.join(glob.escape(folder), f"{_PREFIX}*.json"))
    if not files:
        return None
    return _read(min(files, key=os.path.getmtime))


def _read(path: str) -> Failure:
    with open(path, encoding="utf-8") as stream:
        content = json.load(stream)
    return Failure(**{**content, "checks": [Check(**check) for check in content["checks"]]})


def _path(folder: str, task: str) -> str:
    return os.path.join(folder, f"{_PREFIX}{task}.json")
