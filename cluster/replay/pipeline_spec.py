"""Parses a compiled file, and refuses every field of the pipeline spec that the replay does not emulate."""

import dataclasses
import graphlib
from typing import Any, Iterator, Mapping, TypeAlias

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from cluster.compiled_file import CompiledFile
from core.errors import UserError

Task: TypeAlias = pipeline_spec_pb2.PipelineTaskSpec
Component: TypeAlias = pipeline_spec_pb2.ComponentSpec
Dag: TypeAlias = pipeline_spec_pb2.DagSpec
Container: TypeAlias = pipeline_spec_pb2.PipelineDeploymentConfig.PipelineContainerSpec

# The launcher replaces it with the ExecutorInput.
EXECUTOR_INPUT = "{{$}}"

# The fields that `compile` writes, named as in protobuf's JSON: `*` is any name, and _ALL allows everything below it.
_ALL: Mapping[str, Any] = {}
_DAG = {
    "tasks": {
        "*": {
            **dict.fromkeys(("taskInfo", "componentRef", "cachingOptions", "dependentTasks", "retryPolicy"), _ALL),
            "triggerPolicy": {"strategy": _ALL},
            "inputs": {
                "parameters": {"*": {"componentInputParameter": _ALL, "runtimeValue": {"constant": _ALL}}},
                "artifacts": {"*": {"taskOutputArtifact": _ALL}},
            },
        }
    }
}
_ARTIFACTS = {"artifacts": {"*": {"artifactType": _ALL}}}
_SPEC = {
    **dict.fromkeys(("pipelineInfo", "schemaVersion", "sdkVersion"), _ALL),
    "root": {
        "dag": _DAG,
        "inputDefinitions": {
            "parameters": {"*": dict.fromkeys(("parameterType", "defaultValue", "description"), _ALL)}
        },
    },
    "components": {
        "*": {
            "dag": _DAG,
            "executorLabel": _ALL,
            "inputDefinitions": {"parameters": {"*": {"parameterType": _ALL}}, **_ARTIFACTS},
            "outputDefinitions": _ARTIFACTS,
        }
    },
    "deploymentSpec": {
        "executors": {"*": {"container": dict.fromkeys(("image", "command", "args", "env", "resources"), _ALL)}}
    },
}
_POD = {
    "pvcMount": {"constant": _ALL, "mountPath": _ALL},
    **dict.fromkeys(("nodeSelector", "tolerations", "secretAsEnv", "imagePullSecret", "emptyDirMounts"), _ALL),
}
_PLATFORM = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": {"*": _POD}}}}}

# Type of a parameter -> field of `google.protobuf.Value` for a constant of this type.
_TYPE = pipeline_spec_pb2.ParameterType
_CONSTANTS = {
    _TYPE.STRING: "string_value",
    _TYPE.NUMBER_INTEGER: "number_value",
    _TYPE.NUMBER_DOUBLE: "number_value",
    _TYPE.BOOLEAN: "bool_value",
    _TYPE.LIST: "list_value",
    _TYPE.STRUCT: "struct_value",
}


@dataclasses.dataclass(frozen=True)
class Pipeline:
    """A compiled file.

    Attributes:
      spec: its PipelineSpec.
      containers: executor label -> container.
      pods: executor label -> the platform document's settings of its pod.
    """

    spec: pipeline_spec_pb2.PipelineSpec
    containers: Mapping[str, Container]
    pods: Mapping[str, Mapping[str, Any]]

    @property
    def name(self) -> str:
        """The pipeline's name."""
        return self.spec.pipeline_info.name

    def component(self, task: Task) -> Component:
        """Returns the component that a task runs."""
        return self.spec.components[task.component_ref.name]

    def secret_variables(self) -> set[str]:
        """Returns the environment variables that pods get from secrets."""
        secrets = [secret for pod in self.pods.values() for secret in pod.get("secretAsEnv", ())]
        return {pair["envVar"] for secret in secrets for pair in secret.get("keyToEnv", ())}


def parse(file: CompiledFile) -> Pipeline:
    """Parses the documents of a compiled file.

    Raises:
      UserError: a run would fail, or the file uses a feature that is not emulated.
    """
    spec = json_format.ParseDict(file.spec, pipeline_spec_pb2.PipelineSpec())
    platform = json_format.ParseDict(file.platform, pipeline_spec_pb2.PlatformSpec())
    for message, supported in ((spec, _SPEC), (platform, _PLATFORM)):
        for path in _unsupported(json_format.MessageToDict(message), supported):
            raise UserError(f"{file.path}: {path}: not supported by replay, which runs only what `compile` writes")
    deployment = json_format.MessageToDict(spec.deployment_spec)
    executors = json_format.ParseDict(deployment, pipeline_spec_pb2.PipelineDeploymentConfig()).executors
    pods = json_format.MessageToDict(platform.platforms["kubernetes"].deployment_spec).get("executors", {})
    pipeline = Pipeline(spec, {label: executor.container for label, executor in executors.items()}, pods)
    _check_tasks(file.path, pipeline)
    return pipeline


