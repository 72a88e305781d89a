"""Refuses configurations and compiled files that a cluster can't run, before they are uploaded.

The backend accepts uploads and schedules of some pipelines although each of their runs fails, and silently drops
unknown parts of the platform document. This module imports neither TensorFlow nor TFX.
"""

import itertools
import os
import re
from typing import Any, Iterator, Mapping, Sequence

import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from components.hub_encoder import catalogue
from core import escape
from core.config import AUTO_PAIRS, CURATED_SCHEMA, Config, TextsConfig
from core.errors import UserError
from core.kubeflow_config import KubeflowConfig

SCHEMA_VERSION = "2.1.0"

# From KFP's `kubernetes_executor_config.proto`.
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

# Folders that the backend uses in a pod.
_LAUNCHER_FOLDERS = ("/minio", "/s3", "/gcs", "/tmp", "/kfp-launcher", "/dev/shm")

_PROXIES = {"http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"}
_NO_PROXIES = {"no_proxy", "NO_PROXY"}

# Folders of the repository that the image contains besides the code, and the folder of its encoder, if any.
IMAGE_FOLDERS = ("configs", "schema", "data/invariance")
IMAGE_ENCODER = "/opt/encoder"


# Components that run on Beam.
_BEAM_COMPONENTS = ("TsvExampleGen", "StatisticsGen", "Evaluator")


def check_config(config: Config) -> None:
    """Checks a configuration's settings for a cluster.

    Raises:
      UserError: some can't work on a cluster; the message lists all of them.
    """
    kubeflow = kubeflow_section(config)
    faults = [
        *_name_faults(config, kubeflow),
        *_letter_faults(kubeflow),
        *_encoder_faults(config),
        *_path_faults(config, kubeflow),
        *_mount_faults(kubeflow),
        *_beam_faults(config, kubeflow),
        *_pod_faults(config, kubeflow),
    ]
    if faults:
        raise UserError("; ".join(faults))


def kubeflow_section(config: Config) -> KubeflowConfig:
    """Returns the section `kubeflow`.

    Raises:
      UserError: the configuration has none.
    """
    if config.kubeflow is None:
        raise UserError("kubeflow: missing section; see configs/kubeflow.yaml for an example")
    return config.kubeflow


def check_file(path: str) -> None:
    """Checks a compiled file as `check_text` does.

    Raises:
      UserError: it can't be read, or a run of it would fail.
    """
    try:
        with open(path, encoding="utf-8") as stream:
            text = stream.read()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}; should be a file written by `compile`") from error
    check_text(text, path)


def check_text(text: str, name: str) -> None:
    """Checks a compiled pipeline for everything that is known to fail later.

    Args:
      text: YAML of one pipeline document and at most one platform document.
      name: of the file, for messages.

    Raises:
      UserError: the pipeline has faults; the message lists all of them.
    """
    try:
        documents = list(yaml.safe_load_all(text))
    except yaml.YAMLError as error:
        raise UserError(f"{name}: not valid YAML: {' '.join(str(error).split())}") from error
    specs = [document for document in documents if isinstance(document, dict) and "pipelineInfo" in document]
    platforms = [document for document in documents if isinstance(document, dict) and "platforms" in document]
    if len(specs) != 1 or len(platforms) > 1 or len(documents) != len(specs) + len(platforms):
        raise UserError(
            f"{name}: should contain one pipeline document and at most one platform document; it has {len(specs)} and "
            f"{len(platforms)}, among {len(documents)} documents"
        )
    faults = [
        *_spec_faults(specs[0]),
        *_platform_faults(specs[0], platforms[0] if platforms else {}),
        *itertools.islice(_file_letter_faults(documents), 1),
    ]
    if faults:
        raise UserError(f"{name}: " + "; ".join(faults))


def _name_faults(config: Config, kubeflow: KubeflowConfig) -> Iterator[str]:
    known = node_ids(config)
    for section, names in (
        ("components", kubeflow.components),
        *((f"volumes.{volume.claim}.components", volume.components) for volume in kubeflow.volumes),
    ):
        for name in names:
            if name not in known:
                yield f"kubeflow.{section}: {name}: no such component; should be one of {', '.join(sorted(known))}"


