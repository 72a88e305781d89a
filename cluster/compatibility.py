"""Refuses what a cluster can't run, now and with a sentence.

The backend accepts uploads and schedules of pipelines that each run then refuses, and drops what it does not know of
the platform document without a word. Nothing here loads TensorFlow or TFX.
"""

import os
import re
from typing import Any, Iterator, Mapping, Optional

import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from core.config import CURATED_SCHEMA, Config
from core.errors import UserError
from core.kubeflow_config import KubeflowConfig

SCHEMA_VERSION = "2.1.0"

# The document's names are those of KFP's `kubernetes_executor_config.proto`.
_PLATFORM_FIELDS = {
    "activeDeadlineSeconds",
    "configMapAsEnv",
    "configMapAsVolume",
    "emptyDirMounts",
    "enabledSharedMemory",
    "fieldPathAsEnv",
    "genericEphemeralVolume",
    "imagePullPolicy",
    "imagePullSecret",
    "nodeAffinity",
    "nodeSelector",
    "podAffinity",
    "podMetadata",
    "pvcMount",
    "secretAsEnv",
    "secretAsVolume",
    "securityContext",
    "tolerations",
}

_PIPELINE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,127}")
_NODE_ID = re.compile(r"[a-zA-Z][-a-zA-Z0-9]*")

# Folders of a pod that are the backend's.
_LAUNCHER_FOLDERS = ("/minio", "/s3", "/gcs", "/tmp", "/kfp-launcher", "/dev/shm")

_PROXIES = {"http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"}
_NO_PROXIES = {"no_proxy", "NO_PROXY"}

# Folders of the repository that the image has beside the code, and where it holds an encoder if it was built with one.
IMAGE_FOLDERS = ("configs", "schema", "data/invariance")
IMAGE_ENCODER = "/opt/encoder"


def check_config(config: Config) -> None:
    """Checks what a configuration asks of a cluster.

    Raises:
      UserError: one or more settings can't work there; all are listed.
    """
    if config.kubeflow is None:
        raise UserError("kubeflow: missing; configs/kubeflow.yaml is an example of the section")
    faults = [*_name_faults(config), *_path_faults(config), *_mount_faults(config.kubeflow), *_pod_faults(config)]
    if faults:
        raise UserError("; ".join(faults))


def check_file(path: str) -> None:
    """Checks a compiled file as `check_text` does.

    Raises:
      UserError: it can't be read, or a run of it would fail.
    """
    try:
        with open(path, encoding="utf-8") as stream:
            text = stream.read()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}; give a file that `compile` wrote") from error
    check_text(text, path)


def check_text(text: str, name: str) -> None:
    """Checks a compiled pipeline for all that is known to fail later than here.

    Args:
      text: YAML of one pipeline document and at most one platform document.
      name: of the file, for messages.

    Raises:
      UserError: says all that is wrong.
    """
    try:
        documents = list(yaml.safe_load_all(text))
    except yaml.YAMLError as error:
        raise UserError(f"{name}: not valid YAML: {' '.join(str(error).split())}") from error
    specs = [document for document in documents if isinstance(document, dict) and "pipelineInfo" in document]
    platforms = [document for document in documents if isinstance(document, dict) and "platforms" in document]
    if len(specs) != 1 or len(platforms) > 1 or len(documents) != len(specs) + len(platforms):
        raise UserError(
            f"{name}: should hold one pipeline document and at most one platform document, but holds {len(specs)} and "
            f"{len(platforms)} of {len(documents)}"
        )
    faults = [*_spec_faults(specs[0]), *_platform_faults(specs[0], platforms[0] if platforms else {})]
    if faults:
        raise UserError(f"{name}: " + "; ".join(faults))


def _name_faults(config: Config) -> Iterator[str]:
    known = node_ids(config)
    for section, names in (
        ("components", config.kubeflow.components),
        *((f"volumes.{volume.claim}.components", volume.components) for volume in config.kubeflow.volumes),
    ):
        for name in names:
            if name not in known:
                yield f"kubeflow.{section}: {name}: no such component; there are {', '.join(sorted(known))}"


def node_ids(config: Config) -> set[str]:
    """Returns the ids of the graph's nodes, without building it: that takes seconds of imports."""
    encoder = "HubEncoder" if config.encoder.source == "hub" else "EncoderPretrainer"
    schema = "SchemaGen" if config.data.schema_file is None else "ImportSchemaGen"
    names = "TsvExampleGen StatisticsGen ExampleValidator DataGate Trainer BaselineModel Evaluator ModelGate"
    return {*names.split(), encoder, schema, "ServingValidator", "Pusher", "RunReport", "RunOutcome"}


