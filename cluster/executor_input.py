"""Converts the input that a Kubeflow backend sends to a task to the form that TFX expects, and TFX's output back.

ExecutorInputs are plain JSON. Each function resolves one difference between TFX and open-source
Kubeflow Pipelines (backends 2.0 to 2.17).
"""

import os
import re
from typing import Any, Iterator, Mapping

from cluster import ascii_text, task_protocol

# The folder that replaces `/` for local copies of artifacts, in the tasks of a replay, which do not run in containers.
LOCAL_ROOT_VARIABLE = "REPLAY_ROOT"

# Where the launcher copies remote artifacts before and after a task. Not `gs://`, which TensorFlow and Beam can open.
_LOCAL_FOLDERS = {"minio://": "minio", "s3://": "s3"}

# Outputs that the compiled file declares and TFX does not know.
_FILES = (task_protocol.PAGE, task_protocol.OUTCOME)

# Prefix of the backend's own artifact types.
_BACKEND_TYPES = ("system.",)


def restore_letters(executor_input: dict[str, Any]) -> None:
    """Restores the letters of parameters that the compiler escaped."""
    values = executor_input.get("inputs", {}).get("parameterValues", {})
    values.update({name: ascii_text.unescape(value) for name, value in values.items() if isinstance(value, str)})


def file_uris(executor_input: Mapping[str, Any], task: str) -> dict[str, str]:
    """Returns the outputs that are one file of the report, PAGE and OUTCOME of `task_protocol`: name -> URI."""
    declared = _artifact_lists(executor_input, "outputs")
    uris = {name: declared[name]["artifacts"][0]["uri"] for name in _FILES if name in declared}
    if task_protocol.OUTCOME in uris:
        uris[task_protocol.OUTCOME] = task_protocol.outcome_uri(_run_uri(executor_input, task))
    return uris


def output_uris(executor_input: Mapping[str, Any]) -> dict[str, str]:
    """Returns the URI of each output."""
    return {name: each["artifacts"][0]["uri"] for name, each in _artifact_lists(executor_input, "outputs").items()}


def drop_backend_outputs(executor_input: dict[str, Any]) -> None:
    """Removes outputs that the component does not declare, because TFX would import a class for their types.

    From 2.5 on the driver adds `executor-logs` of type `system.Artifact` to every task. The compiler adds the files of
    the report (`file_uris`) and `cluster.figures`, which are written after the executor.
    """
    artifacts = _artifact_lists(executor_input, "outputs")
    for name in list(artifacts):
        types = [artifact.get("type", {}).get("schemaTitle", "") for artifact in artifacts[name].get("artifacts", ())]
        if any(title.startswith(_BACKEND_TYPES) for title in types):
            del artifacts[name]


def set_input_types(executor_input: dict[str, Any], inputs_spec: Mapping[str, Any]) -> None:
    """Sets the types of input artifacts to those that the component declares: the driver sends empty types.

    Args:
      executor_input: changed in place.
      inputs_spec: the component's inputDefinitions.
    """
    declared = inputs_spec.get("artifacts", {})
    for name, artifacts in _artifact_lists(executor_input, "inputs").items():
        for artifact in artifacts.get("artifacts", ()):
            artifact["type"] = declared[name]["artifactType"]


def localize(executor_input: dict[str, Any], local_root: str) -> None:
    """Replaces `minio://` and `s3://` URIs, which TensorFlow and Beam can't open, by paths of the launcher's copies.

    Args:
      executor_input: changed in place.
      local_root: `/`, or the folder that replaces it.
    """
    for artifact in _artifacts(executor_input):
        artifact["uri"] = local_path(artifact["uri"], local_root)
    outputs = executor_input.setdefault("outputs", {})
    if "outputFile" in outputs:
        outputs["outputFile"] = local_path(outputs["outputFile"], local_root)


def local_path(uri: str, local_root: str) -> str:
    """Returns the path of the launcher's copy of a URI; other URIs and paths are returned unchanged."""
    for scheme, folder in _LOCAL_FOLDERS.items():
        if uri.startswith(scheme):
            return os.path.join(local_root, folder, uri.removeprefix(scheme))
    return uri


def create_output_folders(executor_input: Mapping[str, Any]) -> None:
    """Creates the folders of the output artifacts: the launcher creates only their parents."""
    for artifacts in _artifact_lists(executor_input, "outputs").values():
        for artifact in artifacts.get("artifacts", ()):
            if "://" not in artifact["uri"]:
                os.makedirs(artifact["uri"], exist_ok=True)


def remote_uris(executor_input: Mapping[str, Any], local_root: str) -> dict[str, str]:
    """Returns the path of each local copy of the launcher -> its URI."""
    return {local_path(artifact["uri"], local_root): artifact["uri"] for artifact in _artifacts(executor_input)}


def restore_remote_uris(executor_output: dict[str, Any], remote: Mapping[str, str]) -> None:
    """Restores the remote URIs in a task's ExecutorOutput: the launcher uploads to them.

    Args:
      executor_output: changed in place.
      remote: from `remote_uris`.
    """
    for artifacts in executor_output.get("artifacts", {}).values():
        for artifact in artifacts.get("artifacts", ()):
            artifact["uri"] = remote.get(artifact["uri"], artifact["uri"])


def drop_nulls(executor_output: dict[str, Any]) -> None:
    """Removes null metadata, which the launcher rejects."""
    for artifacts in executor_output.get("artifacts", {}).values():
        for artifact in artifacts.get("artifacts", ()):
            metadata = artifact.get("metadata", {})
            for name in [name for name, value in metadata.items() if value is None]:
                del metadata[name]


def run_id(executor_input: Mapping[str, Any], task: str) -> str:
    """Returns the id of the run.

    Args:
      executor_input: with remote URIs.
      task: the task's id.

    Raises:
      ValueError: the URIs of the outputs have another form.
    """
    return _run_uri(executor_input, task).rpartition("/")[2]


def _run_uri(executor_input: Mapping[str, Any], task: str) -> str:
    """Returns the URI of the run's artifacts, which only those of the outputs contain: `<run URI>/<task>/...`."""
    for name, artifacts in _artifact_lists(executor_input, "outputs").items():
        for artifact in artifacts.get("artifacts", ()):
            # Matched at the end: a folder of the root, or the pipeline, may have the same name as the task.
            match = re.search(rf"^(.+/[^/]+)/{re.escape(task)}/(?:[^/]+/)?{re.escape(name)}$", artifact["uri"])
            if match:
                return match[1]
    raise ValueError(f"outputs of {task}: no URI contains a folder {task}: {executor_input.get('outputs')}")


def _artifact_lists(executor_input: Mapping[str, Any], side: str) -> dict[str, Any]:
    return executor_input.get(side, {}).get("artifacts", {})


def _artifacts(executor_input: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for side in ("inputs", "outputs"):
        for artifacts in _artifact_lists(executor_input, side).values():
            yield from artifacts.get("artifacts", ())