def _letter_faults(kubeflow: KubeflowConfig) -> Iterator[str]:
    """Yields settings of pods that are not ASCII; the compiler escapes only parameters."""
    # The client sends these beside the file.
    settings = kubeflow.model_dump(mode="json", exclude={"experiment", "host"})
    for path, text in _texts(settings):
        if not text.isascii():
            yield f"kubeflow.{path}: {escape.quote(text)}: should be ASCII, since Kubeflow's database may refuse it"


def _file_letter_faults(documents: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for document in documents:
        for path, text in _texts(document):
            if not text.isascii():
                yield (
                    f"{path}: {escape.quote(text)}: not ASCII, so Kubeflow's database may refuse it; compile the "
                    "configuration again"
                )


def _texts(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yields the path and the text of each string in a JSON value; a key is a text too."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, each in value.items():
            below = f"{path}.{key}" if path else str(key)
            yield below, str(key)
            yield from _texts(each, below)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _texts(each, path)


def _encoder_faults(config: Config) -> Iterator[str]:
    if config.encoder.source == "hub":
        try:
            catalogue.check_names(config.encoder.handle, config.encoder.preprocess or "")
        except UserError as error:
            yield str(error)


def node_ids(config: Config) -> set[str]:
    """Returns the ids of the graph's nodes, without building the graph: its imports take seconds."""
    encoder = "HubEncoder" if config.encoder.source == "hub" else "EncoderPretrainer"
    schema = "SchemaGen" if config.data.schema_file is None else "ImportSchemaGen"
    names = "TsvExampleGen StatisticsGen ExampleValidator DataGate Trainer BaselineModel Evaluator ModelGate"
    teachers = ["TeacherLabels"] if config.distill else []
    return {*names.split(), *teachers, encoder, schema, "ServingValidator", "Pusher", "RunReport", "RunOutcome"}


def _text_tables(config: Config) -> tuple[TextsConfig, ...]:
    """Returns the tables that a pre-training reads."""
    return config.encoder.pretrain.texts if config.encoder.source == "pretrain" else ()


def _distill_paths(config: Config) -> list[tuple[str, str, tuple[str, ...]]]:
    """Returns key, location and the components that read it, of the teachers and of the texts that they label."""
    if config.distill is None:
        return []
    needs = ("TeacherLabels",)
    tables = [("distill.texts", table.file, needs) for table in config.distill.texts]
    return [*(("distill.teachers", folder, needs) for folder in config.distill.teachers), *tables]


def _path_faults(config: Config, kubeflow: KubeflowConfig) -> Iterator[str]:
    """Yields paths of this machine, which no pod would find."""
    repo = os.path.dirname(os.path.dirname(CURATED_SCHEMA))
    everywhere = [volume.path for volume in kubeflow.volumes if not volume.components]
    for key, path, needs in (
        ("serving.dir", config.serving.dir, ("DataGate", "BaselineModel", "Pusher")),
        ("kubeflow.work_dir", kubeflow.work_dir, ()),
        ("beam.job_server_jar", config.beam.job_server_jar, _BEAM_COMPONENTS),
        ("data.train", config.data.train, ("TsvExampleGen",)),
        ("data.dev", config.data.dev, ("TsvExampleGen",)),
        ("data.test", config.data.test, ("TsvExampleGen",)),
        *(("encoder.pretrain.texts", table.file, ("EncoderPretrainer",)) for table in _text_tables(config)),
        *_distill_paths(config),
    ):
        if key == "serving.dir" and path is None:
            yield "serving.dir: missing; should be a folder on a volume of kubeflow.volumes"
        elif path is not None and "://" not in path and not _on_volume(path, needs, kubeflow, everywhere):
            who = ", ".join(needs) if needs else "every component"
            instead = ", or a URL" if key.startswith(("data.", "encoder.", "distill.texts")) else ""
            yield f"{key} = {path}: should be on a volume of kubeflow.volumes that {who} mounts{instead}"
    for key, path in (
        ("data.schema_file", config.data.schema_file),
        ("gates.invariance.pairs", config.gates.invariance.pairs),
    ):
        if path not in (None, AUTO_PAIRS) and not _in_image(path, repo, kubeflow.image_dir):
            folders = ", ".join(IMAGE_FOLDERS)
            yield f"{key} = {path}: not in the image, which contains {folders} of this repository; move it there"
    handle = config.encoder.handle
    if config.encoder.source == "hub" and os.sep in handle and "://" not in handle:
        if (
            handle != IMAGE_ENCODER
            and not handle.startswith(IMAGE_ENCODER + "/")
            and not _on_volume(handle, ("HubEncoder",), kubeflow, everywhere)
        ):
            yield (
                f"encoder.handle = {handle}: should be a name of the catalogue, a URL, a folder on a volume that "
                f"HubEncoder mounts, or the image's {IMAGE_ENCODER}"
            )


def _beam_faults(config: Config, kubeflow: KubeflowConfig) -> Iterator[str]:
    if config.beam.runner == "dataflow" and not (kubeflow.pipeline_root or "").startswith("gs://"):
        yield "kubeflow.pipeline_root: should be a folder on gs://, since Dataflow's workers mount no volumes"


def _mount_faults(kubeflow: KubeflowConfig) -> Iterator[str]:
    for volume in kubeflow.volumes:
        for taken in (kubeflow.image_dir, *_LAUNCHER_FOLDERS):
            if os.path.commonpath([volume.path, taken]) in (volume.path, taken):
                yield (
                    f"kubeflow.volumes: {volume.claim}: path = {volume.path} would hide {taken} from its tasks; "
                    "mount it elsewhere"
                )


def _in_image(path: str, repo: str, image_dir: str) -> bool:
    """Whether the image contains a file, by its path there or in this repository."""
    if path.startswith(image_dir + os.sep):
        return True
    folders = tuple(os.path.join(repo, folder, "") for folder in IMAGE_FOLDERS)
    return path.startswith(folders) and os.path.isfile(path)


def _on_volume(path: str, needs: tuple[str, ...], kubeflow: KubeflowConfig, everywhere: list[str]) -> bool:
    def is_below(mount: str) -> bool:
        return path == mount or path.startswith(mount + "/")

    if any(is_below(mount) for mount in everywhere):
        return True
    return bool(needs) and all(
        any(is_below(volume.path) for volume in kubeflow.volumes if component in volume.components)
        for component in needs
    )


def _pod_faults(config: Config, kubeflow: KubeflowConfig) -> Iterator[str]:
    for name in (*kubeflow.components, "defaults"):
        pod = kubeflow.defaults if name == "defaults" else kubeflow.pod(name)
        where = "kubeflow.defaults" if name == "defaults" else f"kubeflow.components.{name}"
        if pod.gpus and name != "Trainer":
            yield f"{where}.gpus = {pod.gpus}: only the Trainer uses GPUs; here they would idle"
        if pod.gpus and pod.gpu_resource is None:
            yield f"{where}.gpu_resource: missing with gpus = {pod.gpus}; should be a resource such as nvidia.com/gpu"
        variables = {*pod.env, *(secret.env for secret in pod.secrets)}
        if variables & _PROXIES and not variables & _NO_PROXIES:
            yield (
                f"{where}.env: {min(variables & _PROXIES)} without no_proxy: KFP's launcher in the "
                "pod would send requests to the cluster's services through the proxy; see docs/kubeflow.md"
            )
        if pod.shm_gb and pod.memory_gb and pod.shm_gb >= pod.memory_gb:
            yield f"{where}.shm_gb = {pod.shm_gb}: counts against memory_gb = {pod.memory_gb}, so it should be less"
    if config.trainer.device == "gpu" and not kubeflow.pod("Trainer").gpus:
        yield "trainer.device = gpu: kubeflow.components.Trainer.gpus: missing; should be 1 or more"


def _spec_faults(spec: Mapping[str, Any]) -> Iterator[str]:
    """Yields the faults for which the backend would refuse a run, or drop parts of it."""
    yield from _format_faults(spec)
    version = spec.get("schemaVersion")
    if version != SCHEMA_VERSION:
        yield f"schemaVersion = {version}: should be {SCHEMA_VERSION}, the only one that the backend supports"
    name = spec["pipelineInfo"].get("name", "")
    if not _PIPELINE_NAME.fullmatch(name):
        yield f"pipelineInfo.name = {name!r}: should be at most 128 lower-case letters, digits and hyphens"
    for task in _task_ids(spec):
        if not _NODE_ID.fullmatch(task):
            yield f"task {task}: should be letters, digits and hyphens, starting with a letter, or each run fails"
    for label, executor in spec.get("deploymentSpec", {}).get("executors", {}).items():
        yield from _executor_faults(label, executor)
    yield from _reference_faults(spec)


def _format_faults(spec: Mapping[str, Any]) -> Iterator[str]:
    for where, part, message in (
        ("", spec, pipeline_spec_pb2.PipelineSpec()),
        # A free-form part of the spec, in which the backend drops unknown fields.
        ("deploymentSpec: ", spec.get("deploymentSpec", {}), pipeline_spec_pb2.PipelineDeploymentConfig()),
    ):
        try:
            json_format.ParseDict(part, message)
        except json_format.ParseError as error:
            yield f"{where}not a valid pipeline spec: {' '.join(str(error).split())}"


def _executor_faults(label: str, executor: Mapping[str, Any]) -> Iterator[str]:
    if "resolver" in executor:
        yield f"{label}: resolver: the backend refuses runs with a Resolver; read the artifact in a component instead"
    if "lifecycle" in executor.get("container", {}):
        yield f"{label}: lifecycle: a driver hook, which the backend never calls; class-based components have none"
    constant = executor.get("importer", {}).get("artifactUri", {}).get("constant", "minio://")
    if "://" not in str(constant):
        yield f"{label}: importer: {constant}: should start with minio://, s3:// or gs://"


def _reference_faults(spec: Mapping[str, Any]) -> Iterator[str]:
    """Yields inputs without a value: a misspelt parameter, or one that TFX nested in another value."""
    for component, dag in dags(spec):
        declared = component.get("inputDefinitions", {}).get("parameters", {})
        for task, body in dag.get("tasks", {}).items():
            for name, source in body.get("inputs", {}).get("parameters", {}).items():
                wanted = source.get("componentInputParameter")
                if wanted is not None and wanted not in declared:
                    yield f"task {task}: input {name}: parameter {wanted} is not declared"
                if "RuntimeParameter" in str(source.get("runtimeValue", "")):
                    yield f"task {task}: input {name}: a RuntimeParameter inside another value is never replaced"
            for other in body.get("dependentTasks", ()):
                if other not in dag["tasks"]:
                    yield f"task {task}: dependentTasks: {other} does not exist"


def dags(spec: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Yields each component of a pipeline document that is a DAG, and the DAG."""
    for component in (spec.get("root", {}), *spec.get("components", {}).values()):
        if "dag" in component:
            yield component, component["dag"]


def _task_ids(spec: Mapping[str, Any]) -> Iterator[str]:
    for _, dag in dags(spec):
        yield from dag.get("tasks", {})


def _platform_faults(spec: Mapping[str, Any], document: Mapping[str, Any]) -> Iterator[str]:
    """Yields the parts of the platform document that the backend would silently drop."""
    if not document:
        return
    executors = document
    for key in ("platforms", "kubernetes", "deploymentSpec", "executors"):
        if not isinstance(executors, dict):
            yield f"platform document: {executors!r}: should be a mapping with the key {key}"
            return
        for unknown in (other for other in executors if other != key):
            yield f"platform document: {unknown}: unknown field beside {key}; the backend would drop the whole document"
        executors = executors.get(key, {})
    labels = spec.get("deploymentSpec", {}).get("executors", {})
    if not isinstance(executors, dict) or not all(isinstance(settings, dict) for settings in executors.values()):
        yield f"platform document: executors: {executors!r}: should map executors to mappings"
        return
    for label, settings in executors.items():
        if label not in labels:
            yield f"platform document: {label}: no such executor; should be one of {', '.join(sorted(labels))}"
        for field in settings:
            if field not in _PLATFORM_FIELDS:
                known = ", ".join(sorted(_PLATFORM_FIELDS))
                yield f"platform document: {label}.{field}: unknown field; should be one of {known}"
