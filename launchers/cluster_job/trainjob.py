"""A TrainJob of Kubeflow's Trainer v2, with a runtime of its own.

The Trainer has no runtime for TensorFlow. A runtime without a framework starts the pods and gives them host names;
TF_CONFIG is written here. The job brings its own runtime, so that nothing has to be installed in the cluster for it,
and because a TrainJob itself can set only a part of the pod, in fields that changed between releases of the Trainer.
Both objects are created, and deleted, together.
"""

import json
from typing import Any, Mapping, Optional

from launchers.cluster_job import pod
from launchers.cluster_job.config import ClusterJobConfig
from launchers.cluster_job.kind import Kind, Resource

_RUNTIMES = Resource("trainer.kubeflow.org", "v1alpha1", "trainingruntimes")
_TRAINJOBS = Resource("trainer.kubeflow.org", "v1alpha1", "trainjobs")

# The name that the Trainer requires of the container of the pods that train; by convention also that of their Job.
_NODE = "node"

# TensorFlow's usual one.
_PORT = 2222

# Kubernetes sets it in the pods of an indexed Job too, but after the variables that use it.
_INDEX_VARIABLE = "JOB_COMPLETION_INDEX"
_INDEX_LABEL = "batch.kubernetes.io/job-completion-index"


def _manifests(
    config: ClusterJobConfig, name: str, workers: int, job_file: str, user: pod.User, owner: Optional[pod.Owner]
) -> list[Mapping[str, Any]]:
    runtime = {
        "apiVersion": _RUNTIMES.api_version,
        "kind": "TrainingRuntime",
        "metadata": pod.metadata(config, name, owner),
        "spec": {
            # No framework: the Trainer calls this a plain policy.
            "mlPolicy": {"numNodes": workers},
            "template": {"spec": _job_set(config, name, workers, job_file, user)},
        },
    }
    job = {
        "apiVersion": _TRAINJOBS.api_version,
        "kind": "TrainJob",
        "metadata": pod.metadata(config, name, owner),
        "spec": {"runtimeRef": {"apiGroup": _RUNTIMES.group, "kind": "TrainingRuntime", "name": name}},
    }
    return [runtime, job]


def _job_set(config: ClusterJobConfig, name: str, workers: int, job_file: str, user: pod.User) -> dict[str, Any]:
    template = pod.template(config, _NODE, job_file, user, _environment(config, name, workers))
    template["spec"]["restartPolicy"] = "Never"
    return {
        # A lost worker fails the Job, and all workers are restarted.
        "failurePolicy": {
            "maxRestarts": config.restarts,
            "rules": [
                {
                    "name": "notRestarted",
                    "action": "FailJobSet",
                    "onJobFailureReasons": ["PodFailurePolicy", "DeadlineExceeded"],
                }
            ],
        },
        "replicatedJobs": [
            {
                "name": _NODE,
                "replicas": 1,
                "template": {
                    "metadata": {"labels": {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}},
                    "spec": {
                        "completionMode": "Indexed",
                        "activeDeadlineSeconds": pod.deadline_s(config),
                        # The JobSet restarts all workers at once.
                        "backoffLimit": 0,
                        # A status below 128, such as that of a wrong input, is not restarted.
                        "podFailurePolicy": {
                            "rules": [
                                {
                                    "action": "FailJob",
                                    "onExitCodes": {
                                        "containerName": _NODE,
                                        "operator": "In",
                                        "values": list(range(1, 128)),
                                    },
                                }
                            ]
                        },
                        # Only worker 0 writes; the others are stopped when it has finished.
                        "successPolicy": {"rules": [{"succeededIndexes": "0"}]},
                        "template": template,
                    },
                },
            }
        ],
    }


def _environment(config: ClusterJobConfig, name: str, workers: int) -> list[Mapping[str, Any]]:
    # Of the service that a JobSet creates for its pods.
    domain = f"{name}.{config.namespace}.svc"
    cluster = {"worker": [f"{name}-{_NODE}-0-{i}.{domain}:{_PORT}" for i in range(workers)]}
    task = {"type": "worker", "index": "INDEX"}
    # Kubernetes replaces $(...) by the value of a variable further up.
    tf_config = json.dumps({"cluster": cluster, "task": task}).replace('"INDEX"', f"$({_INDEX_VARIABLE})")
    index = {"fieldRef": {"fieldPath": f"metadata.annotations['{_INDEX_LABEL}']"}}
    return [{"name": _INDEX_VARIABLE, "valueFrom": index}, {"name": "TF_CONFIG", "value": tf_config}]


KIND = Kind(
    name="TrainJob",
    resources=(_RUNTIMES, _TRAINJOBS),
    manifests=_manifests,
    container=_NODE,
    # The Trainer's JobSet has the TrainJob's name.
    job_label="jobset.sigs.k8s.io/jobset-name",
    index_label=_INDEX_LABEL,
    succeeded="Complete",
    operator="Kubeflow Trainer v2",
)
