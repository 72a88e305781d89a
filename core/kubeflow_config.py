"""The configuration's section `kubeflow`: what a cluster gives each component, and where the cluster is."""

import re
from typing import Annotated, Literal, Mapping, Optional

import pydantic

from core.section import Count, Positive, Section

# RFC 1123 names, as Kubernetes asks for of claims, secrets, namespaces and service accounts.
KubernetesName = Annotated[str, pydantic.Field(pattern=r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$")]
EnvName = Annotated[str, pydantic.Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
# A label's or a resource's key: an optional domain, a slash, a name.
QualifiedName = Annotated[
    str, pydantic.Field(pattern=r"^([a-z0-9.-]+/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$")
]
LabelValue = Annotated[str, pydantic.Field(pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$")]
AbsolutePath = Annotated[str, pydantic.Field(pattern=r"^/[^\s]*[^/\s]$")]
Image = Annotated[str, pydantic.Field(pattern=r"^[a-z0-9][\w./:@-]*$")]

# Where the root of a run's artifacts may be; the launcher fails on anything else, in the first task of each run.
ROOT_SCHEMES = ("minio://", "s3://", "gs://")


class SecretVariable(Section):
    """An environment variable whose value is a key of a Kubernetes secret."""

    env: EnvName
    secret: KubernetesName
    key: str


class Toleration(Section):
    """A taint of nodes that pods may be put on all the same."""

    key: Optional[QualifiedName] = None
    operator: Literal["Equal", "Exists"] = "Equal"
    value: Optional[LabelValue] = None
    effect: Optional[Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]] = None
    seconds: Optional[Annotated[int, pydantic.Field(ge=0)]] = None

    @pydantic.model_validator(mode="after")
    def _meaningful(self) -> "Toleration":
        if self.operator == "Exists" and self.value is not None:
            raise ValueError(f"value: {self.value}: operator Exists takes none")
        if self.operator == "Equal" and self.key is None:
            raise ValueError("key: missing; only operator Exists goes without")
        return self


class Volume(Section):
    """A persistent volume claim, mounted at one path in the pods that share it."""

    claim: KubernetesName
    path: AbsolutePath
    # Ids of components; none is all of them.
    components: tuple[str, ...] = ()


class PodConfig(Section):
    """What the pod of one component gets; a value left out is that of `kubeflow.defaults`."""

    image: Optional[Image] = None
    cpu: Optional[Positive] = None
    memory_gb: Optional[Positive] = None
    gpus: Optional[Annotated[int, pydantic.Field(ge=0)]] = None
    # The name of the resource, used as it is.
    gpu_resource: Optional[QualifiedName] = None
    # A memory-backed /dev/shm, which counts against `memory_gb`: several GPUs of one pod exchange gradients through it.
    shm_gb: Optional[Positive] = None
    retries: Optional[Annotated[int, pydantic.Field(ge=0, le=10)]] = None
    env: Mapping[EnvName, str] = {}
    secrets: tuple[SecretVariable, ...] = ()
    node_selector: Mapping[QualifiedName, LabelValue] = {}
    tolerations: tuple[Toleration, ...] = ()
    image_pull_secrets: tuple[KubernetesName, ...] = ()


class WorkersConfig(Section):
    """The TFJob that trains where `trainer.workers` is more than one; its pods get what the Trainer's section says."""

    namespace: KubernetesName = "kubeflow"
    # From its creation to its end; the job is removed then.
    timeout_s: Count = 86_400
    # How often the operator starts a lost worker again before the job has failed.
    restarts: Annotated[int, pydantic.Field(ge=0)] = 3


class KubeflowConfig(Section):
    """A cluster with Kubeflow Pipelines v2."""

    image: Image
    # The image's working directory, which holds this repository.
    image_dir: AbsolutePath = "/app"
    # None is the cluster's own default.
    pipeline_root: Optional[str] = None
    defaults: PodConfig = PodConfig()
    components: Mapping[str, PodConfig] = {}
    volumes: tuple[Volume, ...] = ()
    # A folder on a volume that all components share: what a killed training goes on from, and what each run came to.
    work_dir: AbsolutePath
    workers: WorkersConfig = WorkersConfig()

    # The UI's address, which hands on what is for the API server, or that server's own.
    host: Annotated[str, pydantic.Field(pattern=r"^https?://")] = "http://localhost:8080"
    namespace: KubernetesName = "kubeflow"
    experiment: str = "reviews"
    service_account: Optional[KubernetesName] = None

    @pydantic.field_validator("pipeline_root")
    @classmethod
    def _scheme(cls, value: Optional[str]) -> Optional[str]:
        if value is not None and not re.match("|".join(ROOT_SCHEMES), value):
            raise ValueError(f"should start with {', '.join(ROOT_SCHEMES[:-1])} or {ROOT_SCHEMES[-1]}")
        return value

    @pydantic.field_validator("volumes")
    @classmethod
    def _one_volume_a_path(cls, value: tuple[Volume, ...]) -> tuple[Volume, ...]:
        paths = [volume.path for volume in value]
        for path in paths:
            if paths.count(path) > 1:
                raise ValueError(f"path: {path} is taken by more than one volume")
        return value

    def pod(self, component: str) -> PodConfig:
        """What a component's pod gets: its own values over the defaults; of mappings and lists both."""
        below, above = self.defaults, self.components.get(component, PodConfig())
        values = {name: _over(getattr(below, name), getattr(above, name)) for name in PodConfig.model_fields}
        return PodConfig(**{**values, "image": values["image"] or self.image})


def _over(below: object, above: object) -> object:
    if isinstance(below, Mapping):
        return {**below, **above}
    if isinstance(below, tuple):
        return (*below, *(value for value in above if value not in below))
    return below if above is None else above
