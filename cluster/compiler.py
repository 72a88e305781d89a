"""Compiles the pipeline for Kubeflow Pipelines v2: TFX writes the spec, this module adds what TFX can't say."""

import logging
import os
import re
from typing import Any, Mapping

import yaml
from tfx.dsl.components.base import base_node
from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner
from tfx.orchestration.pipeline import Pipeline

from cluster import compatibility, parameters, platform, task
from components.run_outcome.component import RunOutcome
from core.config import CURATED_SCHEMA, Config
from core.errors import UserError
from core.kubeflow_config import KubeflowConfig, PodConfig, Volume
from pipeline import graph

# Nodes that read the outside world, of which the cache's key (inputs, parameters, arguments, image) knows nothing:
# files, the serving folder, a node's speed. The two that report also write where no artifact is.
_UNCACHED = {"TsvExampleGen", "DataGate", "BaselineModel", "ServingValidator", "Pusher", "RunReport", "RunOutcome"}

# Folders under `kubeflow.work_dir`.
_CHECKPOINTS = "checkpoints"
_REPORTS = "runs"

_DAG = "tfx-dag"

# The pauses grow, for what takes longer to come back, such as a volume. Argo takes the last for a deadline of all
# attempts together, from the start of the first one on, and the backend writes 0 where it is left out: no retry at all.
_BACKOFF = {"backoffDuration": "30s", "backoffFactor": 2.0, "backoffMaxDuration": "2592000s"}


def compile_pipeline(config: Config, output: str) -> None:
    """Writes the pipeline as one YAML file of two documents.

    Args:
      config: the run, which `compatibility.check_config` has passed; `kubeflow` says what the cluster gives it.
      output: path of the file, ending in `.yaml`.

    Raises:
      UserError: a run of the pipeline would fail, or the file can't be written.
    """
    if not output.endswith((".yaml", ".yml")):
        raise UserError(f"--output {output}: should end in .yaml; the backend takes a .json for another format")
    documents = make_documents(config)
    text = yaml.safe_dump_all(documents, sort_keys=True, allow_unicode=True)
    compatibility.check_text(text, output)
    try:
        os.makedirs(os.path.dirname(os.path.abspath(output)), exist_ok=True)
        with open(output + ".new", "w", encoding="utf-8") as stream:
            stream.write(text)
        os.replace(output + ".new", output)
    except OSError as error:
        raise UserError(f"--output {output}: cannot be written: {error.strerror}") from error


def make_documents(config: Config) -> list[dict[str, Any]]:
    """Makes the pipeline document and the platform document of a configuration that was checked."""
    kubeflow = config.kubeflow
    pipeline = _pipeline(_in_image(config))
    original_ids = {node: node.id for node in pipeline.components}
    for node in pipeline.components:
        node.with_id(id_of(node.id))
    outcome = RunOutcome(config.name, os.path.join(kubeflow.work_dir, _REPORTS)).with_id(id_of("RunOutcome"))
    spec = _spec(pipeline, outcome, kubeflow)
    original_ids[outcome] = "RunOutcome"
    pods, volumes = {}, {}
    for node, original in original_ids.items():
        label = f"{node.id}_executor"
        pods[label] = _pod(original, config)
        volumes[label] = mounted(original, kubeflow)
        cached = _is_cached(original, config)
        _finish_task(_tasks(spec)[node.id], cached, pods[label])
        _finish_executor(spec["deploymentSpec"]["executors"][label]["container"], node.id, pods[label], kubeflow)
        _add_parameters(spec, node.id, cached)
    _declare_parameters(spec, config)
    return [spec, platform.make(pods, volumes)]


def id_of(node_id: str) -> str:
    """`TsvExampleGen` -> `tsv-example-gen`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", node_id).lower()


def mounted(node_id: str, kubeflow: KubeflowConfig) -> list[Volume]:
    """Returns the volumes that a node's pod has."""
    return [volume for volume in kubeflow.volumes if not volume.components or node_id in volume.components]


def _pod(node_id: str, config: Config) -> PodConfig:
    pod, others = config.kubeflow.pod(node_id), config.kubeflow.defaults
    if node_id == "Trainer" and config.trainer.workers > 1:
        # It only follows the pods of its TFJob, which have what it would have.
        fields = ("cpu", "memory_gb", "node_selector", "tolerations")
        return pod.model_copy(update={"gpus": 0, "shm_gb": None, **{name: getattr(others, name) for name in fields}})
    return pod


def _pipeline(config: Config) -> Pipeline:
    kubeflow = config.kubeflow
    return graph.create_pipeline(
        config,
        # The backend puts its own in place of it, which it does not read from the spec.
        pipeline_root=kubeflow.pipeline_root or "minio://mlpipeline/v2/artifacts",
        checkpoints=os.path.join(kubeflow.work_dir, _CHECKPOINTS),
        workers=_workers(kubeflow) if config.trainer.workers > 1 else None,
        reports_dir=os.path.join(kubeflow.work_dir, _REPORTS),
    )


