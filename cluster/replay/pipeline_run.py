"""Runs the tasks of a compiled pipeline one after the other, as a Kubeflow backend would.

<root>/
  store/<bucket>/<key>            the object store
  volumes/<claim>/                the volumes
  logs/<run id>/<task>.log        the output of a task's container, from all attempts
  runs/<run id>.json              the record of a run
  containers/<run id>/<task>-<attempt>/    a container's file system; kept if the attempt failed

The replay does not emulate a backend's cache (every task runs), resources, images, node selectors and secrets (set
environment variables of the same names instead), and runs no tasks in parallel.
"""

import os
import uuid
from typing import Any, Mapping, Optional

import rich.console

from cluster import compiled_file
from cluster.replay import layouts, object_store, pipeline_spec, run_summary
from cluster.replay.container_task import ContainerTasks
from cluster.replay.pipeline_spec import Dag, Pipeline, Task
from cluster.replay.record import COMPLETE, FAILED, SKIPPED, Record, TaskRecord
from cluster.replay.screen import Screen
from core.errors import UserError

# A cluster's default.
DEFAULT_ROOT = "minio://mlpipeline/v2/artifacts"

# The run parameter that replaces it.
_ROOT_PARAMETER = "pipeline_root"


def run(file: str, root: str, parameters: Mapping[str, str], layout: str, console: rich.console.Console) -> int:
    """Executes a compiled pipeline on this machine.

    Args:
      file: path of the compiled file.
      root: folder of the replay; the content of its volumes, such as the model in serving, is kept for the next replay.
      parameters: name -> text of the run parameters.
      layout: key of `layouts.LAYOUTS`: the layout of the tasks' ExecutorInput.
      console: where progress is shown.

    Returns:
      0; 1 if a task failed; 2 if all failures are errors of the user; 3 if the model was not blessed.

    Raises:
      UserError: the file, a parameter, the layout or the folder is wrong; nothing was started.
      KeyboardInterrupt: after Ctrl-C; no process is left.
    """
    if layout not in layouts.LAYOUTS:
        raise UserError(f"--layout {layout}: should be one of {', '.join(layouts.LAYOUTS)}")
    compiled = compiled_file.read(file)
    pipeline = pipeline_spec.parse(compiled)
    values = {**compiled.defaults, **compiled.parse_parameters(parameters)}
    record = Record(str(uuid.uuid4()), os.path.abspath(file), layout, _pipeline_root(values), values)
    record_file = os.path.join(os.path.abspath(root), "runs", f"{record.run_id}.json")
    try:
        record.write(record_file)
    except OSError as error:
        raise UserError(f"--root {root}: not writable ({error.strerror}); should be a writable folder") from error
    pipeline_run = _PipelineRun(pipeline, os.path.abspath(root), record, Screen(console))
    try:
        record.exit_status = pipeline_run.run()
    finally:
        record.write(record_file)
        pipeline_run.show_results(record_file)
    return record.exit_status


def _pipeline_root(values: Mapping[str, Any]) -> str:
    root = (values.get(_ROOT_PARAMETER) or DEFAULT_ROOT).rstrip("/")
    try:
        object_store.container_path(root)
    except ValueError as error:
        raise UserError(f"--param {_ROOT_PARAMETER}={error}, such as {DEFAULT_ROOT}") from error
    return root


class _PipelineRun:
    """One run of a pipeline."""

    def __init__(self, pipeline: Pipeline, root: str, record: Record, screen: Screen):
        self._pipeline, self._record, self._screen = pipeline, record, screen
        self._layout = layouts.LAYOUTS[record.layout]
        self._containers = ContainerTasks(pipeline, self._layout, root, record.run_id, screen)
        self._uri = f"{record.pipeline_root}/{pipeline.name}/{record.run_id}"
        # By name of the task; a DAG has a status too, but no artifacts.
        self._statuses: dict[str, str] = {}
        self._artifacts: dict[str, Mapping[str, layouts.Artifact]] = {}

    def run(self) -> int:
        """Runs all tasks; returns the exit status."""
        self._screen.print(f"{self._pipeline.name}: run {self._record.run_id}, layout {self._record.layout}")
        missing = sorted(self._pipeline.secret_variables() - os.environ.keys())
        if missing:
            self._screen.print(
                f"note: {', '.join(missing)}: set from secrets on the cluster, but not set in this environment"
            )
        self._run_dag(self._pipeline.spec.root.dag, self._record.parameters)
        failed = {task.exit_status for task in self._record.tasks.values() if task.status == FAILED}
        if failed:
            return 2 if failed == {2} else 1
        return self._summary().exit_status

    def show_results(self, record_file: str) -> None:
        """Shows the outcome, and where logs, artifacts and reports are."""
        summary = self._summary()
        if summary.sentence is not None:
            self._screen.print(summary.sentence)
        failed = FAILED in self._statuses.values()
        paths = {
            "logs": self._containers.logs,
            "containers": self._containers.file_systems if failed else None,
            "artifacts": self._containers.store.path(self._uri),
            "record": record_file,
            "report": summary.page,
        }
        self._screen.print_paths(paths)

    def _summary(self) -> run_summary.Outcome:
        uris = [uri for task in self._record.tasks.values() for uri in task.artifacts.values()]
        paths = [self._containers.store.path(uri) for uri in uris]
        return run_summary.find(paths, self._containers.volumes, self._record.run_id)

    def _run_dag(self, dag: Dag, parameters: Mapping[str, Any]) -> str:
        """Runs the tasks of a DAG; returns its status."""
        order = pipeline_spec.run_order(dag)
        for name in order:
            self._statuses[name] = self._run_task(name, dag.tasks[name], parameters)
        return FAILED if FAILED in [self._statuses[name] for name in order] else COMPLETE

    def _run_task(self, name: str, task: Task, outer: Mapping[str, Any]) -> str:
        """Runs a task unless an upstream task has failed or was skipped; returns its status.

        Args:
          name: name of the task.
          task: spec of the task.
          outer: parameters of its DAG.
        """
        blocker = self._blocker(task)
        if blocker is not None:
            return self._finish(name, TaskRecord(SKIPPED, error=blocker))
        component, sources = self._pipeline.component(task), task.inputs.parameters.items()
        parameters = {
            key: outer[source.component_input_parameter]
            if source.component_input_parameter
            else layouts.as_json(source.runtime_value.constant)
            for key, source in sources
        }
        if component.WhichOneof("implementation") == "dag":
            return self._run_dag(component.dag, parameters)
        producers = {key: source.task_output_artifact for key, source in task.inputs.artifacts.items()}
        artifacts = {key: self._artifacts[p.producer_task][p.output_artifact_key] for key, p in producers.items()}
        executor_input = {
            "inputs": layouts.inputs(parameters, artifacts),
            "outputs": layouts.outputs(
                self._layout, f"{self._uri}/{name}", str(uuid.uuid4()), component.output_definitions
            ),
        }
        record, self._artifacts[name] = self._containers.run(name, task, executor_input)
        return self._finish(name, record)

    def _blocker(self, task: Task) -> Optional[str]:
        """Returns why a task can't run; None if it can."""
        if pipeline_spec.runs_after_failure(task):
            return None
        for name in sorted(pipeline_spec.upstream(task)):
            if self._statuses[name] != COMPLETE:
                return f"upstream task {name} {'failed' if self._statuses[name] == FAILED else 'was skipped'}"
        return None

    def _finish(self, name: str, record: TaskRecord) -> str:
        self._record.tasks[name] = record
        self._screen.print_result(name, record)
        return record.status
