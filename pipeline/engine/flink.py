"""Flink's REST API: slots, the state of jobs, their failures, and cancelling them."""

import contextlib
import dataclasses
import re
import time
from typing import Any, Mapping, Optional, Sequence

import requests

from core import web
from core.errors import UserError

_TIMEOUT_S = 5.0
_ENDED = ("FINISHED", "FAILED", "CANCELED")
# Until a cancelled job has ended; Flink itself kills a task that does not react in 180 s.
_CANCEL_TIMEOUT_S = 60.0
# A job that was just submitted appears in the list after this time.
_SUBMISSION_S = 3.0
_POLL_S = 0.5


@dataclasses.dataclass(frozen=True)
class Job:
    """A job.

    Attributes:
      id: Flink's.
      state: such as RUNNING.
      finished: tasks that have finished.
      tasks: all its tasks.
    """

    id: str
    state: str
    finished: int
    tasks: int

    @property
    def has_ended(self) -> bool:
        """Whether it will not write anything any more."""
        return self.state in _ENDED


class Flink:
    """A Flink cluster."""

    def __init__(self, address: str):
        """Creates a client; `address` is that of the REST API, with its scheme."""
        self.address = address.rstrip("/")

    def check(self, parallelism: Optional[int]) -> tuple[str, int]:
        """Checks that jobs can start; returns the minor version, such as `1.19`, and the number of slots to use.

        Raises:
          UserError: Flink does not answer, or has too few free slots.
        """
        try:
            overview = self._get("/overview")
            version, total, free = (overview[key] for key in ("flink-version", "slots-total", "slots-available"))
        except (ValueError, TypeError, KeyError) as error:  # Not JSON: requests' error for that is a ValueError too.
            raise UserError(
                f"beam.address = {self._shown()}: what answers there is not Flink; should be HOST:PORT of Flink's REST "
                "API (8081 by default)"
            ) from error
        except requests.RequestException as error:
            raise UserError(
                f"beam.address = {self._shown()}: {_describe(error)}; should be HOST:PORT of Flink's REST API (8081 by "
                "default)"
            ) from error
        wanted = parallelism or total
        if wanted > total or not total:
            raise UserError(
                f"beam.parallelism = {wanted}: Flink at {self._shown()} has {total} task slots; start more task "
                "managers" + (f", or set at most {total}" if total else "")
            )
        if wanted > free:
            raise UserError(
                f"beam.address = {self._shown()}: {free} of Flink's {total} task slots are free, and {wanted} are "
                f"needed; wait for its jobs, cancel them ({self.address}/#/job/running), or set beam.parallelism"
            )
        return ".".join(version.split(".")[:2]), wanted

    def jobs(self, name: str) -> list[Job]:
        """Returns the jobs of a name."""
        return [
            Job(each["jid"], each["state"], each["tasks"]["finished"], each["tasks"]["total"])
            for each in self._get("/jobs/overview")["jobs"]
            if each["name"] == name
        ]

    def failures(self, job: Job) -> list[str]:
        """Returns the failures of a job's attempts so far, oldest first, each with its stack trace."""
        answer = self._get(f"/jobs/{job.id}/exceptions")
        entries: Sequence[Mapping[str, Any]] = answer.get("exceptionHistory", {}).get("entries", ())
        return [entry["stacktrace"] for entry in sorted(entries, key=lambda entry: entry["timestamp"])]

    def link(self, job: Job) -> str:
        """Returns the address of a job's page."""
        return f"{self.address}/#/job/{job.id}/exceptions"

    def cancel(self, name: str) -> None:
        """Cancels the jobs of a name and waits until they have ended.

        Raises:
          UserError: they have not ended in a minute.
        """
        end = time.monotonic() + _CANCEL_TIMEOUT_S
        quiet_since = time.monotonic()
        while time.monotonic() < end:
            with contextlib.suppress(requests.RequestException):
                running = [job for job in self.jobs(name) if not job.has_ended]
                if running:
                    quiet_since = time.monotonic()
                elif time.monotonic() - quiet_since > _SUBMISSION_S:
                    return
                for job in running:
                    requests.patch(f"{self.address}/jobs/{job.id}?mode=cancel", timeout=_TIMEOUT_S)
            time.sleep(_POLL_S)
        raise UserError(f"{self.address}: the job {name} has not ended in {_CANCEL_TIMEOUT_S:.0f} s; cancel it there")

    def _get(self, path: str) -> Any:
        answer = requests.get(self.address + path, timeout=_TIMEOUT_S)
        answer.raise_for_status()
        return answer.json()

    def _shown(self) -> str:
        return self.address.partition("://")[2]


def _describe(error: requests.RequestException) -> str:
    if isinstance(error, requests.Timeout):
        return f"no answer in {_TIMEOUT_S:g} s"
    return web.describe(error)


def last_line(trace: str) -> str:
    """Returns what a person needs of a failure: the last line of Python's traceback, or Java's innermost cause."""
    _, found, python = trace.rpartition("Traceback (most recent call last):")
    if found:
        lines = re.split(r"\n\s+at |\n\tat ", python)[0].strip().splitlines()
        errors = [line for line in lines[1:] if line and not line[0].isspace()]
        if errors:
            return errors[-1].partition(" [while running")[0].strip()
    causes = re.findall(r"^Caused by: (.*)$", trace, re.MULTILINE)
    return (causes[-1] if causes else trace.strip().split("\n")[0]).strip()
