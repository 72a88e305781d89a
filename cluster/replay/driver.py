"""What KFP's driver does before a task: finds the values of its inputs."""

import dataclasses
from typing import Any, Mapping, Optional

from kfp.pipeline_spec import pipeline_spec_pb2

from cluster.replay import layouts, values
from cluster.replay.layouts import Artifact

COMPLETE, FAILED, SKIPPED = "complete", "failed", "skipped"

# What ML Metadata calls the states of an execution.
_STATES = {COMPLETE: "COMPLETE", FAILED: "FAILED", SKIPPED: "CANCELED"}


class TaskFailed(Exception):
    """A task came to a bad end; the text is a sentence.

    Attributes:
      exit_status: of its container; None where it was not the container that failed.
    """

    def __init__(self, text: str, exit_status: Optional[int] = None):
        super().__init__(text)
        self.exit_status = exit_status


@dataclasses.dataclass(frozen=True)
class Result:
    """What became of a task.

    Attributes:
      status: COMPLETE, FAILED or SKIPPED.
      parameters: its output parameters.
      artifacts: its output artifacts.
    """

    status: str
    parameters: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    artifacts: Mapping[str, Artifact] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Inputs:
    """The values of a component's inputs."""

    parameters: Mapping[str, Any]
    artifacts: Mapping[str, Artifact]


@dataclasses.dataclass(frozen=True)
class Scope:
    """What the tasks of one DAG can refer to.

    Attributes:
      inputs: of the component that the DAG is.
      results: task -> result, of those that have ended.
      run_name: the name of the run.
      run_id: its id.
    """

    inputs: Inputs
    results: dict[str, Result]
    run_name: str
    run_id: str


def resolve(
    name: str, task: pipeline_spec_pb2.PipelineTaskSpec, component: pipeline_spec_pb2.ComponentSpec, scope: Scope
) -> Inputs:
    """Finds the inputs of a task.

    Args:
      name: of the task.
      task: its spec.
      component: what it runs.
      scope: of its DAG.

    Raises:
      TaskFailed: an input has no value, or one of another type.
    """
    declared = component.input_definitions.parameters
    parameters = {}
    for key, spec in task.inputs.parameters.items():
        try:
            value = _parameter(name, spec, scope)
            parameters[key] = values.of_type(value, declared[key].parameter_type) if key in declared else value
        except LookupError as error:
            if key not in declared or not declared[key].is_optional:
                raise TaskFailed(f"input {key}: {error.args[0]}") from error
        except ValueError as error:
            raise TaskFailed(f"input {key}: should be {error}") from error
    for key, definition in declared.items():
        if key not in parameters and not definition.is_optional and not definition.HasField("default_value"):
            raise TaskFailed(f"input {key}: has neither a value nor a default")
    artifacts = {key: _artifact(key, spec, scope) for key, spec in task.inputs.artifacts.items()}
    return Inputs(parameters, artifacts)


def handed_down(inputs: Inputs, component: pipeline_spec_pb2.ComponentSpec) -> Inputs:
    """Returns the inputs of a DAG component as its tasks see them: with defaults, and artifacts without a type."""
    artifacts = {key: dataclasses.replace(each, handed_down=True) for key, each in inputs.artifacts.items()}
    return Inputs(with_defaults(inputs.parameters, component), artifacts)


def with_defaults(parameters: Mapping[str, Any], component: pipeline_spec_pb2.ComponentSpec) -> dict[str, Any]:
    """Adds the component's defaults for parameters that have no value."""
    declared = component.input_definitions.parameters.items()
    defaults = {key: values.plain(each.default_value) for key, each in declared if each.HasField("default_value")}
    return {**defaults, **parameters}


def dag_outputs(
    dag: pipeline_spec_pb2.DagSpec, results: Mapping[str, Result]
) -> tuple[dict[str, Any], dict[str, Artifact]]:
    """Returns the output parameters and artifacts of a DAG, of those of its tasks that have ended."""
    parameters, artifacts = {}, {}
    for key, parameter in dag.outputs.parameters.items():
        one_of = parameter.value_from_oneof.parameter_selectors
        for selector in one_of or [parameter.value_from_parameter]:
            produced = results[selector.producer_subtask].parameters
            if selector.output_parameter_key in produced:
                parameters.setdefault(key, produced[selector.output_parameter_key])
    for key, artifact in dag.outputs.artifacts.items():
        for selector in artifact.artifact_selectors:
            produced = results[selector.producer_subtask].artifacts
            if selector.output_artifact_key in produced:
                artifacts.setdefault(key, produced[selector.output_artifact_key])
    return parameters, artifacts


def _parameter(task: str, spec: pipeline_spec_pb2.TaskInputsSpec.InputParameterSpec, scope: Scope) -> Any:
    kind = spec.WhichOneof("kind")
    if kind == "component_input_parameter":
        key = spec.component_input_parameter
        if scope.inputs.parameters.get(key) is None:
            raise LookupError(f"the component above has no input {key!r} with a value")
        return scope.inputs.parameters[key]
    if kind == "task_output_parameter":
        producer, key = spec.task_output_parameter.producer_task, spec.task_output_parameter.output_parameter_key
        return _produced(producer, key, scope.results[producer].parameters)
    if kind == "task_final_status":
        producer = spec.task_final_status.producer_task
        return layouts.final_status(_STATES[scope.results[producer].status], producer, scope.run_name)
    return _constant(values.plain(spec.runtime_value.constant), task, scope)


def _constant(value: Any, task: str, scope: Scope) -> Any:
    """Fills in the placeholders that the driver knows, each of which is a whole value."""
    known = {
        "{{$.pipeline_job_name}}": scope.run_name,
        "{{$.pipeline_job_resource_name}}": scope.run_name,
        "{{$.pipeline_job_uuid}}": scope.run_id,
        "{{$.pipeline_task_name}}": task,
    }
    return known.get(value, value) if isinstance(value, str) else value


def _artifact(key: str, spec: pipeline_spec_pb2.TaskInputsSpec.InputArtifactSpec, scope: Scope) -> Artifact:
    try:
        if spec.HasField("component_input_artifact"):
            name = spec.component_input_artifact
            if name not in scope.inputs.artifacts:
                raise LookupError(f"the component above has no input artifact {name!r}")
            return scope.inputs.artifacts[name]
        producer = spec.task_output_artifact.producer_task
        return _produced(producer, spec.task_output_artifact.output_artifact_key, scope.results[producer].artifacts)
    except LookupError as error:
        raise TaskFailed(f"input {key}: {error.args[0]}") from error


def _produced(producer: str, key: str, outputs: Mapping[str, Any]) -> Any:
    if key not in outputs:
        raise LookupError(f"task {producer} has no output {key!r}")
    return outputs[key]
