"""The workers' logs, copied from the cluster while they are written: a pod that is started again loses its own."""

import os
import threading
import time
from typing import Optional, Sequence

import kubernetes
import urllib3
from kubernetes.client import ApiException

from launchers.tfjob import manifest
from launchers.tfjob.cluster import Cluster


class Logs:
    """Copies what each worker writes to `worker-<i>.log` of a folder, pod after pod."""

    def __init__(self, cluster: Cluster, folder: str):
        """Makes the folder."""
        os.makedirs(folder, exist_ok=True)
        self._cluster, self._folder = cluster, folder
        self._copies: dict[str, _Copy] = {}

    def path(self, worker: int) -> str:
        """Returns the file of a worker."""
        return os.path.join(self._folder, f"worker-{worker}.log")

    def follow(self, pods: Sequence[kubernetes.client.V1Pod]) -> None:
        """Copies what these pods write, from now on; those that have not started are passed over."""
        for pod in pods:
            before = self._copies.get(pod.metadata.uid)
            if pod.status.phase not in (None, "Pending") and (before is None or before.is_broken):
                file = self.path(int(pod.metadata.labels[manifest.INDEX_LABEL]))
                copied_at = before and before.copied_at
                self._copies[pod.metadata.uid] = _Copy(self._cluster, pod.metadata.name, file, copied_at)

    def wait(self, timeout_s: float) -> None:
        """Waits until all is copied that pods which have ended wrote, or the time is up."""
        deadline = time.monotonic() + timeout_s
        for copy in self._copies.values():
            copy.join(max(0.0, deadline - time.monotonic()))


class _Copy(threading.Thread):
    """Copies one pod's log until its container ends.

    Attributes:
      is_broken: whether the connection was lost before that.
      copied_at: when something was copied last, on the monotonic clock; None where all is still to be copied.
    """

    def __init__(self, cluster: Cluster, pod: str, file: str, copied_at: Optional[float]):
        super().__init__(daemon=True)
        self.is_broken, self.copied_at = False, copied_at
        self._cluster, self._pod, self._file = cluster, pod, file
        self.start()

    def run(self) -> None:
        # The API counts in whole seconds: a line may come twice, none is left out.
        since_s = None if self.copied_at is None else int(time.monotonic() - self.copied_at) + 1
        try:
            with open(self._file, "ab", buffering=0) as output:
                for piece in self._cluster.log(self._pod, since_s):
                    self.copied_at = time.monotonic()
                    output.write(piece)
        except (ApiException, urllib3.exceptions.HTTPError):
            self.is_broken = True
