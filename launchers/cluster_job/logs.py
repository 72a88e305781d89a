"""Copies the workers' logs from the cluster while they are written, since the log of a restarted pod is lost."""

import os
import threading
import time
from typing import Mapping, Optional

import kubernetes
import urllib3
from kubernetes.client import ApiException

from launchers.cluster_job.cluster import Cluster


class Logs:
    """Copies each worker's log to `worker-<i>.log` in a folder, one pod after the other."""

    def __init__(self, cluster: Cluster, folder: str):
        """Creates the folder."""
        os.makedirs(folder, exist_ok=True)
        self._cluster, self._folder = cluster, folder
        self._copies: dict[str, _Copy] = {}

    def path(self, worker: int) -> str:
        """Returns the file of a worker's log."""
        return os.path.join(self._folder, f"worker-{worker}.log")

    def follow(self, pods: Mapping[int, kubernetes.client.V1Pod]) -> None:
        """Starts copying the logs of the workers' current pods; skips those that have not started."""
        for worker, pod in pods.items():
            before = self._copies.get(pod.metadata.uid)
            if pod.status.phase not in (None, "Pending") and (before is None or before.is_broken):
                file = self.path(worker)
                copied_at = before.copied_at if before else None
                self._copies[pod.metadata.uid] = _Copy(self._cluster, pod.metadata.name, file, copied_at)

    def wait(self, timeout_s: float) -> None:
        """Waits until the logs of the ended pods are complete, or until the timeout."""
        deadline = time.monotonic() + timeout_s
        for copy in self._copies.values():
            copy.join(max(0.0, deadline - time.monotonic()))


class _Copy(threading.Thread):
    """Copies one pod's log until its container ends.

    Attributes:
      is_broken: whether the connection was lost before that.
      copied_at: time of the last copied bytes on the monotonic clock; None before the first.
    """

    def __init__(self, cluster: Cluster, pod: str, file: str, copied_at: Optional[float]):
        super().__init__(daemon=True)
        self.is_broken, self.copied_at = False, copied_at
        self._cluster, self._pod, self._file = cluster, pod, file
        self.start()

    def run(self) -> None:
        # The API takes whole seconds: rounded up, a line may be copied twice but none is lost.
        since_s = None if self.copied_at is None else int(time.monotonic() - self.copied_at) + 1
        try:
            with open(self._file, "ab", buffering=0) as output:
                for piece in self._cluster.log(self._pod, since_s):
                    self.copied_at = time.monotonic()
                    output.write(piece)
        except (ApiException, urllib3.exceptions.HTTPError):
            self.is_broken = True
