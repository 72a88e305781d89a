"""Reads a compiled file as strictly as the backend does, and refuses what it or the replay can't run."""

import dataclasses
from typing import Any, Iterator, Mapping, Optional

import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from cluster import compatibility
from cluster.replay import conditions, order
from core.errors import UserError

_PLATFORM = "kubernetes"

_Container = pipeline_spec_pb2.PipelineDeploymentConfig.PipelineContainerSpec
_Parameter = pipeline_spec_pb2.TaskInputsSpec.InputParameterSpec


@dataclasses.dataclass(frozen=True)
class Pipeline:
    """A compiled file.

    Attributes:
      spec: its PipelineSpec.
      containers: executor label -> container.
      pods: executor label -> what the platform document says of its pod.
    """

    spec: pipeline_spec_pb2.PipelineSpec
    containers: Mapping[str, _Container]
    pods: Mapping[str, Mapping[str, Any]]

    @property
    def name(self) -> str:
        """The pipeline's name."""
        return self.spec.pipeline_info.name

    def component(self, task: pipeline_spec_pb2.PipelineTaskSpec) -> pipeline_spec_pb2.ComponentSpec:
        """Returns what a task runs."""
        return self.spec.components[task.component_ref.name]

    def takes_final_status(self) -> bool:
        """Returns whether a task gets another one's final status."""
        dags = [self.spec.root.dag, *(component.dag for component in self.spec.components.values())]
        tasks = [task for dag in dags for task in dag.tasks.values()]
        return any(each.HasField("task_final_status") for task in tasks for each in task.inputs.parameters.values())

    def secret_variables(self) -> set[str]:
        """Returns the environment variables that pods get from secrets."""
        secrets = [secret for pod in self.pods.values() for secret in pod.get("secretAsEnv", ())]
        return {pair["envVar"] for secret in secrets for pair in secret.get("keyToEnv", ())}


def load(file: str) -> Pipeline:
    """Reads a compiled file.

    Args:
      file: path of the YAML: one PipelineSpec document, optionally one platform document.

    Raises:
      UserError: it can't be read, the backend would refuse it, or it has what the replay does not do.
    """
    compatibility.check_file(file)
    with open(file, encoding="utf-8") as stream:
        documents = list(yaml.safe_load_all(stream))
    (pipeline,), platforms = ([d for d in documents if key in d] for key in ("pipelineInfo", "platforms"))
    spec = json_format.ParseDict(pipeline, pipeline_spec_pb2.PipelineSpec())
    deployment = json_format.MessageToDict(spec.deployment_spec)
    executors = json_format.ParseDict(deployment, pipeline_spec_pb2.PipelineDeploymentConfig()).executors
    pods = _pods(file, platforms[0]) if platforms else {}
    pipeline = Pipeline(spec, {label: executor.container for label, executor in executors.items()}, pods)
    for where, task, component in _tasks(file, pipeline, "root", spec.root.dag, ("root",)):
        _check_task(where, task, component, executors)
    return pipeline


def _pods(file: str, document: Any) -> dict[str, Any]:
    platforms = json_format.ParseDict(document, pipeline_spec_pb2.PlatformSpec()).platforms
    executors = platforms[_PLATFORM].deployment_spec.executors
    pods = {label: json_format.MessageToDict(executor) for label, executor in executors.items()}
    for label, pod in pods.items():
        for mount in pod.get("pvcMount", ()):
            if not mount.keys() & {"constant", "componentInputParameter"} or "mountPath" not in mount:
                raise UserError(
                    f"{file}: {label}: pvcMount: {sorted(mount)}: the replay needs a mountPath and, as the claim, a "
                    "constant or a componentInputParameter"
                )
    return pods


def _tasks(
    file: str, pipeline: Pipeline, name: str, dag: pipeline_spec_pb2.DagSpec, above: tuple[str, ...]
) -> Iterator[tuple[str, pipeline_spec_pb2.PipelineTaskSpec, pipeline_spec_pb2.ComponentSpec]]:
    """Yields every task of a DAG and of those under it, with words that say where it is, and its component."""
    for producer in sorted(order.producers_of_outputs(dag) - dag.tasks.keys()):
        raise UserError(f"{file}: {name}: outputs: of {producer!r}, a task which is not there")
    for task_name in order.run_order(f"{file}: {name}", dag):
        task, where = dag.tasks[task_name], f"{file}: task {task_name}"
        component_name = task.component_ref.name
        if component_name not in pipeline.spec.components:
            raise UserError(f"{where}: componentRef: there is no component {component_name!r}")
        component = pipeline.spec.components[component_name]
        yield where, task, component
        if component.WhichOneof("implementation") == "dag":
            if component_name in above:
                raise UserError(f"{where}: component {component_name!r} contains itself")
            yield from _tasks(file, pipeline, component_name, component.dag, (*above, component_name))


def _check_task(
    where: str,
    task: pipeline_spec_pb2.PipelineTaskSpec,
    component: pipeline_spec_pb2.ComponentSpec,
    executors: Mapping[str, pipeline_spec_pb2.PipelineDeploymentConfig.ExecutorSpec],
) -> None:
    label, kind = component.executor_label, component.WhichOneof("implementation")
    if kind is None:
        raise UserError(f"{where}: its component has neither a dag nor an executorLabel")
    if kind == "executor_label":
        if label not in executors:
            raise UserError(f"{where}: there is no executor {label!r}")
        executor = executors[label].WhichOneof("spec")
        if executor != "container":
            raise UserError(f"{where}: {label}: an executor of kind {executor} is not replayed; only containers are")
        if not (executors[label].container.command or executors[label].container.args):
            raise UserError(f"{where}: {label}: has neither command nor args, which the launcher needs")
    if task.WhichOneof("iterator"):
        raise UserError(f"{where}: {task.WhichOneof('iterator')}: loops are not replayed")
    for name, parameter in task.inputs.parameters.items():
        reason = _unsupported(parameter)
        if reason:
            raise UserError(f"{where}: input {name}: {reason}")
    if task.trigger_policy.condition:
        conditions.check(where, task.trigger_policy.condition)


def _unsupported(parameter: _Parameter) -> Optional[str]:
    kind = parameter.WhichOneof("kind")
    if kind is None:
        return "has no value; should be a constant, an input of the component above, or an output of a task"
    if kind == "runtime_value" and parameter.runtime_value.WhichOneof("value") != "constant":
        return f"runtimeValue.{parameter.runtime_value.WhichOneof('value')} is of schema 2.0; should be a constant"
    if parameter.parameter_expression_selector:
        return "parameterExpressionSelector is not replayed"
    return None
