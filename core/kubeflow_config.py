"""The configuration's section `kubeflow`: the pod of each component, and the cluster's address."""

import re
from typing import Annotated, Any, Literal, Mapping, Optional

import pydantic

from core.section import Count, Positive, Section

# RFC 1123, which Kubernetes requires of the names of claims, secrets, namespaces and service accounts.
KubernetesName = Annotated[str, pydantic.Field(pattern=r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$")]
EnvName = Annotated[str, pydantic.Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
# A label's or a resource's key: an optional domain, a slash, a name.
QualifiedName = Annotated[
    str, pydantic.Field(pattern=r"^([a-z0-9.-]+/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$")
]
LabelValue = Annotated[str, pydantic.Field(pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$")]
AbsolutePath = Annotated[str, pydantic.Field(pattern=r"^/[^\s]*[^/\s]$")]
Image = Annotated[str, pydantic.Field(pattern=r"^[a-z0-9][\w./:@-]*$")]

# Schemes of a pipeline root; with any other one the first task of every run fails.
ROOT_SCHEMES = ("minio://", "s3://", "gs://")


class SecretVariable(Section):
    """An environment variable whose value is a key of a Kubernetes secret."""

    env: EnvName
    secret: KubernetesName
    key: str


class Toleration(Section):
    """A toleration: pods may be scheduled on nodes with this taint."""

    key: Optional[QualifiedName] = None
    operator: Literal["Equal", "Exists"] = "Equal"
    value: Optional[LabelValue] = None
    effect: Optional[Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]] = None
    seconds: Optional[Annotated[int, pydantic.Field(ge=0)]] = None

    @pydantic.model_validator(mode="after")
    def _check_operator(self) -> "Toleration":
        if self.operator == "Exists" and self.value is not None:
            raise ValueError(f"value = {self.value}: operator Exists takes no value")
        if self.operator == "Equal" and self.key is None:
            raise ValueError("key: missing; only operator Exists does not need it")
        return self

    def manifest(self) -> dict[str, Any]:
        """Returns the toleration in the format of Kubernetes and of KFP's platform document."""
        fields = self.model_dump(exclude_none=True)
        if "seconds" in fields:
            fields["tolerationSeconds"] = fields.pop("seconds")
        return fields


class Volume(Section):
    """A persistent volume claim, mounted at one path in the pods that share it."""

    claim: KubernetesName
    path: AbsolutePath
    # Ids of components; empty for all.
    components: tuple[str, ...] = ()


class PodConfig(Section):
    """A component's pod; missing values are taken from `kubeflow.defaults`.

    All memory is in GB of 10^9 bytes, the unit of the backend's `memoryLimit`; see `gigabytes`.
    """

    image: Optional[Image] = None
    cpu: Optional[Positive] = None
    memory_gb: Optional[Positive] = None
    gpus: Optional[Annotated[int, pydantic.Field(ge=0)]] = None
    # The resource's name, such as nvidia.com/gpu.
    gpu_resource: Optional[QualifiedName] = None
    # /dev/shm, through which the GPUs of a pod exchange gradients. It is memory and counts against `memory_gb`.
    shm_gb: Optional[Positive] = None
    retries: Optional[Annotated[int, pydantic.Field(ge=0, le=10)]] = None
    env: Mapping[EnvName, str] = {}
    secrets: tuple[SecretVariable, ...] = ()
    node_selector: Mapping[QualifiedName, LabelValue] = {}
    tolerations: tuple[Toleration, ...] = ()
    image_pull_secrets: tuple[KubernetesName, ...] = ()


class Pod(PodConfig):
    """A pod with the defaults applied."""

    image: Image


class WorkersConfig(Section):
    """The job that trains if `trainer.workers` is more than one; its pods are configured as the Trainer's."""

    # A TFJob of the Training Operator v1, or a TrainJob of Kubeflow Trainer v2.
    kind: Literal["tfjob", "trainjob"] = "tfjob"
    namespace: KubernetesName = "kubeflow"
    # From the job's creation to its end, including the wait for free nodes.
    timeout_s: Count = 86_400
    # How often the operator restarts each worker before the job fails.
    restarts: Annotated[int, pydantic.Field(ge=0)] = 3


class KubeflowConfig(Section):
    """A cluster with Kubeflow Pipelines v2."""

    image: Image
    # The image's working directory, which holds this repository.
    image_dir: AbsolutePath = "/app"
    # Default: the cluster's.
    pipeline_root: Optional[str] = None
    defaults: PodConfig = PodConfig()
    components: Mapping[str, PodConfig] = {}
    volumes: tuple[Volume, ...] = ()
    # A folder on a volume that all components share, for the checkpoints of trainings and the outcome of each run.
    work_dir: AbsolutePath
    workers: WorkersConfig = WorkersConfig()

    # The address of the UI, which forwards API requests, or of the API server.
    host: Annotated[str, pydantic.Field(pattern=r"^https?://")] = "http://localhost:8080"
    namespace: KubernetesName = "kubeflow"
    experiment: str = "reviews"
    service_account: Optional[KubernetesName] = None

    @pydantic.field_validator("pipeline_root")
    @classmethod
    def _check_scheme(cls, value: Optional[str]) -> Optional[str]:
        if value is not None and not re.match("|".join(ROOT_SCHEMES), value):
            raise ValueError(f"should start with {', '.join(ROOT_SCHEMES[:-1])} or {ROOT_SCHEMES[-1]}")
        return value

    @pydantic.field_validator("volumes")
    @classmethod
    def _paths_are_distinct(cls, value: tuple[Volume, ...]) -> tuple[Volume, ...]:
        paths = [volume.path for volume in value]
        for path in paths:
            if paths.count(path) > 1:
                raise ValueError(f"path = {path}: is used by more than one volume")
        return value

    def pod(self, component: str) -> Pod:
        """Returns a component's pod: its own values override the defaults; mappings and lists are merged."""
        own = self.components.get(component, PodConfig())
        values = {name: _merge(getattr(self.defaults, name), getattr(own, name)) for name in PodConfig.model_fields}
        return Pod.model_validate({**values, "image": values["image"] or self.image})


def gigabytes(count: float) -> str:
    """Formats GB of 10^9 bytes as a Kubernetes quantity, in MB because a quantity of bytes has to be whole."""
    return f"{round(count * 1000)}M"


def _merge(default: Any, own: Any) -> Any:
    if isinstance(default, Mapping):
        return {**default, **own}
    if isinstance(default, tuple):
        return (*default, *(value for value in own if value not in default))
    return default if own is None else own
