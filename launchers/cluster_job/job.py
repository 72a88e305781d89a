"""Workers as pods: creates a job on the cluster, monitors it until it finishes, and deletes it."""

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
from launchers.base import Launcher, WorkerFailed, WorkerJob
from launchers.cluster_job import tfjob, trainjob
from launchers.cluster_job.cluster import Cluster
from launchers.cluster_job.config import ClusterJobConfig
from launchers.cluster_job.logs import Logs
from launchers.cluster_job.pod import Owner, User, job_name
from launchers.cluster_job.staging import Stage
from launchers.cluster_job.workers import Workers

_KINDS = {"tfjob": tfjob.KIND, "trainjob": trainjob.KIND}

# They identify the Trainer's own pod: Kubernetes mounts the file, the backend's launcher sets the variables.
_NAMESPACE_FILE = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"
_POD_NAME_VARIABLE, _POD_UID_VARIABLE = "KFP_POD_NAME", "KFP_POD_UID"

# How long to wait for a deleted job: its pods have a few seconds each, and a node may not respond.
_REMOVAL_S = 60.0

# Time between heartbeats, a fraction of `worker.LAUNCHER_TIMEOUT_S`.
_HEARTBEAT_S = 10.0

# How long to wait for the end of the logs after the pods are gone.
_LOGS_S = 5.0


class ClusterJob(Launcher):
    """Workers as pods of a job.

    If a worker is lost the others fail too, since none can train alone; the operator restarts all of them, and they
    continue from their last checkpoint. A retried execution first removes the remains of its previous attempt.

    Attributes:
      config: the pods' configuration.
      poll_s: time between two checks of the job.
      stall_timeout_s: how long all scheduled workers may go without a message. Loading a large encoder, compiling its
        first step and writing the model take minutes without one.
    """

    def __init__(self, config: ClusterJobConfig, poll_s: float = 5.0, stall_timeout_s: float = 1800.0):
        self.config = config
        self._kind = _KINDS[config.kind]
        self.poll_s = poll_s
        self.stall_timeout_s = stall_timeout_s

    def launch(self, job: WorkerJob, workers: int) -> None:
        name = job_name(job.target, job.arguments)
        stage = Stage(os.path.join(self.config.shared_dir, "jobs", name), job)
        with _termination_as_exit():
            cluster = Cluster(self.config.namespace, self._kind)
            if not cluster.remove(name, _REMOVAL_S):
                raise UserError(
                    f"{self._kind.name} {name} of an earlier attempt is still being deleted; see kubectl describe "
                    f"{self._kind.name.lower()} {name}"
                )
            logs = Logs(cluster, job.log_dir)
            try:
                job_file = stage.create()
                user = User(os.getuid(), os.getgid())
                manifests = self._kind.manifests(self.config, name, workers, job_file, user, _own_pod())
                with _heartbeats(stage):
                    cluster.create(manifests)
                    self._follow(name, cluster, stage, logs, workers)
                if stage.missing():
                    reason = f"finished without writing its output {', '.join(stage.missing())}"
                    raise WorkerFailed(0, workers, reason, logs.path(0))
                stage.deliver()
            finally:
                self._clean_up(name, cluster, stage, logs)

    def _follow(self, name: str, cluster: Cluster, stage: Stage, logs: Logs, count: int) -> None:
        """Checks the job until it has succeeded."""
        workers = Workers(stage.folder, count, self.config.restarts, self.stall_timeout_s, logs.path)
        deadline = time.monotonic() + self.config.timeout_s
        while True:
            # The job before its workers, so that their last messages have arrived when it has finished.
            job = cluster.job(name)
            pods = cluster.pods(name)
            logs.follow(pods)
            workers.update(pods)
            workers.raise_failure()
            if job is None:
                raise workers.error(f"{self._kind.name} {name}: not found: it was deleted during the run")
            if _condition(job, self._kind.succeeded) is not None:
                return
            failed = _condition(job, "Failed")
            if failed is not None:
                raise workers.lost(failed)
            if time.monotonic() > deadline:
                limit = f"{self.config.timeout_s} s (kubeflow.workers.timeout_s)"
                raise workers.error(f"timed out: not done after {limit}; last progress: {workers.last_progress}")
            time.sleep(self.poll_s)

    def _clean_up(self, name: str, cluster: Cluster, stage: Stage, logs: Logs) -> None:
        """Removes the job, its pods and its folder; errors are only logged, to keep the job's own failure visible."""
        kind = self._kind.name
        try:
            if not cluster.remove(name, _REMOVAL_S):
                logging.warning("%s %s is still being deleted", kind, name)
            logs.wait(_LOGS_S)
        except (UserError, ApiException) as error:
            logging.error(
                "%s %s could not be deleted: %s; run kubectl delete %s %s", kind, name, error, kind.lower(), name
            )
        finally:
            stage.remove()


@contextlib.contextmanager
def _heartbeats(stage: Stage) -> Iterator[None]:
    """Writes heartbeats for the workers, even while this process waits for the API server."""
    finished = threading.Event()

    def write() -> None:
        while not finished.wait(_HEARTBEAT_S):
            with contextlib.suppress(OSError):
                stage.write_heartbeat()

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()


def _condition(job: Mapping[str, Any], kind: str) -> Optional[str]:
    """Returns the message of a job's condition, None if it is not true."""
    for condition in job.get("status", {}).get("conditions") or ():
        if condition["type"] == kind and condition["status"] == "True":
            return condition.get("message", kind)
    return None


def _own_pod() -> Optional[Owner]:
    """Returns the pod that this process runs in, None outside the cluster."""
    name, uid = os.environ.get(_POD_NAME_VARIABLE), os.environ.get(_POD_UID_VARIABLE)
    if not name or not uid or not os.path.exists(_NAMESPACE_FILE):
        return None
    with open(_NAMESPACE_FILE, encoding="utf-8") as stream:
        return Owner(name, uid, stream.read().strip())


@contextlib.contextmanager
def _termination_as_exit() -> Iterator[None]:
    """Converts SIGTERM, with which a cluster ends a pod, to an exception, so that this process can clean up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _exit)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _exit(number: int, frame: Optional[FrameType]) -> None:
    # A second one would interrupt the clean-up.
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + number)
