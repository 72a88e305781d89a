"""A TFJob of the Training Operator v1."""

from typing import Any, Mapping, Optional

from launchers.cluster_job import pod
from launchers.cluster_job.config import ClusterJobConfig
from launchers.cluster_job.kind import Kind, Resource

_TFJOBS = Resource("kubeflow.org", "v1", "tfjobs")

# The operator sets TF_CONFIG in the container of this name, and reads its exit status.
_CONTAINER = "tensorflow"

# How long a job that ended without its launcher is kept for inspection.
_KEPT_S = 3600


def _manifests(
    config: ClusterJobConfig, name: str, workers: int, job_file: str, user: pod.User, owner: Optional[pod.Owner]
) -> list[Mapping[str, Any]]:
    job = {
        "apiVersion": _TFJOBS.api_version,
        "kind": "TFJob",
        "metadata": pod.metadata(config, name, owner),
        "spec": {
            "runPolicy": {
                # Failed pods are kept for their logs, running ones are deleted.
                "cleanPodPolicy": "Running",
                "activeDeadlineSeconds": pod.deadline_s(config),
                "ttlSecondsAfterFinished": _KEPT_S,
                # With ExitCode the operator (1.8, 1.9) counts only the first failure; the launcher counts all.
                "backoffLimit": config.restarts,
            },
            "tfReplicaSpecs": {
                "Worker": {
                    "replicas": workers,
                    # A worker that exits with 128 or more (killed, evicted, `worker.LOST_PEER_STATUS`) is restarted in
                    # a new pod; a lower status, such as that of a wrong input, fails the job.
                    "restartPolicy": "ExitCode",
                    "template": pod.template(config, _CONTAINER, job_file, user),
                }
            },
        },
    }
    return [job]


KIND = Kind(
    name="TFJob",
    resources=(_TFJOBS,),
    manifests=_manifests,
    container=_CONTAINER,
    # Labels that the operator puts on the pods.
    job_label="training.kubeflow.org/job-name",
    index_label="training.kubeflow.org/replica-index",
    succeeded="Succeeded",
    operator="Kubeflow's Training Operator v1",
)
