"""The state of a job's workers, according to their messages and their pods."""

import os
import time
from typing import Callable, Iterator, Mapping, Optional

import kubernetes

from core import progress
from core.errors import UserError
from launchers import worker
from launchers.base import WorkerFailed
from launchers.messages import Done, Error, Message, Progress, Started, decode


class Worker:
    """One worker through all its attempts.

    Attributes:
      index: its number.
      starts: number of its attempts.
      stage: its last progress, in words.
      done: whether its target has returned.
      error: the error that its target raised, unless it was a collective error.
      lost_peer: the last collective error that its target raised.
    """

    def __init__(self, index: int, folder: str):
        self.index = index
        self.starts = 0
        self.stage = "none"
        self.done = False
        self.error: Optional[Error] = None
        self.lost_peer: Optional[Error] = None
        self._path, self._offset = os.path.join(folder, f"worker-{index}.jsonl"), 0

    def read(self) -> bool:
        """Handles the messages that have arrived since the last call; returns whether there were any."""
        messages = list(self._new_messages())
        for message in messages:
            self._handle(message)
        return bool(messages)

    def _new_messages(self) -> Iterator[Message]:
        try:
            with open(self._path, "rb") as stream:
                stream.seek(self._offset)
                text = stream.read()
        except FileNotFoundError:
            return
        complete = text[: text.rfind(b"\n") + 1]
        self._offset += len(complete)
        for line in complete.splitlines():
            try:
                yield decode(line)
            except ValueError:
                continue  # Empty, or incomplete because its writer was killed.

    def _handle(self, message: Message) -> None:
        if isinstance(message, Started):
            self.starts += 1
        elif isinstance(message, Progress):
            self.stage = str(message)
            if self.index == 0:
                message.report()
        elif isinstance(message, Done):
            self.done = True
        elif isinstance(message, Error) and message.is_collective:
            self.lost_peer = message
        elif isinstance(message, Error):
            self.error = message


class Workers:
    """All workers of a job, and the reason of its failure."""

    def __init__(self, folder: str, count: int, restarts: int, stall_timeout_s: float, log: Callable[[int], str]):
        """Starts with no messages read.

        Args:
          folder: folder of the workers' messages.
          count: number of workers.
          restarts: how often each worker may be restarted.
          stall_timeout_s: how long all may go without a message while all of them are scheduled.
          log: returns the file of a worker's log.
        """
        self._all = [Worker(i, folder) for i in range(count)]
        self._restarts, self._stall_timeout_s, self._log = restarts, stall_timeout_s, log
        self._pod_failures: dict[int, str] = {}
        self._pending, self._active_at = "", time.monotonic()

    @property
    def last_progress(self) -> str:
        """Each worker's last progress, in words."""
        return ", ".join(f"worker {each.index}: {each.stage}" for each in self._all)

    def update(self, pods: Mapping[int, kubernetes.client.V1Pod]) -> None:
        """Reads the state of the workers' current pods, and the messages that have arrived since the last call."""
        for i, pod in pods.items():
            if failure := _pod_failure(pod):
                self._pod_failures.pop(i, None)  # Reinserted, since the last one is the newest.
                self._pod_failures[i] = failure
        new_messages = [each.read() for each in self._all]
        reasons = {each.index: _pending_reason(pods.get(each.index)) for each in self._all}
        if any(new_messages) or any(reasons.values()):
            self._active_at = time.monotonic()
        # When worker 0 is done the job is, and the other pods are removed.
        if not self._all[0].done:
            self._report_pending(reasons)

    def raise_failure(self) -> None:
        """Raises the error that failed the job, if there is one.

        Raises:
          UserError: a worker raised it.
          WorkerFailed: a worker raised another error or was lost too often, or none has sent a message within the
            timeout.
        """
        for each in self._all:
            if each.error:
                raise self._exception(each.index, each.error)
        most = max(self._all, key=lambda each: each.starts)
        if most.starts - 1 > self._restarts:
            reason = most.lost_peer or "no reason was reported"
            limit = f"kubeflow.workers.restarts = {self._restarts}"
            raise self.lost(f"lost more often than {limit} allows; {reason}", most.index)
        if time.monotonic() - self._active_at > self._stall_timeout_s:
            silence = f"no worker has sent a message for {self._stall_timeout_s:g} s"
            raise self.error(f"timed out: {silence}; last progress: {self.last_progress}")

    def error(self, reason: str, index: int = 0) -> WorkerFailed:
        """Returns the exception for a worker's failure.

        Args:
          reason: a description of the failure.
          index: its number.
        """
        return WorkerFailed(index, len(self._all), reason, self._log(index))

    def lost(self, reason: str, index: int = 0) -> WorkerFailed:
        """Returns the exception for a lost worker; if a pod has failed, it names the latest and how it ended."""
        if not self._pod_failures:
            return self.error(reason, index)
        index, failure = next(reversed(self._pod_failures.items()))
        return self.error(f"{failure}; {reason}", index)

    def _exception(self, index: int, error: Error) -> Exception:
        return UserError(error.message) if error.user_error else self.error(str(error), index)

    def _report_pending(self, reasons: Mapping[int, Optional[str]]) -> None:
        """Reports why workers are pending, whenever that changes."""
        text = "; ".join(f"worker {i}: {reason}" for i, reason in reasons.items() if reason)
        if text and text != self._pending:
            running = sum(reason is None for reason in reasons.values())
            progress.report(f"waiting for workers ({text})", running, len(reasons))
        self._pending = text


def _pod_failure(pod: kubernetes.client.V1Pod) -> Optional[str]:
    """Describes a pod's failure; None if it has not failed, or only because another one was lost."""
    for container in pod.status.container_statuses or ():
        end = container.state.terminated
        if end and end.exit_code not in (0, worker.LOST_PEER_STATUS):
            return f"ended with exit status {end.exit_code} ({end.reason})"
    if pod.status.phase == "Failed" and pod.status.reason:
        return f"terminated by the cluster ({pod.status.reason})"
    return None


def _pending_reason(pod: Optional[kubernetes.client.V1Pod]) -> Optional[str]:
    """Describes why a worker is pending; None if it is scheduled."""
    if pod is None:
        return "no pod yet"
    if pod.status.phase != "Pending":
        return None
    waiting = [container.state.waiting for container in pod.status.container_statuses or ()]
    unmet = [condition for condition in pod.status.conditions or () if condition.status == "False"]
    for cause in filter(None, [*waiting, *unmet]):
        return ": ".join(filter(None, [cause.reason, cause.message]))
    return "pending"
