"""The platform document, the second of a compiled pipeline: Kubernetes settings of the pods besides CPU and memory.

The backend silently drops the whole document if it has an unknown top-level field, and drops the entries of executors
that do not exist, so the document is built only from validated settings. Names and structure are those of KFP's
`kubernetes_executor_config.proto`.
"""

from typing import Any, Mapping, Sequence

from core.kubeflow_config import Pod, Volume, gigabytes


def make(pods: Mapping[str, Pod], volumes: Mapping[str, Sequence[Volume]]) -> dict[str, Any]:
    """Returns the document.

    Args:
      pods: executor label -> settings of its pod.
      volumes: executor label -> volumes mounted in its pod.
    """
    executors = {label: _executor(pod, volumes.get(label, ())) for label, pod in pods.items()}
    return {"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors}}}}


def _executor(pod: Pod, volumes: Sequence[Volume]) -> dict[str, Any]:
    parts = {
        "pvcMount": [{"constant": volume.claim, "mountPath": volume.path} for volume in volumes],
        "nodeSelector": {"labels": dict(pod.node_selector)} if pod.node_selector else {},
        "tolerations": [toleration.manifest() for toleration in pod.tolerations],
        "secretAsEnv": [
            {"secretName": s.secret, "keyToEnv": [{"secretKey": s.key, "envVar": s.env}]} for s in pod.secrets
        ],
        "imagePullSecret": [{"secretName": name} for name in pod.image_pull_secrets],
        "emptyDirMounts": [_shared_memory(pod.shm_gb)] if pod.shm_gb else [],
    }
    return {name: part for name, part in parts.items() if part}


def _shared_memory(size_gb: float) -> dict[str, str]:
    return {"volumeName": "shm", "mountPath": "/dev/shm", "medium": "Memory", "sizeLimit": gigabytes(size_gb)}
