"""Compiles the pipeline for Kubeflow Pipelines v2: TFX writes the spec, this module adds what TFX does not support."""

import logging
import os
import re
from typing import Any, Mapping

import yaml
from tfx.dsl.components.base import base_node
from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner
from tfx.orchestration.pipeline import Pipeline

from cluster import ascii_text, compatibility, entrypoint, figures, platform, run_parameters, task_protocol
from components.run_outcome.component import RunOutcome
from components.run_report import tracking
from core.config import CURATED_SCHEMA, Config
from core.errors import UserError
from core.files import atomic_write
from core.kubeflow_config import KubeflowConfig, Pod, Volume
from launchers.cluster_job.config import ClusterJobConfig
from pipeline import graph
from pipeline.engine import flags

# Nodes that depend on state outside of the cache key (inputs, parameters, arguments, image): files, the serving folder,
# teachers, the speed of a machine. RunReport and RunOutcome also write outside of artifacts.
_UNCACHED = {
    *("TsvExampleGen", "DataGate", "TeacherLabels", "BaselineModel", "ServingValidator", "Pusher"),
    *("RunReport", "RunOutcome"),
}

# Nodes that write `report.html`.
_REPORTING = {"RunReport", "RunOutcome"}

# Folders under `kubeflow.work_dir`.
_CHECKPOINTS = "checkpoints"
_REPORTS = "runs"

_DAG = "tfx-dag"

# The pauses grow, for failures that last longer, such as a volume's. Argo takes the maximum as the deadline of all
# attempts together, from the start of the first. If it is missing, the backend writes 0, which disables retries.
_BACKOFF = {"backoffDuration": "30s", "backoffFactor": 2.0, "backoffMaxDuration": "2592000s"}


def compile_pipeline(config: Config, output: str) -> None:
    """Writes the pipeline as one YAML file of two documents.

    Args:
      config: configuration that has passed `compatibility.check_config`.
      output: path of the file, ending in `.yaml`.

    Raises:
      UserError: a run of the pipeline would fail, or the file can't be written.
    """
    if not output.endswith((".yaml", ".yml")):
        raise UserError(f"--output {output}: should end in .yaml; the backend reads .json as another format")
    flags.check_args(config.beam)
    documents = make_documents(config)
    text = yaml.safe_dump_all(documents, sort_keys=True)
    compatibility.check_text(text, output)
    try:
        os.makedirs(os.path.dirname(os.path.abspath(output)), exist_ok=True)
        with atomic_write(output) as stream:
            stream.write(text)
    except OSError as error:
        raise UserError(f"--output {output}: cannot be written: {error.strerror}") from error


def make_documents(config: Config) -> list[dict[str, Any]]:
    """Returns the pipeline document and the platform document of a configuration.

    Raises:
      UserError: the configuration has no section `kubeflow`.
    """
    kubeflow = compatibility.kubeflow_section(config)
    in_image = _with_image_paths(config, kubeflow)
    pipeline = _pipeline(in_image, kubeflow)
    node_ids = {node: node.id for node in pipeline.components}
    for node in pipeline.components:
        node.with_id(to_task_id(node.id))
    # A run may change these, and RunOutcome would not know.
    changeable = {parameter.key for parameter in run_parameters.RUN_PARAMETERS}
    fixed = {key: value for key, value in tracking.list_parameters(in_image).items() if key not in changeable}
    reports_dir = os.path.join(kubeflow.work_dir, _REPORTS)
    outcome = RunOutcome(config.name, reports_dir, config.notify.model_dump_json(), fixed)
    outcome.with_id(to_task_id("RunOutcome"))
    spec = _spec(pipeline, outcome, kubeflow)
    node_ids[outcome] = "RunOutcome"
    pods, volumes = {}, {}
    for node, node_id in node_ids.items():
        label = f"{node.id}_executor"
        pods[label] = _pod(node_id, config, kubeflow)
        volumes[label] = mounted_volumes(node_id, kubeflow)
        cached = _is_cached(node_id, config)
        _finish_task(_tasks(spec)[node.id], cached, pods[label])
        _finish_executor(spec["deploymentSpec"]["executors"][label]["container"], node.id, pods[label], kubeflow)
        _add_parameters(spec, node.id, cached)
        outputs = spec["components"][node.id].get("outputDefinitions", {}).get("artifacts", {})
        for name, artifact_type in figures.OUTPUTS.get(node.id, {}).items():
            outputs[name] = {"artifactType": dict(artifact_type)}
        if node_id in _REPORTING:
            outputs[task_protocol.PAGE] = {"artifactType": dict(task_protocol.PAGE_TYPE)}
            if node is outcome:
                outputs[task_protocol.OUTCOME] = {"artifactType": dict(task_protocol.OUTCOME_TYPE)}
    _declare_parameters(spec, config)
    _escape_constants(spec)
    return [spec, platform.make(pods, volumes)]


