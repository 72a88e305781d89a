"""Runs the tasks of a compiled pipeline one after the other, as a Kubeflow backend would.

<root>/
  store/<bucket>/<key>            the object store
  volumes/<claim>/                the volumes
  logs/<run id>/<task>.log        what a task's container said, all attempts
  runs/<run id>.json              the record of a run
  containers/<run id>/<task>-<attempt>/    a container's file system; stays where the attempt failed

What the replay leaves out of a backend: its cache (every task runs), resources, images, node selectors, secrets (a
variable of this process of the same name stands in), and that tasks run side by side.
"""

import os
import uuid
from typing import Any, Mapping, Optional

import rich.console
from kfp.pipeline_spec import pipeline_spec_pb2

from cluster.replay import conditions, driver, layouts, order, outcome, pods, spec, store, values
from cluster.replay.driver import COMPLETE, FAILED, SKIPPED, Inputs, Result, Scope, TaskFailed
from cluster.replay.record import Record, TaskRecord
from cluster.replay.screen import Screen
from core.errors import UserError

# What a cluster uses where nothing else is said.
DEFAULT_ROOT = "minio://mlpipeline/v2/artifacts"

# The run parameter that names another one.
_ROOT_PARAMETER = "pipeline_root"

# `gs://` is not one: tasks open it themselves, past the launcher and so past the replay's store.
_ROOT_SCHEMES = ("minio://", "s3://")

_Task = pipeline_spec_pb2.PipelineTaskSpec


def run(file: str, root: str, parameters: Mapping[str, str], layout: str, console: rich.console.Console) -> int:
    """Executes a compiled pipeline on this machine.

    Args:
      file: path of the YAML that `compile` wrote.
      root: folder of the replay; what is on its volumes, such as the model in serving, stays for the next.
      parameters: name -> text, as a person gives them to a run.
      layout: a key of `layouts.LAYOUTS`: whose ExecutorInput the tasks get.
      console: where a person reads.

    Returns:
      0; 1 if a task failed; 2 if all that failed is for the user to mend; 3 if the model was not blessed.

    Raises:
      UserError: the file, a parameter, the layout or the folder is wrong; nothing was started.
      KeyboardInterrupt: as it was raised; no process is left.
    """
    if layout not in layouts.LAYOUTS:
        raise UserError(f"--layout {layout}: should be one of {', '.join(layouts.LAYOUTS)}")
    pipeline = spec.load(file)
    given = values.of_run(pipeline.spec.root.input_definitions, parameters)
    record = Record(str(uuid.uuid4()), os.path.abspath(file), layout, _pipeline_root(given), given)
    record_file = os.path.join(os.path.abspath(root), "runs", f"{record.run_id}.json")
    try:
        record.write(record_file)
    except OSError as error:
        raise UserError(f"--root {root}: can't be written to ({error.strerror}); give a folder that can") from error
    replay = _Replay(pipeline, os.path.abspath(root), record, Screen(console))
    try:
        record.exit_status = replay.run()
    finally:
        record.write(record_file)
        replay.show_places(record_file)
    return record.exit_status


def _pipeline_root(given: Mapping[str, Any]) -> str:
    root = (given.get(_ROOT_PARAMETER) or DEFAULT_ROOT).rstrip("/")
    try:
        store.container_path(root)
    except ValueError as error:
        raise UserError(f"--param {_ROOT_PARAMETER}={error}") from error
    if not root.startswith(_ROOT_SCHEMES):
        raise UserError(
            f"--param {_ROOT_PARAMETER}={root}: the replay has a store for {' and '.join(_ROOT_SCHEMES)} only; "
            f"replay with {DEFAULT_ROOT}"
        )
    return root


