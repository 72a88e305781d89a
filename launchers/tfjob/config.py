"""What the workers' pods get and how long they may take: `custom_config["tfjob"]` of the Trainer."""

import os
from typing import Annotated, Mapping, Optional

import pydantic

from core.kubeflow_config import (
    AbsolutePath,
    EnvName,
    Image,
    KubernetesName,
    LabelValue,
    QualifiedName,
    SecretVariable,
    Toleration,
    Volume,
)
from core.section import Count, Positive, Section


class TFJobConfig(Section):
    """One TFJob."""

    namespace: KubernetesName
    image: Image
    # The image's working directory, which holds this repository.
    image_dir: AbsolutePath
    # Of each worker; None is no limit.
    cpu: Optional[Positive] = None
    memory_gb: Optional[Positive] = None
    gpus: Optional[Annotated[int, pydantic.Field(ge=0)]] = None
    gpu_resource: Optional[QualifiedName] = None
    shm_gb: Optional[Positive] = None
    # At the same paths as in the Trainer's pod.
    volumes: tuple[Volume, ...]
    env: Mapping[EnvName, str] = {}
    secrets: tuple[SecretVariable, ...] = ()
    node_selector: Mapping[QualifiedName, LabelValue] = {}
    tolerations: tuple[Toleration, ...] = ()
    image_pull_secrets: tuple[KubernetesName, ...] = ()
    # From the job's creation to its end, the wait for free nodes included.
    timeout_s: Count
    # How often each worker may be started again.
    restarts: Annotated[int, pydantic.Field(ge=0)]
    # A folder on one of the volumes, through which the Trainer's pod and the workers exchange files.
    shared_dir: AbsolutePath

    @pydantic.model_validator(mode="after")
    def _reachable(self) -> "TFJobConfig":
        paths = [volume.path for volume in self.volumes]
        if not any(os.path.commonpath([path, self.shared_dir]) == path for path in paths):
            raise ValueError(
                f"shared_dir: {self.shared_dir} lies on none of the volumes ({', '.join(paths) or 'none'})"
            )
        return self

    @pydantic.model_validator(mode="after")
    def _named_gpus(self) -> "TFJobConfig":
        if self.gpus and self.gpu_resource is None:
            raise ValueError(
                f"gpu_resource: missing; {self.gpus} GPUs are asked for (nvidia.com/gpu is the usual name)"
            )
        return self
