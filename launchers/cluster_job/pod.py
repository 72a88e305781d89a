"""The manifest of a worker's pod, and what all kinds of jobs have in common. Pure."""

import dataclasses
import hashlib
import json
from typing import Any, Mapping, Optional, Sequence

from core.kubeflow_config import Pod, SecretVariable, gigabytes
from launchers import worker
from launchers.cluster_job.config import ClusterJobConfig

# Python ignores SIGTERM as process 1, and TensorFlow's handler does not end the process: a longer wait before SIGKILL
# would only hold the GPUs.
_GRACE_S = 5

# The launcher ends the job after `timeout_s`, with its own message. The operator's limit, for a launcher that is gone,
# comes a little later.
_DEADLINE_MARGIN_S = 60


@dataclasses.dataclass(frozen=True)
class Owner:
    """The pod that the launcher runs in."""

    name: str
    uid: str
    namespace: str


@dataclasses.dataclass(frozen=True)
class User:
    """User and group ids of the workers: those of the launcher, so that each can write to the other's files."""

    uid: int
    gid: int


def job_name(target: str, arguments: Mapping[str, Any]) -> str:
    """Names the job of an execution.

    The arguments contain the execution's output folders, so a retry has the same name and another run has another.

    Args:
      target: import path of the function that the workers call.
      arguments: its arguments, JSON values.

    Returns:
      A DNS label, short enough for `<name>-worker-<index>`, the workers' host names, to be one too.
    """
    identity = json.dumps([target, arguments], sort_keys=True)
    return f"reviews-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"


def metadata(config: ClusterJobConfig, name: str, owner: Optional[Owner]) -> dict[str, Any]:
    """Returns the metadata of an object of a job.

    Args:
      config: the job's configuration.
      name: the job's name.
      owner: a pod whose deletion also deletes the object.
    """
    result: dict[str, Any] = {"name": name, "namespace": config.namespace}
    # Kubernetes' garbage collector looks for the owner in the job's namespace only, and would delete a job whose owner
    # is in another one.
    if owner is not None and owner.namespace == config.namespace:
        result["ownerReferences"] = [{"apiVersion": "v1", "kind": "Pod", "name": owner.name, "uid": owner.uid}]
    return result


def deadline_s(config: ClusterJobConfig) -> int:
    """Returns the time after which the operator ends a job whose launcher is gone."""
    return config.timeout_s + _DEADLINE_MARGIN_S


def template(
    config: ClusterJobConfig, container: str, job_file: str, user: User, env: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    """Returns the template of a worker's pod, JSON values.

    Args:
      config: the job's configuration.
      container: name of the container.
      job_file: the job's file on the shared volume.
      user: the worker's user.
      env: environment variables, in addition to those of the configuration.
    """
    # Workers connect to each other directly: with a sidecar gRPC between them fails, and the pod never ends.
    istio = {"sidecar.istio.io/inject": "false"}
    pod = config.pod
    spec: dict[str, Any] = {
        "containers": [_container(config, container, job_file, env)],
        "volumes": [
            {"name": f"volume-{i}", "persistentVolumeClaim": {"claimName": volume.claim}}
            for i, volume in enumerate(config.volumes)
        ],
        "securityContext": {
            "runAsUser": user.uid,
            "runAsGroup": user.gid,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        # Workers do not call the Kubernetes API.
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": _GRACE_S,
    }
    if pod.shm_gb:
        memory = {"medium": "Memory", "sizeLimit": gigabytes(pod.shm_gb)}
        spec["volumes"].append({"name": "shm", "emptyDir": memory})
    if pod.node_selector:
        spec["nodeSelector"] = dict(pod.node_selector)
    if pod.tolerations:
        spec["tolerations"] = [toleration.manifest() for toleration in pod.tolerations]
    if pod.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in pod.image_pull_secrets]
    # Newer releases of Istio read the label, older ones the annotation.
    return {"metadata": {"annotations": istio, "labels": istio}, "spec": spec}


def _container(config: ClusterJobConfig, name: str, job_file: str, env: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    environment = {
        # So that the log of a killed worker is complete.
        "PYTHONUNBUFFERED": "1",
        "TF_USE_LEGACY_KERAS": "1",
        # If a proxy is set, gRPC would look for the other workers through it, and wait forever.
        "no_grpc_proxy": f".{config.namespace}.svc",
        **config.pod.env,
    }
    mounts = [{"name": f"volume-{i}", "mountPath": volume.path} for i, volume in enumerate(config.volumes)]
    if config.pod.shm_gb:
        mounts.append({"name": "shm", "mountPath": "/dev/shm"})
    container: dict[str, Any] = {
        "name": name,
        "image": config.pod.image,
        "command": ["python", "-m", worker.__name__, job_file],
        "workingDir": config.image_dir,
        "env": [
            *({"name": variable, "value": value} for variable, value in environment.items()),
            *(_from_secret(variable) for variable in config.pod.secrets),
            *env,
        ],
        "volumeMounts": mounts,
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    limits = _limits(config.pod)
    if limits:
        # Kubernetes takes missing requests from the limits.
        container["resources"] = {"limits": limits}
    return container


def _limits(pod: Pod) -> dict[str, str]:
    limits = {}
    if pod.cpu:
        limits["cpu"] = f"{pod.cpu:g}"
    if pod.memory_gb:
        limits["memory"] = gigabytes(pod.memory_gb)
    if pod.gpus and pod.gpu_resource:
        limits[pod.gpu_resource] = str(pod.gpus)
    return limits


def _from_secret(variable: SecretVariable) -> dict:
    return {"name": variable.env, "valueFrom": {"secretKeyRef": {"name": variable.secret, "key": variable.key}}}
