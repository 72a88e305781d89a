"""The job's configuration: `custom_config["cluster_job"]` of the Trainer."""

import os

import pydantic

from core.kubeflow_config import AbsolutePath, Pod, Volume, WorkersConfig


class ClusterJobConfig(WorkersConfig):
    """One job: `kubeflow.workers`, and the pod of each worker."""

    pod: Pod
    # Mounted at the same paths as in the Trainer's pod.
    volumes: tuple[Volume, ...]
    # The image's working directory, which holds this repository.
    image_dir: AbsolutePath
    # A folder on one of the volumes, through which the Trainer's pod and the workers exchange files.
    shared_dir: AbsolutePath

    @pydantic.model_validator(mode="after")
    def _check_shared_dir(self) -> "ClusterJobConfig":
        paths = [volume.path for volume in self.volumes]
        if not any(os.path.commonpath([path, self.shared_dir]) == path for path in paths):
            raise ValueError(f"shared_dir = {self.shared_dir}: should be on one of the volumes ({', '.join(paths)})")
        return self

    @pydantic.model_validator(mode="after")
    def _check_gpu_resource(self) -> "ClusterJobConfig":
        if self.pod.gpus and self.pod.gpu_resource is None:
            raise ValueError(f"pod.gpu_resource: missing with gpus = {self.pod.gpus}; usually nvidia.com/gpu")
        return self
