"""What a Kubeflow backend sends a task, made into what TFX's executor function understands, and its answer back.

An ExecutorInput is handled as the JSON that it is. Each function answers one thing that TFX 1.16.0 and open-source
Kubeflow Pipelines (backends 2.0 to 2.17) do not agree on.
"""

import os
import re
from typing import Any, Iterator, Mapping

# A folder that stands in place of `/` for the local copies of artifacts, where no container has a `/` of its own.
LOCAL_ROOT_VARIABLE = "REPLAY_ROOT"

# Where the launcher copies a remote artifact to before a task, and from after it. TensorFlow and Beam read `gs://`
# themselves, so that it can stay remote.
_LOCAL_FOLDERS = {"minio://": "minio", "s3://": "s3"}

# Types of artifacts that are the backend's own.
_BACKEND_TYPES = ("system.",)


def drop_backend_outputs(executor_input: dict[str, Any]) -> None:
    """Removes outputs that the component does not declare.

    From 2.5 on the driver adds `executor-logs` of type `system.Artifact` to every task, a class that TFX looks for.
    """
    artifacts = _artifact_lists(executor_input, "outputs")
    for name in list(artifacts):
        types = [artifact.get("type", {}).get("schemaTitle", "") for artifact in artifacts[name].get("artifacts", ())]
        if any(title.startswith(_BACKEND_TYPES) for title in types):
            del artifacts[name]


def type_inputs(executor_input: dict[str, Any], inputs_spec: Mapping[str, Any]) -> None:
    """Gives input artifacts the types that the component declares: the driver sends an empty one.

    Args:
      executor_input: is changed.
      inputs_spec: the component's inputDefinitions.
    """
    declared = inputs_spec.get("artifacts", {})
    for name, artifacts in _artifact_lists(executor_input, "inputs").items():
        for artifact in artifacts.get("artifacts", ()):
            artifact["type"] = declared[name]["artifactType"]


def localise(executor_input: dict[str, Any], local_root: str) -> None:
    """Puts the launcher's local copies in place of `minio://` and `s3://` URIs, which TensorFlow and Beam can't open.

    Args:
      executor_input: is changed.
      local_root: `/`, or what stands for it.
    """
    for artifact in _artifacts(executor_input):
        artifact["uri"] = local_path(artifact["uri"], local_root)
    outputs = executor_input.setdefault("outputs", {})
    if "outputFile" in outputs:
        outputs["outputFile"] = local_path(outputs["outputFile"], local_root)


def local_path(uri: str, local_root: str) -> str:
    """Returns the launcher's copy of a URI; what needs none is returned as it is."""
    for scheme, folder in _LOCAL_FOLDERS.items():
        if uri.startswith(scheme):
            return os.path.join(local_root, folder, uri.removeprefix(scheme))
    return uri


def make_output_folders(executor_input: Mapping[str, Any]) -> None:
    """Makes the folders of the output artifacts: the launcher makes only those that they lie in."""
    for artifacts in _artifact_lists(executor_input, "outputs").values():
        for artifact in artifacts.get("artifacts", ()):
            if "://" not in artifact["uri"]:
                os.makedirs(artifact["uri"], exist_ok=True)


def remote_uris(executor_input: Mapping[str, Any], local_root: str) -> dict[str, str]:
    """Maps the launcher's local copies to the URIs that they stand for."""
    return {local_path(artifact["uri"], local_root): artifact["uri"] for artifact in _artifacts(executor_input)}


def delocalise(executor_output: dict[str, Any], remote: Mapping[str, str]) -> None:
    """Puts the remote URIs back into a task's ExecutorOutput: the launcher uploads to what stands there.

    Args:
      executor_output: is changed.
      remote: as `remote_uris` made it.
    """
    for artifacts in executor_output.get("artifacts", {}).values():
        for artifact in artifacts.get("artifacts", ()):
            artifact["uri"] = remote.get(artifact["uri"], artifact["uri"])


def drop_nulls(executor_output: dict[str, Any]) -> None:
    """Removes metadata without a value: the launcher parses strictly, and a null is an error to it."""
    for artifacts in executor_output.get("artifacts", {}).values():
        for artifact in artifacts.get("artifacts", ()):
            metadata = artifact.get("metadata", {})
            for name in [name for name, value in metadata.items() if value is None]:
                del metadata[name]


def run_id(executor_input: Mapping[str, Any], task: str) -> str:
    """Returns the run's id, which the backend writes only into the URIs: `<root>/<pipeline>/<run>/<task>/...`.

    Args:
      executor_input: with remote URIs.
      task: the task's id.

    Raises:
      ValueError: the outputs lie elsewhere.
    """
    for name, artifacts in _artifact_lists(executor_input, "outputs").items():
        for artifact in artifacts.get("artifacts", ()):
            # From the end: a folder of the root, or the pipeline, may have the task's name.
            match = re.search(rf"/([^/]+)/{re.escape(task)}/(?:[^/]+/)?{re.escape(name)}$", artifact["uri"])
            if match:
                return match[1]
    raise ValueError(f"no output of {task} lies in a folder of that name: {executor_input.get('outputs')}")


def _artifact_lists(executor_input: Mapping[str, Any], side: str) -> dict[str, Any]:
    return executor_input.get(side, {}).get("artifacts", {})


def _artifacts(executor_input: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for side in ("inputs", "outputs"):
        for artifacts in _artifact_lists(executor_input, side).values():
            yield from artifacts.get("artifacts", ())