def to_task_id(node_id: str) -> str:
    """Converts the id of a node to that of its task: `TsvExampleGen` -> `tsv-example-gen`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", node_id).lower()


def mounted_volumes(node_id: str, kubeflow: KubeflowConfig) -> list[Volume]:
    """Returns the volumes that are mounted in a node's pod."""
    return [volume for volume in kubeflow.volumes if not volume.components or node_id in volume.components]


def _pod(node_id: str, config: Config, kubeflow: KubeflowConfig) -> Pod:
    pod, others = kubeflow.pod(node_id), kubeflow.defaults
    if node_id == "Trainer" and config.trainer.workers > 1:
        # The workers' pods get these resources; the Trainer's own pod only follows them.
        fields = ("cpu", "memory_gb", "node_selector", "tolerations")
        return pod.model_copy(update={"gpus": 0, "shm_gb": None, **{name: getattr(others, name) for name in fields}})
    return pod


def _pipeline(config: Config, kubeflow: KubeflowConfig) -> Pipeline:
    return graph.create_pipeline(
        config,
        # Required by TFX; the backend does not read it from the spec.
        pipeline_root=kubeflow.pipeline_root or "minio://mlpipeline/v2/artifacts",
        checkpoints=os.path.join(kubeflow.work_dir, _CHECKPOINTS),
        workers=_workers(kubeflow) if config.trainer.workers > 1 else None,
        reports_dir=os.path.join(kubeflow.work_dir, _REPORTS),
    )


def _with_image_paths(config: Config, kubeflow: KubeflowConfig) -> Config:
    """Replaces paths in this repository by paths in the image."""
    repo = os.path.dirname(os.path.dirname(CURATED_SCHEMA))

    def image_path(path: str | None) -> str | None:
        if path is None or not path.startswith(repo + os.sep):
            return path
        return os.path.join(kubeflow.image_dir, os.path.relpath(path, repo))

    gates = config.gates
    return config.model_copy(
        update={
            "beam": config.beam.with_command(image_path(flags.BOOT) or flags.BOOT),
            "data": config.data.model_copy(update={"schema_file": image_path(config.data.schema_file)}),
            "gates": gates.model_copy(
                update={"invariance": gates.invariance.model_copy(update={"pairs": image_path(gates.invariance.pairs)})}
            ),
        }
    )


def _workers(kubeflow: KubeflowConfig) -> dict[str, Any]:
    """Returns the configuration of the workers, whose pods have the settings of the Trainer."""
    config = ClusterJobConfig(
        **kubeflow.workers.model_dump(),
        pod=kubeflow.pod("Trainer"),
        volumes=tuple(volume.model_copy(update={"components": ()}) for volume in mounted_volumes("Trainer", kubeflow)),
        image_dir=kubeflow.image_dir,
        shared_dir=kubeflow.work_dir,
    )
    # This is part of the Trainer's cache key, which retries should not change.
    return config.model_dump(mode="json", exclude={"pod": {"retries"}})


