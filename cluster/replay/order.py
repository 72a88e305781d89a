"""Which tasks of a DAG need which, and in which order they run."""

import graphlib

from kfp.pipeline_spec import pipeline_spec_pb2

from core.errors import UserError


def run_order(where: str, dag: pipeline_spec_pb2.DagSpec) -> list[str]:
    """Returns the names of a DAG's tasks, each after those that it depends on.

    Args:
      where: words that name the DAG in an error.
      dag: the DAG; the order of tasks that do not depend on each other is that of their names.

    Raises:
      UserError: a task depends on one that is not there, or on itself by way of others.
    """
    needed = {name: upstream(dag.tasks[name]) for name in sorted(dag.tasks)}
    for name, producers in needed.items():
        for producer in sorted(producers - needed.keys()):
            raise UserError(f"{where}: task {name} depends on {producer!r}, which is not there")
    try:
        return list(graphlib.TopologicalSorter(needed).static_order())
    except graphlib.CycleError as error:
        raise UserError(f"{where}: tasks depend on each other in a circle: {' -> '.join(error.args[1])}") from error


def upstream(task: pipeline_spec_pb2.PipelineTaskSpec) -> set[str]:
    """Returns the tasks of the same DAG that a task waits for."""
    parameters, artifacts = task.inputs.parameters.values(), task.inputs.artifacts.values()
    return {
        *task.dependent_tasks,
        *(each.task_output_artifact.producer_task for each in artifacts if each.HasField("task_output_artifact")),
        *(each.task_output_parameter.producer_task for each in parameters if each.HasField("task_output_parameter")),
        *(each.task_final_status.producer_task for each in parameters if each.HasField("task_final_status")),
    }


def producers_of_outputs(dag: pipeline_spec_pb2.DagSpec) -> set[str]:
    """Returns the tasks of a DAG that its outputs come from."""
    parameters, artifacts = dag.outputs.parameters.values(), dag.outputs.artifacts.values()
    single = [each.value_from_parameter for each in parameters if each.HasField("value_from_parameter")]
    several = [selector for each in parameters for selector in each.value_from_oneof.parameter_selectors]
    files = [selector for each in artifacts for selector in each.artifact_selectors]
    return {selector.producer_subtask for selector in (*single, *several, *files)}
