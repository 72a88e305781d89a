"""Runs container tasks: each attempt in a new folder, as a pod's attempts have new file systems."""

import os
import shutil
import time
from typing import Any, Mapping

from kfp.pipeline_spec import pipeline_spec_pb2

from cluster import task as task_variables
from cluster.replay import launcher, layouts, spec, store
from cluster.replay.driver import COMPLETE, FAILED, Inputs, Result, TaskFailed
from cluster.replay.record import TaskRecord
from cluster.replay.screen import Screen

_Task = pipeline_spec_pb2.PipelineTaskSpec


class Pods:
    """The container tasks of one run."""

    def __init__(self, pipeline: spec.Pipeline, layout: layouts.Layout, root: str, run_id: str, screen: Screen):
        """Makes the pods' side of a run.

        Args:
          pipeline: the compiled file.
          layout: of the backend.
          root: folder of the replay.
          run_id: the run's id.
          screen: where a person reads.
        """
        self._pipeline, self._layout, self._screen = pipeline, layout, screen
        self.store = store.Store(os.path.join(root, "store"))
        self.volumes = os.path.join(root, "volumes")
        self.logs = os.path.join(root, "logs", run_id)
        self.file_systems = os.path.join(root, "containers", run_id)
        self._recorded = 0

    def run(self, label: str, task: _Task, given: Mapping[str, Any], above: Inputs) -> tuple[TaskRecord, Result]:
        """Runs a task, again if it fails and its spec says so.

        Args:
          label: names the task among those of the run.
          task: its spec.
          given: the driver's ExecutorInput.
          above: inputs of the component that the task is part of, which the name of a volume may come from.
        """
        clock, attempt, attempts = time.monotonic(), 0, self._attempts(task)
        while True:
            attempt += 1
            try:
                output = self._attempt(f"{label}-{attempt}", label, self._job(task, given, above))
                artifacts = self._record(output)
                break
            except TaskFailed as failure:
                if attempt == attempts:
                    record = TaskRecord(FAILED, time.monotonic() - clock, attempt, failure.exit_status, str(failure))
                    return record, Result(FAILED)
                self._screen.say(
                    f"{label}: attempt {attempt} of {attempts}: {failure}; next one{_pause(task, attempt)}"
                )
        uris = {name: artifact.uri for name, artifact in artifacts.items()}
        record = TaskRecord(COMPLETE, time.monotonic() - clock, attempt, artifacts=uris)
        return record, Result(COMPLETE, output.parameters, artifacts)

    def _attempts(self, task: _Task) -> int:
        return 1 + task.retry_policy.max_retry_count if self._layout.retries else 1

    def _attempt(self, name: str, label: str, job: launcher.Job) -> launcher.Output:
        file_system = os.path.join(self.file_systems, name)
        try:
            with self._screen.working(label):
                output = launcher.run(job, self.store, file_system, os.path.join(self.logs, f"{label}.log"))
        except OSError as error:  # Such as a full disk, which is no reason to leave the run without its record's end.
            raise TaskFailed(f"{error.filename or file_system}: {error.strerror}") from error
        # What goes with a pod; of a failed one it stays to be looked at.
        shutil.rmtree(file_system)
        return output

    def _job(self, task: _Task, given: Mapping[str, Any], above: Inputs) -> launcher.Job:
        component = self._pipeline.component(task)
        container = self._pipeline.containers[component.executor_label]
        variables = {variable.name: variable.value for variable in container.env}
        image_dir = variables.get(task_variables.IMAGE_DIR_VARIABLE)
        folders = {image_dir: launcher.REPO} if image_dir else {}
        for mount in self._pipeline.pods.get(component.executor_label, {}).get("pvcMount", ()):
            folder = os.path.join(self.volumes, _claim(mount, above))
            os.makedirs(folder, exist_ok=True)
            folders[mount["mountPath"].rstrip("/")] = folder
        return launcher.Job(container, component, given, folders)

    def _record(self, output: launcher.Output) -> dict[str, layouts.Artifact]:
        artifacts = {}
        for name, (uri, metadata) in output.artifacts.items():
            self._recorded += 1
            try:
                recorded = layouts.recorded_metadata(self._layout, name, metadata)
            except ValueError as error:
                raise TaskFailed(f"output {name}: {error}") from error
            artifacts[name] = layouts.Artifact(self._recorded, uri, recorded)
        return artifacts


def _claim(mount: Mapping[str, Any], above: Inputs) -> str:
    if "componentInputParameter" in mount:
        return above.parameters[mount["componentInputParameter"]]
    return mount["constant"]


def _pause(task: _Task, attempt: int) -> str:
    """Says how long a cluster would wait before the next attempt."""
    policy = task.retry_policy
    seconds = policy.backoff_duration.seconds * max(policy.backoff_factor, 1.0) ** (attempt - 1)
    return f" at once, on a cluster after {seconds:.0f} s" if seconds else ""