def _spec(pipeline: Pipeline, outcome: base_node.BaseNode, kubeflow: KubeflowConfig) -> dict[str, Any]:
    runner = kubeflow_v2_dag_runner.KubeflowV2DagRunner(
        config=kubeflow_v2_dag_runner.KubeflowV2DagRunnerConfig(
            default_image=kubeflow.image,
            default_commands=["python", "-m", entrypoint.__name__],
            use_pipeline_spec_2_1=True,
        )
    )
    runner.set_exit_handler(outcome)
    # TFX warns about inputs that the exit handler does not have.
    logging.getLogger("absl").setLevel(logging.ERROR)
    return runner.run(pipeline, write_out=False)["pipelineSpec"]


def _tasks(spec: Mapping[str, Any]) -> dict[str, Any]:
    return {**spec["components"][_DAG]["dag"]["tasks"], **spec["root"]["dag"]["tasks"]}


def _is_cached(node_id: str, config: Config) -> bool:
    if node_id == "HubEncoder":
        # A published encoder does not change; a folder may.
        return config.encoder.handle.startswith("https://") or os.sep not in config.encoder.handle
    if node_id == "EncoderPretrainer":
        # Tables, and the folder of an encoder, are not part of the pipeline.
        return not config.encoder.pretrain.texts and config.encoder.pretrain.continue_from is None
    return node_id not in _UNCACHED


def _finish_task(spec: dict[str, Any], cached: bool, pod: Pod) -> None:
    spec["cachingOptions"] = {"enableCache": cached}
    if pod.retries:
        spec["retryPolicy"] = {"maxRetryCount": pod.retries, **_BACKOFF}


def _finish_executor(container: dict[str, Any], task_id: str, pod: Pod, kubeflow: KubeflowConfig) -> None:
    container["image"] = pod.image
    reports = os.path.join(kubeflow.work_dir, _REPORTS)
    variables = {
        task_protocol.TASK_VARIABLE: task_id,
        task_protocol.REPORTS_VARIABLE: reports,
        task_protocol.IMAGE_DIR_VARIABLE: kubeflow.image_dir,
        task_protocol.RETRIES_VARIABLE: str(pod.retries or 0),
        **pod.env,
    }
    container["env"] = [{"name": name, "value": value} for name, value in variables.items()]
    resources = {
        "cpuLimit": pod.cpu,
        "memoryLimit": pod.memory_gb,
        "accelerator": {"type": pod.gpu_resource, "count": pod.gpus} if pod.gpus else None,
    }
    container["resources"] = {name: value for name, value in resources.items() if value is not None}


def _add_parameters(spec: dict[str, Any], task_id: str, cached: bool) -> None:
    """Passes to a task those run parameters that it takes from its DAG."""
    for parameter in run_parameters.of_task(task_id, cached):
        definitions = spec["components"][task_id].setdefault("inputDefinitions", {})
        definitions.setdefault("parameters", {})[parameter.name] = {"parameterType": parameter.type}
        inputs = _tasks(spec)[task_id].setdefault("inputs", {}).setdefault("parameters", {})
        inputs[parameter.name] = {"componentInputParameter": parameter.name}


def _declare_parameters(spec: dict[str, Any], config: Config) -> None:
    """Declares the run parameters, and passes them to the DAG of the graph."""
    declared = {
        parameter.name: {
            "parameterType": parameter.type,
            "defaultValue": run_parameters.default(parameter, config),
            "description": parameter.description,
        }
        for parameter in run_parameters.RUN_PARAMETERS
    }
    spec["root"]["inputDefinitions"] = {"parameters": declared}
    spec["components"][_DAG]["inputDefinitions"] = {
        "parameters": {name: {"parameterType": parameter["parameterType"]} for name, parameter in declared.items()}
    }
    spec["root"]["dag"]["tasks"][_DAG]["inputs"] = {
        "parameters": {name: {"componentInputParameter": name} for name in declared}
    }


def _escape_constants(spec: dict[str, Any]) -> None:
    """Makes the values of all parameters ASCII; the entrypoint restores them."""
    for task in _tasks(spec).values():
        for source in task.get("inputs", {}).get("parameters", {}).values():
            if "runtimeValue" in source:
                source["runtimeValue"] = ascii_text.escape_values(source["runtimeValue"])
    for parameter in spec["root"]["inputDefinitions"]["parameters"].values():
        parameter["defaultValue"] = ascii_text.escape_values(parameter["defaultValue"])