def _in_image(config: Config) -> Config:
    """Names the repository's files as the image does."""
    repo = os.path.dirname(os.path.dirname(CURATED_SCHEMA))

    def moved(path: str | None) -> str | None:
        if path is None or not path.startswith(repo + os.sep):
            return path
        return os.path.join(config.kubeflow.image_dir, os.path.relpath(path, repo))

    gates = config.gates
    return config.model_copy(
        update={
            "data": config.data.model_copy(update={"schema_file": moved(config.data.schema_file)}),
            "gates": gates.model_copy(
                update={"invariance": gates.invariance.model_copy(update={"pairs": moved(gates.invariance.pairs)})}
            ),
        }
    )


def _workers(kubeflow: KubeflowConfig) -> dict[str, Any]:
    """The pods that train together, as `launchers.tfjob` takes them: the Trainer's own, which then needs no GPU."""
    pod = kubeflow.pod("Trainer")
    fields = ("image", "cpu", "memory_gb", "gpus", "gpu_resource", "shm_gb", "env", "node_selector")
    return {
        **pod.model_dump(include=set(fields)),
        "secrets": [variable.model_dump() for variable in pod.secrets],
        "tolerations": [toleration.model_dump() for toleration in pod.tolerations],
        "image_pull_secrets": list(pod.image_pull_secrets),
        "volumes": [{"claim": volume.claim, "path": volume.path} for volume in mounted("Trainer", kubeflow)],
        "shared_dir": kubeflow.work_dir,
        "image_dir": kubeflow.image_dir,
        **kubeflow.workers.model_dump(),
    }


def _spec(pipeline: Pipeline, outcome: base_node.BaseNode, kubeflow: KubeflowConfig) -> dict[str, Any]:
    runner = kubeflow_v2_dag_runner.KubeflowV2DagRunner(
        config=kubeflow_v2_dag_runner.KubeflowV2DagRunnerConfig(
            default_image=kubeflow.image,
            default_commands=list(task.COMMAND),
            use_pipeline_spec_2_1=True,
        )
    )
    runner.set_exit_handler(outcome)
    # It warns of inputs that the exit handler does not have.
    logging.getLogger("absl").setLevel(logging.ERROR)
    return runner.run(pipeline, write_out=False)["pipelineSpec"]


def _tasks(spec: Mapping[str, Any]) -> dict[str, Any]:
    return {**spec["components"][_DAG]["dag"]["tasks"], **spec["root"]["dag"]["tasks"]}


def _is_cached(node_id: str, config: Config) -> bool:
    if node_id == "HubEncoder":
        # What is published under an address does not change; a folder may.
        return config.encoder.handle.startswith("https://") or os.sep not in config.encoder.handle
    return node_id not in _UNCACHED


def _finish_task(spec: dict[str, Any], cached: bool, pod: PodConfig) -> None:
    spec["cachingOptions"] = {"enableCache": cached}
    if pod.retries:
        spec["retryPolicy"] = {"maxRetryCount": pod.retries, **_BACKOFF}


def _finish_executor(container: dict[str, Any], task_id: str, pod: PodConfig, kubeflow: KubeflowConfig) -> None:
    container["image"] = pod.image
    reports = os.path.join(kubeflow.work_dir, _REPORTS)
    variables = {
        task.TASK_VARIABLE: task_id,
        task.REPORTS_VARIABLE: reports,
        task.IMAGE_DIR_VARIABLE: kubeflow.image_dir,
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
    """Gives a task the run parameters that it takes, from the component that it is part of."""
    for parameter in parameters.of_task(task_id, cached):
        definitions = spec["components"][task_id].setdefault("inputDefinitions", {})
        definitions.setdefault("parameters", {})[parameter.name] = {"parameterType": parameter.type}
        inputs = _tasks(spec)[task_id].setdefault("inputs", {}).setdefault("parameters", {})
        inputs[parameter.name] = {"componentInputParameter": parameter.name}


def _declare_parameters(spec: dict[str, Any], config: Config) -> None:
    """Declares the run parameters, and hands them on to the component that holds the graph."""
    declared = {
        parameter.name: {
            "parameterType": parameter.type,
            "defaultValue": parameters.default(parameter, config),
            "description": parameter.description,
        }
        for parameter in parameters.RUN_PARAMETERS
    }
    spec["root"]["inputDefinitions"] = {"parameters": declared}
    spec["components"][_DAG]["inputDefinitions"] = {
        "parameters": {name: {"parameterType": parameter["parameterType"]} for name, parameter in declared.items()}
    }
    spec["root"]["dag"]["tasks"][_DAG]["inputs"] = {
        "parameters": {name: {"componentInputParameter": name} for name in declared}
    }
