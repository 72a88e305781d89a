"""The launcher: creates a TFJob for a job, follows it to its end, and leaves nothing of it."""

import contextlib
import logging
import os
import signal
import threading
import time
from types import FrameType
from typing import Any, Iterator, Mapping, Optional

from kubernetes.client import ApiException

from core.errors import UserError
from launchers import local_processes
from launchers.tfjob import manifest
from launchers.tfjob.cluster import Cluster
from launchers.tfjob.config import TFJobConfig
from launchers.tfjob.logs import Logs
from launchers.tfjob.staging import Stage
from launchers.tfjob.workers import Workers

# Of the Trainer's own pod: Kubernetes mounts the one, the backend's launcher sets the others.
_NAMESPACE_FILE = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"
_POD_NAME_VARIABLE, _POD_UID_VARIABLE = "KFP_POD_NAME", "KFP_POD_UID"

# For the pods of a deleted job, each of which has some seconds, and a node that does not answer.
_REMOVAL_S = 60.0

# Between signs of life: some are missed before the workers give up (`worker.LAUNCHER_SILENCE_S`).
_SIGN_S = 10.0

# For the last of the logs, once no pod is left.
_LOGS_S = 5.0


class TFJob(local_processes.Launcher):
    """Workers as pods of a TFJob.

    A worker that is lost takes the others with it, since none trains on alone; the operator starts all of them again,
    and they go on from what they have saved. An execution that is tried again removes what the try before has left.

    Attributes:
      config: what the pods get.
      poll_s: how often the job is looked at.
      stall_timeout_s: how long no worker may say anything while all have a place to run: what loading a large encoder,
        compiling its first step or writing the model takes at most.
    """

    def __init__(self, config: TFJobConfig, poll_s: float = 5.0, stall_timeout_s: float = 1800.0):
        self.config = config
        self.poll_s = poll_s
        self.stall_timeout_s = stall_timeout_s

    def launch(self, job: local_processes.Job, workers: int) -> None:
        name = manifest.job_name(job.target, job.arguments)
        stage = Stage(os.path.join(self.config.shared_dir, "jobs", name), job)
        with _termination_as_exit():
            cluster = Cluster(self.config.namespace)
            if not cluster.remove(name, _REMOVAL_S):
                raise UserError(
                    f"TFJob {name} of an earlier try is still being deleted: see kubectl describe tfjob {name}"
                )
            logs = Logs(cluster, job.log_dir)
            try:
                job_file = stage.fill()
                user = manifest.User(os.getuid(), os.getgid())
                with _signing(stage):
                    cluster.create(manifest.tfjob(self.config, name, workers, job_file, user, _own_pod()))
                    self._follow(name, cluster, stage, logs, workers)
                if stage.missing():
                    missing = f"has written no {' and no '.join(stage.missing())}"
                    raise local_processes.WorkerFailed(0, workers, missing, logs.path(0))
                stage.deliver()
            finally:
                _clean_up(name, cluster, stage, logs)

    def _follow(self, name: str, cluster: Cluster, stage: Stage, logs: Logs, count: int) -> None:
        """Looks at the job until it has succeeded."""
        workers = Workers(stage.folder, count, self.config.restarts, self.stall_timeout_s, logs.path)
        deadline = time.monotonic() + self.config.timeout_s
        while True:
            # The job before its workers: what they said before it ended is known then.
            job = cluster.job(name)
            pods = cluster.pods(name)
            logs.follow(pods)
            workers.look(pods)
            workers.judge()
            if job is None:
                raise workers.failed(f"TFJob {name} was deleted by somebody else")
            if _condition(job, "Succeeded") is not None:
                return
            failed = _condition(job, "Failed")
            if failed is not None:
                raise workers.lost(failed)
            if time.monotonic() > deadline:
                limit = f"{self.config.timeout_s} s (kubeflow.workers.timeout_s)"
                raise workers.failed(f"the job was not done after {limit}; last reports: {workers.reports}")
            time.sleep(self.poll_s)


@contextlib.contextmanager
def _signing(stage: Stage) -> Iterator[None]:
    """Lets the workers know that this process lives, also while an API server keeps it waiting."""
    ended = threading.Event()

    def sign() -> None:
        while not ended.wait(_SIGN_S):
            with contextlib.suppress(OSError):
                stage.sign()

    thread = threading.Thread(target=sign, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _condition(job: Mapping[str, Any], kind: str) -> Optional[str]:
    """Returns the message of a job's condition, None where it does not hold."""
    for condition in job.get("status", {}).get("conditions") or ():
        if condition["type"] == kind and condition["status"] == "True":
            return condition.get("message", kind)
    return None


def _own_pod() -> Optional[manifest.Pod]:
    """Returns the pod that this process runs in, None outside the cluster."""
    name, uid = os.environ.get(_POD_NAME_VARIABLE), os.environ.get(_POD_UID_VARIABLE)
    if not name or not uid or not os.path.exists(_NAMESPACE_FILE):
        return None
    with open(_NAMESPACE_FILE, encoding="utf-8") as stream:
        return manifest.Pod(name, uid, stream.read().strip())


def _clean_up(name: str, cluster: Cluster, stage: Stage, logs: Logs) -> None:
    """Removes the job, its pods and its folder; what can't be removed hides no failure of the job itself."""
    try:
        if not cluster.remove(name, _REMOVAL_S):
            logging.warning("TFJob %s is still being deleted", name)
        logs.wait(_LOGS_S)
    except (UserError, ApiException) as error:
        logging.error("TFJob %s is left, kubectl delete tfjob %s removes it: %s", name, name, error)
    finally:
        stage.remove()


@contextlib.contextmanager
def _termination_as_exit() -> Iterator[None]:
    """Makes SIGTERM, by which a cluster ends a pod, an exception that lets this process clean up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _exit)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _exit(number: int, frame: Optional[FrameType]) -> None:
    # Another one would cut the clean-up short.
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + number)