def _path_faults(config: Config) -> Iterator[str]:
    """What a pod would not find: a folder of this machine."""
    kubeflow, repo = config.kubeflow, os.path.dirname(os.path.dirname(CURATED_SCHEMA))
    everywhere = [volume.path for volume in kubeflow.volumes if not volume.components]
    for key, path, needs in (
        ("serving.dir", config.serving.dir, ("DataGate", "BaselineModel", "Pusher")),
        ("kubeflow.work_dir", kubeflow.work_dir, ()),
        ("data.train", config.data.train, ("TsvExampleGen",)),
        ("data.test", config.data.test, ("TsvExampleGen",)),
    ):
        if key == "serving.dir" and path is None:
            yield "serving.dir: missing; on a cluster it should be a folder on a volume of kubeflow.volumes"
        elif path is not None and "://" not in path and not _on_volume(path, needs, kubeflow, everywhere):
            who = " and ".join(needs) if needs else "every component"
            instead = ", or give an address" if key.startswith("data.") else ""
            yield f"{key} = {path}: should be on a volume of kubeflow.volumes that {who} has{instead}"
    for key, path in (
        ("data.schema_file", config.data.schema_file),
        ("gates.invariance.pairs", config.gates.invariance.pairs),
    ):
        if path is not None and not _in_image(path, repo, kubeflow.image_dir):
            folders = ", ".join(IMAGE_FOLDERS)
            yield f"{key} = {path}: is not in the image, which has {folders} of this repository; put the file there"
    handle = config.encoder.handle
    if config.encoder.source == "hub" and os.sep in handle and "://" not in handle:
        if (
            handle != IMAGE_ENCODER
            and not handle.startswith(IMAGE_ENCODER + "/")
            and not _on_volume(handle, ("HubEncoder",), kubeflow, everywhere)
        ):
            yield (
                f"encoder.handle = {handle}: is on no volume that HubEncoder mounts, nor the image's own "
                f"{IMAGE_ENCODER}; give a name of the catalogue, an address, or one of those"
            )


def _mount_faults(kubeflow: KubeflowConfig) -> Iterator[str]:
    for volume in kubeflow.volumes:
        for taken in (kubeflow.image_dir, *_LAUNCHER_FOLDERS):
            if os.path.commonpath([volume.path, taken]) in (volume.path, taken):
                yield f"kubeflow.volumes: {volume.claim}: path = {volume.path} would hide {taken} from its tasks"


def _in_image(path: str, repo: str, image_dir: str) -> bool:
    """Whether the image has a file: by its path there, or as one of this repository that the image is given."""
    if path.startswith(image_dir + os.sep):
        return True
    folders = tuple(os.path.join(repo, folder, "") for folder in IMAGE_FOLDERS)
    return path.startswith(folders) and os.path.isfile(path)


def _on_volume(path: str, needs: tuple[str, ...], kubeflow: KubeflowConfig, everywhere: list[str]) -> bool:
    def holds(mount: str) -> bool:
        return path == mount or path.startswith(mount + "/")

    if any(holds(mount) for mount in everywhere):
        return True
    return bool(needs) and all(
        any(holds(volume.path) for volume in kubeflow.volumes if component in volume.components) for component in needs
    )


def _pod_faults(config: Config) -> Iterator[str]:
    kubeflow = config.kubeflow
    for name in (*kubeflow.components, "defaults"):
        pod = kubeflow.defaults if name == "defaults" else kubeflow.pod(name)
        where = "kubeflow.defaults" if name == "defaults" else f"kubeflow.components.{name}"
        if pod.gpus and name != "Trainer":
            yield f"{where}.gpus = {pod.gpus}: only the Trainer uses GPUs; others would hold them idle"
        if pod.gpus and pod.gpu_resource is None:
            yield f"{where}.gpu_resource: missing beside gpus = {pod.gpus}; should be a resource such as nvidia.com/gpu"
        variables = {*pod.env, *(secret.env for secret in pod.secrets)}
        if variables & _PROXIES and not variables & _NO_PROXIES:
            yield (
                f"{where}.env: {min(variables & _PROXIES)} without no_proxy: the backend would ask "
                "the proxy for the cluster's services, from inside the pod; see docs/kubeflow.md"
            )
        if pod.shm_gb and pod.memory_gb and pod.shm_gb >= pod.memory_gb:
            yield f"{where}.shm_gb = {pod.shm_gb}: counts against memory_gb = {pod.memory_gb}, so it should be less"
    if config.trainer.device == "gpu" and not kubeflow.pod("Trainer").gpus:
        yield "trainer.device = gpu: kubeflow.components.Trainer.gpus gives it none"


