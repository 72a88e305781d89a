"""What the launcher knows of a job's workers: from their messages, and from their pods."""

import json
import os
import time
from typing import Any, Callable, Iterator, Mapping, Optional, Sequence

import kubernetes

from core import progress
from core.errors import UserError
from launchers import local_processes, worker
from launchers.tfjob import manifest


class Worker:
    """One worker through all its attempts.

    Attributes:
      index: its number.
      starts: how often it was started.
      stage: what it said it was doing, in words.
      done: whether it has done its work.
      error: what to raise for what it has raised; None where it raised nothing, or only for another worker's loss.
      lost_peer: what it raised for another worker's loss, in a few words.
    """

    def __init__(self, index: int, folder: str):
        self.index = index
        self.starts = 0
        self.stage = "nothing yet"
        self.done = False
        self.error: Optional[Mapping[str, Any]] = None
        self.lost_peer: Optional[str] = None
        self._path, self._offset = os.path.join(folder, f"worker-{index}.jsonl"), 0

    def listen(self) -> bool:
        """Takes in what the worker has said since the last time; returns whether there was anything."""
        messages = list(self._read())
        for message in messages:
            self._take(message)
        return bool(messages)

    def _read(self) -> Iterator[Mapping[str, Any]]:
        try:
            with open(self._path, "rb") as stream:
                stream.seek(self._offset)
                text = stream.read()
        except FileNotFoundError:
            return
        whole = text[: text.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            try:
                yield json.loads(line)
            except ValueError:
                continue  # Empty, or torn: its writer was killed.

    def _take(self, message: Mapping[str, Any]) -> None:
        kind = message["kind"]
        if kind == "started":
            self.starts += 1
        elif kind == "progress":
            done, total = message["done"], message["total"]
            self.stage = f"{message['stage']} ({done} of {total or 'an unknown number'})"
            if self.index == 0:
                progress.report(message["stage"], done, total, **message["figures"])
        elif kind == "done":
            self.done = True
        elif kind == "error" and message["type"] in worker.COLLECTIVE_ERRORS:
            self.lost_peer = _reason(message)
        elif kind == "error":
            self.error = message


class Workers:
    """All workers of a job, and what it has failed of."""

    def __init__(self, folder: str, count: int, restarts: int, stall_timeout_s: float, log: Callable[[int], str]):
        """Knows nothing yet.

        Args:
          folder: where the workers' messages are.
          count: how many workers there are.
          restarts: how often each may be started again.
          stall_timeout_s: how long all may be silent while all have a place to run.
          log: gives the file of a worker's log.
        """
        self._all = [Worker(i, folder) for i in range(count)]
        self._restarts, self._stall_timeout_s, self._log = restarts, stall_timeout_s, log
        self._endings: dict[int, str] = {}
        self._waiting, self._moved_at = "", time.monotonic()

    @property
    def reports(self) -> str:
        """What each worker said last, in words."""
        return ", ".join(f"worker {each.index}: {each.stage}" for each in self._all)

    def look(self, pods: Sequence[kubernetes.client.V1Pod]) -> None:
        """Takes in how the pods are, and what the workers have said since the last time."""
        places = {int(pod.metadata.labels[manifest.INDEX_LABEL]): pod for pod in pods}
        for i, pod in places.items():
            if ending := _ending(pod):
                self._endings.pop(i, None)  # The newest is the last.
                self._endings[i] = ending
        heard = [each.listen() for each in self._all]
        obstacles = {each.index: _obstacle(places.get(each.index)) for each in self._all}
        if any(heard) or any(obstacles.values()):
            self._moved_at = time.monotonic()
        # Worker 0's end is the job's; the other pods are removed then.
        if not self._all[0].done:
            self._tell(obstacles)

    def judge(self) -> None:
        """Raises what the job has failed of by the workers' own account.

        Raises:
          UserError: a worker raised it.
          WorkerFailed: one raised something else or was lost too often, or all have fallen silent.
        """
        for each in self._all:
            if each.error:
                raise self._raised(each, each.error)
        most = max(self._all, key=lambda each: each.starts)
        if most.starts - 1 > self._restarts:
            why = most.lost_peer or "no reason was seen"
            raise self.lost(f"was lost more than {self._restarts} times (kubeflow.workers.restarts); {why}", most.index)
        if time.monotonic() - self._moved_at > self._stall_timeout_s:
            raise self.failed(f"no worker has said anything for {self._stall_timeout_s:g} s; {self.reports}")

    def failed(self, reason: str, index: int = 0) -> local_processes.WorkerFailed:
        """Returns the failure of a worker.

        Args:
          reason: what became of it, or of the job, in words.
          index: its number.
        """
        return local_processes.WorkerFailed(index, len(self._all), reason, self._log(index))

    def lost(self, reason: str, index: int = 0) -> local_processes.WorkerFailed:
        """Returns the same of the worker whose pod ended badly last, if one was seen to, and says how it did."""
        if not self._endings:
            return self.failed(reason, index)
        index, ending = next(reversed(self._endings.items()))
        return self.failed(f"{ending}; {reason}", index)

    def _raised(self, each: Worker, message: Mapping[str, Any]) -> Exception:
        if message["user_error"]:
            return UserError(message["message"])
        return self.failed(_reason(message), each.index)

    def _tell(self, obstacles: Mapping[int, Optional[str]]) -> None:
        """Reports what workers wait for that have no place to run, each time that it changes."""
        text = "; ".join(f"worker {i}: {obstacle}" for i, obstacle in obstacles.items() if obstacle)
        if text and text != self._waiting:
            running = sum(obstacle is None for obstacle in obstacles.values())
            progress.report(f"waiting for workers ({text})", running, len(obstacles))
        self._waiting = text


def _reason(message: Mapping[str, Any]) -> str:
    # The rest, which TensorFlow fills with the graph's nodes, is in the log.
    first_line = (message["message"].strip() or "no message").splitlines()[0]
    return f"{message['type']}: {first_line}"


def _ending(pod: kubernetes.client.V1Pod) -> Optional[str]:
    """Says how a pod has ended, if badly and not for another one's loss."""
    for container in pod.status.container_statuses or ():
        end = container.state.terminated
        if end and end.exit_code not in (0, worker.LOST_PEER_STATUS):
            return f"ended with exit status {end.exit_code} ({end.reason})"
    return (
        f"was ended by the cluster ({pod.status.reason})"
        if pod.status.phase == "Failed" and pod.status.reason
        else None
    )


def _obstacle(pod: Optional[kubernetes.client.V1Pod]) -> Optional[str]:
    """Says what a worker waits for, None where it has a place to run."""
    if pod is None:
        return "no pod yet"
    if pod.status.phase != "Pending":
        return None
    waiting = [container.state.waiting for container in pod.status.container_statuses or ()]
    unmet = [condition for condition in pod.status.conditions or () if condition.status == "False"]
    for cause in filter(None, [*waiting, *unmet]):
        return ": ".join(filter(None, [cause.reason, cause.message]))
    return "pending"
