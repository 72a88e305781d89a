"""Runs container tasks, each attempt in a new folder, because each pod has a new file system."""

import os
import shutil
import time
from typing import Any, Mapping

from cluster import task_protocol
from cluster.replay import kfp_launcher, layouts, object_store
from cluster.replay.pipeline_spec import Pipeline, Task
from cluster.replay.record import COMPLETE, FAILED, TaskFailed, TaskRecord
from cluster.replay.screen import Screen


class ContainerTasks:
    """The container tasks of one run.

    Attributes:
      store: the object store.
      volumes: folder of the volumes.
      logs: folder of the tasks' logs.
      file_systems: folder of the containers' file systems.
    """

    def __init__(self, pipeline: Pipeline, layout: layouts.Layout, root: str, run_id: str, screen: Screen):
        """Prepares a run.

        Args:
          pipeline: the compiled file.
          layout: the backend's layout.
          root: folder of the replay.
          run_id: the run's id.
          screen: shows the running task.
        """
        self._pipeline, self._layout, self._screen = pipeline, layout, screen
        self.store = object_store.ObjectStore(os.path.join(root, "store"))
        self.volumes = os.path.join(root, "volumes")
        self.logs = os.path.join(root, "logs", run_id)
        self.file_systems = os.path.join(root, "containers", run_id)
        self._recorded = 0

    def run(
        self, name: str, task: Task, executor_input: Mapping[str, Any]
    ) -> tuple[TaskRecord, dict[str, layouts.Artifact]]:
        """Runs a task, with the retries of its spec; returns its record and its output artifacts.

        Args:
          name: name of the task.
          task: spec of the task.
          executor_input: ExecutorInput from the driver.
        """
        start, attempt = time.monotonic(), 0
        attempts = 1 + task.retry_policy.max_retry_count if self._layout.per_execution else 1
        while True:
            attempt += 1
            try:
                artifacts = self._attempt(name, attempt, task, executor_input)
                break
            except TaskFailed as failure:
                if attempt == attempts:
                    seconds = time.monotonic() - start
                    return TaskRecord(FAILED, seconds, attempt, failure.exit_status, str(failure)), {}
                self._screen.print(
                    f"{name}: attempt {attempt} of {attempts} failed: {failure}; retrying{_pause(task, attempt)}"
                )
        uris = {output: artifact.uri for output, artifact in artifacts.items()}
        metadata = {output: artifact.metadata for output, artifact in artifacts.items()}
        record = TaskRecord(COMPLETE, time.monotonic() - start, attempt, artifacts=uris, metadata=metadata)
        return record, artifacts

    def _attempt(
        self, name: str, number: int, task: Task, executor_input: Mapping[str, Any]
    ) -> dict[str, layouts.Artifact]:
        label = self._pipeline.component(task).executor_label
        attempt = kfp_launcher.Attempt(
            container=self._pipeline.containers[label],
            executor_input=executor_input,
            mounts=self._mounts(label),
            file_system=os.path.join(self.file_systems, f"{name}-{number}"),
            log=os.path.join(self.logs, f"{name}.log"),
        )
        try:
            with self._screen.running(name):
                outputs = kfp_launcher.run(attempt, self.store)
        except OSError as error:  # Such as a full disk: the record must still be completed.
            raise TaskFailed(f"{error.filename or attempt.file_system}: {error.strerror}") from error
        # The folder of a failed attempt is kept for inspection.
        shutil.rmtree(attempt.file_system)
        return {output: self._record(output, content) for output, content in outputs.items()}

    def _mounts(self, label: str) -> dict[str, str]:
        """Returns the folders that a container sees: path in the container -> folder here."""
        variables = {variable.name: variable.value for variable in self._pipeline.containers[label].env}
        image_dir = variables.get(task_protocol.IMAGE_DIR_VARIABLE)
        mounts = {image_dir: kfp_launcher.REPO} if image_dir else {}
        for mount in self._pipeline.pods.get(label, {}).get("pvcMount", ()):
            folder = os.path.join(self.volumes, mount["constant"])
            os.makedirs(folder, exist_ok=True)
            mounts[mount["mountPath"].rstrip("/")] = folder
        return mounts

    def _record(self, name: str, output: kfp_launcher.Output) -> layouts.Artifact:
        self._recorded += 1
        try:
            metadata = layouts.recorded_metadata(self._layout, name, output.metadata)
        except ValueError as error:
            raise TaskFailed(f"output {name}: {error}") from error
        return layouts.Artifact(self._recorded, output.uri, metadata)


def _pause(task: Task, attempt: int) -> str:
    """Describes how long a cluster would wait before the next attempt."""
    policy = task.retry_policy
    seconds = policy.backoff_duration.seconds * max(policy.backoff_factor, 1.0) ** (attempt - 1)
    return f" at once (a cluster waits {seconds:.0f} s)" if seconds else ""