def run_order(dag: Dag) -> list[str]:
    """Returns the names of a DAG's tasks, each after those that it depends on.

    Raises:
      ValueError: a task depends on one that does not exist, or on itself through others.
    """
    needed = {name: upstream(dag.tasks[name]) for name in sorted(dag.tasks)}
    for name, producers in needed.items():
        for producer in sorted(producers - needed.keys()):
            raise ValueError(f"task {name}: depends on {producer}, which does not exist")
    try:
        return list(graphlib.TopologicalSorter(needed).static_order())
    except graphlib.CycleError as error:
        raise ValueError(f"tasks form a cycle: {' -> '.join(error.args[1])}") from error


def upstream(task: Task) -> set[str]:
    """Returns the tasks of the same DAG that a task waits for."""
    artifacts = task.inputs.artifacts.values()
    return {*task.dependent_tasks, *(source.task_output_artifact.producer_task for source in artifacts)}


def runs_after_failure(task: Task) -> bool:
    """Whether a task runs even if its upstream tasks failed, as an exit handler does."""
    return task.trigger_policy.strategy == task.TriggerPolicy.ALL_UPSTREAM_TASKS_COMPLETED


def _unsupported(content: Any, supported: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Yields the paths of fields that the replay does not support."""
    if supported is _ALL:
        return
    if isinstance(content, list):
        for item in content:
            yield from _unsupported(item, supported, path)
        return
    for key, value in content.items():
        below = supported.get(key, supported.get("*"))
        if below is None:
            yield f"{path}{key}"
        else:
            yield from _unsupported(value, below, f"{path}{key}.")


def _check_tasks(file: str, pipeline: Pipeline) -> None:
    """Raises UserError for a task that could not run."""
    root, names = pipeline.spec.root, set[str]()
    try:
        _check_dag(pipeline, root, names)
        for component in map(pipeline.component, root.dag.tasks.values()):
            _check_dag(pipeline, component, names)
    except ValueError as error:
        raise UserError(f"{file}: {error}") from error


def _check_dag(pipeline: Pipeline, parent: Component, names: set[str]) -> None:
    for name in run_order(parent.dag):
        task = parent.dag.tasks[name]
        faults = [*_component_faults(pipeline, parent, task)] or [*_input_faults(pipeline, parent, task)]
        if name in names:
            faults.append("two tasks have this name, which replay does not support")
        if faults:
            raise ValueError(f"task {name}: {faults[0]}")
        names.add(name)


def _component_faults(pipeline: Pipeline, parent: Component, task: Task) -> Iterator[str]:
    if task.component_ref.name not in pipeline.spec.components:
        yield f"componentRef: component {task.component_ref.name!r} does not exist"
        return
    component = pipeline.component(task)
    kind, label = component.WhichOneof("implementation"), component.executor_label
    if kind is None:
        yield "the component has neither a dag nor an executorLabel"
    elif kind == "dag":
        if parent is not pipeline.spec.root:
            yield "a DAG inside a DAG is not supported by replay"
    elif label not in pipeline.containers:
        yield f"executor {label!r} does not exist"
    else:
        words = [*pipeline.containers[label].command, *pipeline.containers[label].args]
        if not words:
            yield f"{label}: command and args are both missing; the launcher needs one of them"
        for word in words:
            if "{{$" in word.replace(EXECUTOR_INPUT, ""):
                yield f"{label}: {word}: the only placeholder that replay supports is {EXECUTOR_INPUT}"


def _input_faults(pipeline: Pipeline, parent: Component, task: Task) -> Iterator[str]:
    """Yields inputs for which a backend would fill in a default, convert a value, or fail."""
    declared, given = pipeline.component(task).input_definitions, task.inputs
    for known, used in ((declared.parameters, given.parameters), (declared.artifacts, given.artifacts)):
        for name in sorted(known.keys() ^ used.keys()):
            yield f"input {name}: should be both in the task's inputs and in the component's inputDefinitions"
            return
    for name, source in given.parameters.items():
        wanted = declared.parameters[name].parameter_type
        outer = source.component_input_parameter
        if outer:
            fits = parent.input_definitions.parameters[outer].parameter_type == wanted
        else:
            constant = source.runtime_value.constant.WhichOneof("kind")
            fits = constant is not None and constant == _CONSTANTS.get(wanted)
        if not fits:
            yield f"input {name}: should be of type {_TYPE.ParameterTypeEnum.Name(wanted)}"
    for name, source in given.artifacts.items():
        producer, output = source.task_output_artifact.producer_task, source.task_output_artifact.output_artifact_key
        if output not in pipeline.component(parent.dag.tasks[producer]).output_definitions.artifacts:
            yield f"input {name}: task {producer} has no output {output!r}"
        if runs_after_failure(task):
            yield f"input {name}: an artifact of a task that may have failed is not supported by replay"