def _spec_faults(spec: Mapping[str, Any]) -> Iterator[str]:
    """What a run of the pipeline document would be refused for, or lose in silence."""
    yield from _format_faults(spec)
    version = spec.get("schemaVersion")
    if version != SCHEMA_VERSION:
        yield f"schemaVersion = {version}: should be {SCHEMA_VERSION}, the only one that the backend takes"
    name = spec["pipelineInfo"].get("name", "")
    if not _PIPELINE_NAME.fullmatch(name):
        yield f"pipelineInfo.name = {name!r}: should be small letters, digits and hyphens, at most 128"
    for task in _task_ids(spec):
        if not _NODE_ID.fullmatch(task):
            yield f"task {task}: should be letters, digits and hyphens, a letter first, or each run is refused"
    for label, executor in spec.get("deploymentSpec", {}).get("executors", {}).items():
        yield from _executor_faults(label, executor)
    yield from _reference_faults(spec)


def _format_faults(spec: Mapping[str, Any]) -> Iterator[str]:
    for where, part, message in (
        ("", spec, pipeline_spec_pb2.PipelineSpec()),
        # A free-form part of the spec, in which the backend drops what it does not know.
        ("deploymentSpec: ", spec.get("deploymentSpec", {}), pipeline_spec_pb2.PipelineDeploymentConfig()),
    ):
        try:
            json_format.ParseDict(part, message)
        except json_format.ParseError as error:
            yield f"{where}not the format of a pipeline: {' '.join(str(error).split())}"


def _executor_faults(label: str, executor: Mapping[str, Any]) -> Iterator[str]:
    if "resolver" in executor:
        yield f"{label}: a Resolver; the backend refuses every run of one: read the artifact in a component instead"
    if "lifecycle" in executor.get("container", {}):
        yield f"{label}: a driver hook (lifecycle), which the backend never calls; a class-based component has none"
    constant = executor.get("importer", {}).get("artifactUri", {}).get("constant", "minio://")
    if "://" not in str(constant):
        yield f"{label}: imports {constant}; an Importer takes minio://, s3:// or gs:// addresses only"


def _reference_faults(spec: Mapping[str, Any]) -> Iterator[str]:
    """Inputs that nothing provides: a misspelt parameter fails each run, and TFX nests some that can't work."""
    for component, dag in _dags(spec):
        declared = component.get("inputDefinitions", {}).get("parameters", {})
        for task, body in dag.get("tasks", {}).items():
            for name, source in body.get("inputs", {}).get("parameters", {}).items():
                wanted = source.get("componentInputParameter")
                if wanted is not None and wanted not in declared:
                    yield f"task {task}: its input {name} is the parameter {wanted}, which is not declared"
                if "RuntimeParameter" in str(source.get("runtimeValue", "")):
                    yield f"task {task}: its input {name} has a RuntimeParameter inside a value, where none is filled"
            for other in body.get("dependentTasks", ()):
                if other not in dag["tasks"]:
                    yield f"task {task}: waits for {other}, which does not exist"


def _dags(spec: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    for component in (spec.get("root", {}), *spec.get("components", {}).values()):
        if "dag" in component:
            yield component, component["dag"]


def _task_ids(spec: Mapping[str, Any]) -> Iterator[str]:
    for _, dag in _dags(spec):
        yield from dag.get("tasks", {})


def _platform_faults(spec: Mapping[str, Any], document: Mapping[str, Any]) -> Iterator[str]:
    """What the backend would drop of the platform document without a word."""
    if not document:
        return
    executors = document
    for key in ("platforms", "kubernetes", "deploymentSpec", "executors"):
        if not isinstance(executors, dict):
            yield f"platform document: {executors!r}: should be a mapping with {key}"
            return
        unknown = _only(executors, key)
        if unknown is not None:
            yield f"platform document: {unknown}: no such field beside {key}; for it the backend drops all the rest"
        executors = executors.get(key, {})
    labels = spec.get("deploymentSpec", {}).get("executors", {})
    if not isinstance(executors, dict) or not all(isinstance(settings, dict) for settings in executors.values()):
        yield f"platform document: executors: {executors!r}: should be mappings by executor"
        return
    for label, settings in executors.items():
        if label not in labels:
            yield f"platform document: {label}: no such executor; there are {', '.join(sorted(labels))}"
        for field in settings:
            if field not in _PLATFORM_FIELDS:
                known = ", ".join(sorted(_PLATFORM_FIELDS))
                yield f"platform document: {label}.{field}: no such field; there are {known}"


def _only(document: Mapping[str, Any], key: str) -> Optional[str]:
    return next((other for other in document if other != key), None)
