"""The TFJob as the cluster takes it. Pure: the same arguments give the same manifest."""

import dataclasses
import hashlib
import json
from typing import Any, Mapping, Optional

from core.kubeflow_config import SecretVariable, Toleration
from launchers import worker
from launchers.tfjob.config import TFJobConfig

GROUP, VERSION, PLURAL = "kubeflow.org", "v1", "tfjobs"

# By this name the operator knows the container that it gives TF_CONFIG to and whose exit status it reads.
CONTAINER = "tensorflow"

# The operator's own labels of the pods that it makes.
JOB_LABEL = "training.kubeflow.org/job-name"
INDEX_LABEL = "training.kubeflow.org/replica-index"

# Python ignores SIGTERM where it is process 1, and TensorFlow's handler of it lets the process live on: a longer
# wait before SIGKILL would only hold the GPUs.
_GRACE_S = 5

# The launcher watches the time, and says in its own words that it is up. The operator has the same limit for a launcher
# that is gone, a little later.
_DEADLINE_MARGIN_S = 60

# Of a job that ended while its launcher was gone; time to look at what is left of it.
_KEPT_S = 3600


@dataclasses.dataclass(frozen=True)
class Pod:
    """The pod that a launcher runs in.

    Attributes:
      name: its name.
      uid: its unique id.
      namespace: where it is.
    """

    name: str
    uid: str
    namespace: str


@dataclasses.dataclass(frozen=True)
class User:
    """Whom the workers run as: whoever made the shared files, so that each side may write to the other's.

    Attributes:
      uid: the user's number.
      gid: the group's.
    """

    uid: int
    gid: int


def job_name(target: str, arguments: Mapping[str, Any]) -> str:
    """Names the job of an execution.

    The arguments hold the execution's own output folders: a retry has the same name, another run has another one.

    Args:
      target: what the workers call.
      arguments: with what, JSON values.

    Returns:
      A DNS label, short enough for `<name>-worker-<index>` to be one too: workers find each other by that.
    """
    identity = json.dumps([target, arguments], sort_keys=True)
    return f"reviews-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"


def tfjob(config: TFJobConfig, name: str, workers: int, job_file: str, user: User, owner: Optional[Pod]) -> dict:
    """Makes the manifest.

    Args:
      config: what the workers get.
      name: the job's.
      workers: how many.
      job_file: what each is told to do, on the shared volume.
      user: whom they run as.
      owner: a pod that takes the job with it when it is deleted.

    Returns:
      JSON values.
    """
    metadata = {"name": name, "namespace": config.namespace}
    # Kubernetes' garbage collector looks for the owner in the job's own namespace, and would remove a job whose owner
    # is in another one.
    if owner is not None and owner.namespace == config.namespace:
        metadata["ownerReferences"] = [{"apiVersion": "v1", "kind": "Pod", "name": owner.name, "uid": owner.uid}]
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "TFJob",
        "metadata": metadata,
        "spec": {
            "runPolicy": {
                # What has failed stays, for its log; what still runs goes.
                "cleanPodPolicy": "Running",
                "activeDeadlineSeconds": config.timeout_s + _DEADLINE_MARGIN_S,
                "ttlSecondsAfterFinished": _KEPT_S,
                # With ExitCode the operator (1.8, 1.9) counts no more than the first failure; the launcher counts all.
                "backoffLimit": config.restarts,
            },
            "tfReplicaSpecs": {
                "Worker": {
                    "replicas": workers,
                    # An exit status of 128 or more (killed, evicted, `worker.LOST_PEER_STATUS`) starts a worker again
                    # in a new pod, on whatever node; one below ends the job, since a wrong input would fail again.
                    "restartPolicy": "ExitCode",
                    "template": _template(config, job_file, user),
                }
            },
        },
    }


def _template(config: TFJobConfig, job_file: str, user: User) -> dict:
    # Workers talk to each other directly: through a sidecar, gRPC between them fails and the pod never ends.
    istio = {"sidecar.istio.io/inject": "false"}
    spec = {
        "containers": [_container(config, job_file)],
        "volumes": [
            {"name": f"volume-{i}", "persistentVolumeClaim": {"claimName": volume.claim}}
            for i, volume in enumerate(config.volumes)
        ],
        "securityContext": {
            "runAsUser": user.uid,
            "runAsGroup": user.gid,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        # Workers ask nothing of the cluster.
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": _GRACE_S,
    }
    if config.shm_gb:
        memory = {"medium": "Memory", "sizeLimit": _gigabytes(config.shm_gb)}
        spec["volumes"].append({"name": "shm", "emptyDir": memory})
    if config.node_selector:
        spec["nodeSelector"] = dict(config.node_selector)
    if config.tolerations:
        spec["tolerations"] = [_toleration(toleration) for toleration in config.tolerations]
    if config.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in config.image_pull_secrets]
    # Istio's newer releases look at the label, older ones at the annotation.
    return {"metadata": {"annotations": istio, "labels": istio}, "spec": spec}


def _container(config: TFJobConfig, job_file: str) -> dict:
    environment = {
        # What a worker has said is in its log even if it is killed in the next moment.
        "PYTHONUNBUFFERED": "1",
        "TF_USE_LEGACY_KERAS": "1",
        # gRPC would ask a proxy, where one is set, for the other workers, and wait for them for ever.
        "no_grpc_proxy": f".{config.namespace}.svc",
        **config.env,
    }
    mounts = [{"name": f"volume-{i}", "mountPath": volume.path} for i, volume in enumerate(config.volumes)]
    if config.shm_gb:
        mounts.append({"name": "shm", "mountPath": "/dev/shm"})
    container = {
        "name": CONTAINER,
        "image": config.image,
        "command": ["python", "-m", worker.__name__, job_file],
        "workingDir": config.image_dir,
        "env": [
            *({"name": name, "value": value} for name, value in environment.items()),
            *(_from_secret(variable) for variable in config.secrets),
        ],
        "volumeMounts": mounts,
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    limits = _limits(config)
    if limits:
        # Requests that are left out are the limits.
        container["resources"] = {"limits": limits}
    return container


def _limits(config: TFJobConfig) -> dict[str, str]:
    limits = {}
    if config.cpu:
        limits["cpu"] = f"{config.cpu:g}"
    if config.memory_gb:
        limits["memory"] = _gigabytes(config.memory_gb)
    if config.gpus:
        limits[config.gpu_resource] = str(config.gpus)
    return limits


def _gigabytes(count: float) -> str:
    return f"{count:g}G"


def _from_secret(variable: SecretVariable) -> dict:
    return {"name": variable.env, "valueFrom": {"secretKeyRef": {"name": variable.secret, "key": variable.key}}}


def _toleration(toleration: Toleration) -> dict:
    fields = toleration.model_dump(exclude_none=True)
    if "seconds" in fields:
        fields["tolerationSeconds"] = fields.pop("seconds")
    return fields