class _Replay:
    """One run."""

    def __init__(self, pipeline: spec.Pipeline, root: str, record: Record, screen: Screen):
        self._pipeline, self._record, self._screen = pipeline, record, screen
        self._layout = layouts.LAYOUTS[record.layout]
        self._pods = pods.Pods(pipeline, self._layout, root, record.run_id, screen)
        self._uri = f"{record.pipeline_root}/{pipeline.name}/{record.run_id}"

    def run(self) -> int:
        """Runs the whole pipeline; returns the exit status."""
        self._screen.say(f"{self._pipeline.name}: run {self._record.run_id}, layout {self._record.layout}")
        for sentence in _differences(self._pipeline, self._layout):
            self._screen.say(f"note: {sentence}")
        self._run_dag(self._pipeline.spec.root.dag, Inputs(self._record.parameters, {}), "")
        failed = {task.exit_status for task in self._record.tasks.values() if task.status == FAILED}
        if failed:
            return 2 if failed == {2} else 1
        return outcome.exit_status(outcome.summary(self._reports()))

    def show_places(self, record_file: str) -> None:
        """Says what the run came to, and where everything of it is."""
        told = outcome.sentence(outcome.summary(self._reports()))
        if told is not None:
            self._screen.say(told)
        failed = any(task.status == FAILED for task in self._record.tasks.values())
        places = {
            "logs": self._pods.logs,
            "containers": self._pods.file_systems if failed else None,
            "artifacts": self._pods.store.path(self._uri),
            "record": record_file,
            "report": outcome.page(self._reports()),
        }
        self._screen.places(places)

    def _reports(self) -> list[str]:
        """Returns the folders that may hold the run's report: artifacts, and its own on volumes."""
        uris = [uri for task in self._record.tasks.values() for uri in task.artifacts.values()]
        return [*map(self._pods.store.path, uris), *outcome.run_folders(self._pods.volumes, self._record.run_id)]

    def _run_dag(self, dag: pipeline_spec_pb2.DagSpec, inputs: Inputs, prefix: str) -> Result:
        """Runs the tasks of a DAG; the prefix tells tasks apart that have the same name in two DAGs."""
        scope = Scope(inputs, {}, self._pipeline.name, self._record.run_id)
        for name in order.run_order(self._pipeline.name, dag):
            label = f"{prefix}{name}" if name in self._record.tasks else name
            scope.results[name] = self._run_task(name, label, dag.tasks[name], scope)
        failed = any(result.status == FAILED for result in scope.results.values())
        return Result(FAILED if failed else COMPLETE, *driver.dag_outputs(dag, scope.results))

    def _run_task(self, name: str, label: str, task: _Task, scope: Scope) -> Result:
        component = self._pipeline.component(task)
        reason = _why_not_ready(task, scope)
        if reason is None:
            try:
                inputs = driver.resolve(name, task, component, scope)
                given = layouts.inputs(inputs.parameters, inputs.artifacts)
                reason = _why_not_triggered(task, given)
            except TaskFailed as failure:
                return self._ended(label, TaskRecord(FAILED, error=str(failure)), Result(FAILED))
        if reason is not None:
            return self._ended(label, TaskRecord(SKIPPED, error=reason), Result(SKIPPED))
        if component.WhichOneof("implementation") == "dag":
            return self._run_dag(component.dag, driver.handed_down(inputs, component), f"{label}.")
        outputs = layouts.outputs(self._layout, f"{self._uri}/{name}", str(uuid.uuid4()), component.output_definitions)
        return self._ended(label, *self._pods.run(label, task, {"inputs": given, "outputs": outputs}, scope.inputs))

    def _ended(self, label: str, record: TaskRecord, result: Result) -> Result:
        self._record.tasks[label] = record
        self._screen.ended(label, record)
        return result


def _differences(pipeline: spec.Pipeline, layout: layouts.Layout) -> list[str]:
    """Says where this run will differ from one on the cluster."""
    told = []
    if not layout.final_status and pipeline.takes_final_status():
        told.append("a backend before 2.14 refuses this pipeline: a task takes the final status of another")
    missing = sorted(pipeline.secret_variables() - os.environ.keys())
    if missing:
        told.append(f"{', '.join(missing)}: from secrets on the cluster; here from this environment, which has none")
    return told


def _why_not_ready(task: _Task, scope: Scope) -> Optional[str]:
    """Says which of the tasks that this one waits for keeps it from running."""
    if task.trigger_policy.strategy == task.TriggerPolicy.ALL_UPSTREAM_TASKS_COMPLETED:
        return None
    for name in sorted(order.upstream(task)):
        status = scope.results[name].status
        if status != COMPLETE:
            return f"it needs {name}, which {'failed' if status == FAILED else 'was skipped'}"
    return None


def _why_not_triggered(task: _Task, given: Mapping[str, Any]) -> Optional[str]:
    condition = task.trigger_policy.condition
    try:
        if not condition or conditions.holds(condition, given):
            return None
    except ValueError as error:
        raise TaskFailed(str(error)) from error
    return f"its condition {condition!r} is false"
