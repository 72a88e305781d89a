"""Emulates KFP's launcher: copies a container's inputs in, runs its command, copies its outputs out.

A folder replaces the container's file system. There is no chroot: absolute paths of the container are translated in its
command, its environment and its parameters.
"""

import dataclasses
import json
import os
import re
import signal
import sys
from typing import Any, Iterator, Mapping

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from cluster import executor_input, task_protocol
from cluster.replay import container_process, layouts, object_store
from cluster.replay.pipeline_spec import EXECUTOR_INPUT, Container
from cluster.replay.record import TaskFailed

# The repository, which the image contains.
REPO = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

_PYTHON = ("python", "python3")

# Folders that the backend reads and writes in a container.
_BACKEND_FOLDERS = (*object_store.CONTAINER_FOLDERS.values(), layouts.OUTPUT_FOLDER)


@dataclasses.dataclass(frozen=True)
class Attempt:
    """A container to run once.

    Attributes:
      container: spec of the container.
      executor_input: ExecutorInput from the driver.
      mounts: absolute path in the container -> folder on this machine, for the repository and the volumes.
      file_system: a folder that does not exist yet; replaces the container's `/`.
      log: file to which the container's output is appended.
    """

    container: Container
    executor_input: Mapping[str, Any]
    mounts: Mapping[str, str]
    file_system: str
    log: str


@dataclasses.dataclass(frozen=True)
class Output:
    """An output artifact of a container."""

    uri: str
    metadata: Mapping[str, Any]


class Paths:
    """Translates absolute paths of a container to paths of this machine."""

    def __init__(self, folders: Mapping[str, str]):
        """Prepares a translation.

        Args:
          folders: path in the container -> folder on this machine.
        """
        self._folders = folders
        # The longest first, because a volume may be mounted inside another. Parts of longer paths and URLs don't match.
        names = "|".join(re.escape(name) for name in sorted(folders, key=len, reverse=True))
        self._pattern = re.compile(rf"(?<![\w./-])({names})(?![\w.-])")

    def translate(self, value: Any) -> Any:
        """Returns a JSON value with the paths in its strings replaced; a string may be JSON itself."""
        if isinstance(value, str):
            return self._pattern.sub(lambda match: self._folders[match[1]], value)
        if isinstance(value, Mapping):
            return {key: self.translate(each) for key, each in value.items()}
        return [self.translate(each) for each in value] if isinstance(value, list) else value


def run(attempt: Attempt, objects: object_store.ObjectStore) -> dict[str, Output]:
    """Runs a container; returns its output artifacts by name.

    Raises:
      TaskFailed: the container failed, or its outputs can't be copied.
    """
    os.makedirs(os.path.join(attempt.file_system, "tmp"))
    backend_folders = {name: attempt.file_system + name for name in _BACKEND_FOLDERS}
    paths = Paths({**backend_folders, **attempt.mounts})
    inputs, outputs = attempt.executor_input["inputs"], attempt.executor_input["outputs"]
    # Artifacts keep their URIs, and their metadata, which tasks on this machine wrote.
    inputs = {**inputs, "parameterValues": paths.translate(inputs.get("parameterValues", {}))}
    outputs = {**outputs, "outputFile": paths.translate(outputs["outputFile"])}
    for _, artifact in _artifacts(inputs):
        objects.download(artifact["uri"], _local(artifact["uri"], paths))
    # Only the parents of the outputs, as the launcher does. The task creates the folder of the output file.
    for _, artifact in _artifacts(outputs):
        os.makedirs(os.path.dirname(_local(artifact["uri"], paths)), exist_ok=True)
    status, output = container_process.run(
        _command(attempt.container, {"inputs": inputs, "outputs": outputs}, paths),
        _environment(attempt, paths),
        attempt.file_system,
        attempt.log,
    )
    if status != 0:
        raise TaskFailed(_failure_reason(output, status), status)
    _publish_log(outputs, paths, output)
    return _upload(outputs, _read_output(outputs["outputFile"]), objects, paths)


def _artifacts(side: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yields name and artifact, of each list only the first, as the launcher does."""
    for name, artifacts in side.get("artifacts", {}).items():
        yield name, artifacts["artifacts"][0]


def _local(uri: str, paths: Paths) -> str:
    return paths.translate(object_store.container_path(uri))


def _command(container: Container, content: Mapping[str, Any], paths: Paths) -> list[str]:
    text = json.dumps(content, ensure_ascii=False)
    words = [paths.translate(word).replace(EXECUTOR_INPUT, text) for word in (*container.command, *container.args)]
    return [sys.executable if words[0] in _PYTHON else words[0], *words[1:]]


def _environment(attempt: Attempt, paths: Paths) -> dict[str, str]:
    inherited = [path for path in (os.environ.get("PYTHONPATH"),) if path]
    return {
        **os.environ,
        **{variable.name: paths.translate(variable.value) for variable in attempt.container.env},
        executor_input.LOCAL_ROOT_VARIABLE: attempt.file_system,
        # In the image the working directory contains the repository.
        "PYTHONPATH": os.pathsep.join([REPO, *inherited]),
    }


def _failure_reason(output: bytes, status: int) -> str:
    """Returns the error message at the end of a container's output, or else the last line."""
    lines = [line for line in output.decode("utf-8", "replace").splitlines() if line.strip()]
    for line in reversed(lines):
        if line.startswith(task_protocol.ERROR_PREFIX):
            return line.removeprefix(task_protocol.ERROR_PREFIX)
    how = f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
    return f"{how}: {lines[-1].strip() if lines else 'no output'}"


def _publish_log(outputs: Mapping[str, Any], paths: Paths, output: bytes) -> None:
    artifact = dict(_artifacts(outputs)).get(layouts.EXECUTOR_LOGS)
    if artifact:
        with open(_local(artifact["uri"], paths), "wb") as stream:
            stream.write(output)


def _read_output(file: str) -> pipeline_spec_pb2.ExecutorOutput:
    """Reads the output file as strictly as the launcher; a missing one is an empty output."""
    output = pipeline_spec_pb2.ExecutorOutput()
    try:
        with open(file, encoding="utf-8") as stream:
            return json_format.Parse(stream.read(), output)
    except FileNotFoundError:
        return output
    except (json_format.ParseError, UnicodeDecodeError, OSError) as error:
        raise TaskFailed(f"output file: not a valid ExecutorOutput: {str(error).splitlines()[0]}") from error


def _upload(
    outputs: Mapping[str, Any],
    written: pipeline_spec_pb2.ExecutorOutput,
    objects: object_store.ObjectStore,
    paths: Paths,
) -> dict[str, Output]:
    """Uploads the output artifacts; the output file may change their URIs and adds metadata."""
    uploaded = {}
    for name, artifact in _artifacts(outputs):
        uri, metadata = artifact["uri"], {}
        for changed in written.artifacts[name].artifacts[:1] if name in written.artifacts else ():
            uri, metadata = changed.uri or uri, layouts.as_json(changed.metadata)
        try:
            objects.upload(_local(uri, paths), uri)
        except ValueError as error:
            # The real launcher skips it without an error, and the next task finds no artifact.
            raise TaskFailed(f"output {name}: {error}") from error
        except OSError as error:
            raise TaskFailed(f"output {name}: {error.filename}: can't be uploaded: {error.strerror}") from error
        uploaded[name] = Output(uri, metadata)
    return uploaded
