"""What KFP's launcher does around a container: copies inputs in, runs its command, copies outputs out.

Every attempt has a folder of its own in place of a container's file system. There is no chroot: the absolute paths that
a container would see are replaced in what it is told.
"""

import contextlib
import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from typing import Any, Mapping, Sequence

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from cluster import executor_input
from cluster.replay import driver, layouts, store, values
from cluster.replay.driver import TaskFailed

# The repository, which the image holds.
REPO = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# What a task says last of what its user must mend (cluster/entrypoint.py).
_ERROR = "error: "

_PYTHON = ("python", "python3")

# Folders that the backend reads and writes in a container.
_OWN_FOLDERS = (*store.CONTAINER_FOLDERS.values(), "/tmp/kfp_outputs", "/tmp/kfp")

# A pod's own patience between SIGTERM and SIGKILL is 30 s; nobody waits that long for a prompt.
_TERMINATION_S = 10.0
_TICK_S = 0.05


@dataclasses.dataclass(frozen=True)
class Job:
    """A container to run.

    Attributes:
      container: its spec.
      component: what it implements.
      given: the ExecutorInput of the driver.
      folders: absolute path in the image -> folder here: the image's own, and volumes.
    """

    container: pipeline_spec_pb2.PipelineDeploymentConfig.PipelineContainerSpec
    component: pipeline_spec_pb2.ComponentSpec
    given: Mapping[str, Any]
    folders: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Output:
    """What a container left.

    Attributes:
      parameters: name -> value.
      artifacts: name -> URI and metadata.
    """

    parameters: Mapping[str, Any]
    artifacts: Mapping[str, tuple[str, Mapping[str, Any]]]


class Paths:
    """Absolute paths of a container, as folders of this machine."""

    def __init__(self, folders: Mapping[str, str]):
        """Makes the mapping.

        Args:
          folders: path in the container -> folder here.
        """
        self._folders = folders
        # The longest first: a volume may be mounted under another. Not within a longer path or an address.
        names = "|".join(re.escape(name) for name in sorted(folders, key=len, reverse=True))
        self._pattern = re.compile(rf"(?<![\w./-])({names})(?![\w.-])")

    def here(self, value: Any) -> Any:
        """Returns a JSON value with the paths in its texts replaced; a text may be JSON itself."""
        if isinstance(value, str):
            return self._pattern.sub(lambda match: self._folders[match[1]], value)
        if isinstance(value, Mapping):
            return {key: self.here(each) for key, each in value.items()}
        return [self.here(each) for each in value] if isinstance(value, list) else value


def run(job: Job, objects: store.Store, file_system: str, log: str) -> Output:
    """Runs a container.

    Args:
      job: the container.
      objects: the object store.
      file_system: a folder that does not exist yet, in place of the container's `/`.
      log: file to which is added what the container says.

    Raises:
      TaskFailed: it, or the copying of its outputs, failed.
    """
    os.makedirs(os.path.join(file_system, "tmp"))
    own = {name: file_system + name for name in _OWN_FOLDERS}
    paths = Paths({**own, **job.folders})
    given = _told(job, paths)
    outputs = given["outputs"]
    for artifact in _first_artifacts(given.get("inputs", {})).values():
        objects.download(artifact["uri"], paths.here(store.container_path(artifact["uri"])))
    _prepare_folders(outputs, paths)
    start = os.path.getsize(log) if os.path.exists(log) else 0
    command, environment = _command(job.container, given, paths), _environment(job.container, file_system, paths)
    status = _execute(command, environment, file_system, log)
    if status != 0:
        raise TaskFailed(_reason(log, start, status), status)
    _publish_log(outputs, paths, log, start)
    written = _read_output(outputs["outputFile"])
    return Output(_parameters(job.component, outputs, written), _upload(outputs, written, objects, paths))


def _told(job: Job, paths: Paths) -> dict[str, Any]:
    """Returns the ExecutorInput with the component's defaults and this machine's paths."""
    inputs = dict(job.given.get("inputs", {}))
    parameters = driver.with_defaults(inputs.get("parameterValues", {}), job.component)
    if parameters:
        inputs["parameterValues"] = paths.here(parameters)
    # Artifacts keep their URIs, and their metadata, which tasks of this machine wrote.
    outputs = {**job.given["outputs"], "outputFile": paths.here(job.given["outputs"]["outputFile"])}
    if "parameters" in outputs:
        outputs["parameters"] = paths.here(outputs["parameters"])
    return {"inputs": inputs, "outputs": outputs}


def _first_artifacts(side: Mapping[str, Any]) -> dict[str, Any]:
    """The launcher looks at the first of each list only."""
    return {name: artifacts["artifacts"][0] for name, artifacts in side.get("artifacts", {}).items()}


def _prepare_folders(outputs: Mapping[str, Any], paths: Paths) -> None:
    """Makes the folders that outputs are in, not those that they are; that of the output file is left to the task."""
    files = [parameter["outputFile"] for parameter in outputs.get("parameters", {}).values()]
    files += [_local(artifact, paths) for artifact in _first_artifacts(outputs).values()]
    for file in files:
        os.makedirs(os.path.dirname(file), exist_ok=True)


def _local(artifact: Mapping[str, Any], paths: Paths) -> str:
    return paths.here(store.container_path(artifact["uri"]))


def _command(
    container: pipeline_spec_pb2.PipelineDeploymentConfig.PipelineContainerSpec, given: Mapping[str, Any], paths: Paths
) -> list[str]:
    placeholders = _placeholders(given, paths)
    words = [
        re.sub(r"\{\{\$.*?\}\}", lambda match: placeholders.get(match[0], match[0]), paths.here(word))
        for word in (*container.command, *container.args)
    ]
    return [sys.executable if words[0] in _PYTHON else words[0], *words[1:]]


def _placeholders(given: Mapping[str, Any], paths: Paths) -> dict[str, str]:
    """Returns what the launcher replaces in the words of a command."""
    found = {"{{$}}": json.dumps(given, ensure_ascii=False)}
    for name, value in given["inputs"].get("parameterValues", {}).items():
        found[f"{{{{$.inputs.parameters['{name}']}}}}"] = values.to_text(value)
    for name, parameter in given["outputs"].get("parameters", {}).items():
        found[f"{{{{$.outputs.parameters['{name}'].output_file}}}}"] = parameter["outputFile"]
    for side in ("inputs", "outputs"):
        for name, artifact in _first_artifacts(given[side]).items():
            found[f"{{{{$.{side}.artifacts['{name}'].uri}}}}"] = artifact["uri"]
            found[f"{{{{$.{side}.artifacts['{name}'].path}}}}"] = _local(artifact, paths)
    return found


def _environment(
    container: pipeline_spec_pb2.PipelineDeploymentConfig.PipelineContainerSpec, file_system: str, paths: Paths
) -> dict[str, str]:
    inherited = [path for path in (os.environ.get("PYTHONPATH"),) if path]
    return {
        **os.environ,
        **{variable.name: paths.here(variable.value) for variable in container.env},
        executor_input.LOCAL_ROOT_VARIABLE: file_system,
        # In the image the working directory holds the repository.
        "PYTHONPATH": os.pathsep.join([REPO, *inherited]),
    }


def _execute(command: Sequence[str], environment: Mapping[str, str], folder: str, log: str) -> int:
    """Runs a command to its end; returns its exit status. No process of it is left, whatever happens."""
    os.makedirs(os.path.dirname(log), exist_ok=True)
    with open(log, "ab") as stream:
        try:
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise TaskFailed(f"{command[0]}: can't be started: {error.strerror}") from error
    try:
        return process.wait()
    finally:
        _end(process)


def _end(process: subprocess.Popen) -> None:
    """Ends what is left of a command's process group."""
    try:
        _signal_group(process, signal.SIGTERM)
    finally:  # A second Ctrl-C cuts the wait short.
        _signal_group(process, signal.SIGKILL)


def _signal_group(process: subprocess.Popen, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
        end = time.monotonic() + _TERMINATION_S
        while time.monotonic() < end:
            process.poll()
            os.killpg(process.pid, 0)
            time.sleep(_TICK_S)


def _reason(log: str, start: int, status: int) -> str:
    """Says why a container failed: the sentence that it ended with, else its last words."""
    lines = [line for line in _said(log, start).decode("utf-8", "replace").splitlines() if line.strip()]
    for line in reversed(lines):
        if line.startswith(_ERROR):
            return line.removeprefix(_ERROR)
    how = f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
    return f"{how}: {lines[-1].strip() if lines else 'it said nothing'}"


def _said(log: str, start: int) -> bytes:
    with open(log, "rb") as stream:
        stream.seek(start)
        return stream.read()


def _publish_log(outputs: Mapping[str, Any], paths: Paths, log: str, start: int) -> None:
    artifact = _first_artifacts(outputs).get(layouts.EXECUTOR_LOGS)
    if artifact:
        with open(_local(artifact, paths), "wb") as stream:
            stream.write(_said(log, start))


def _read_output(file: str) -> pipeline_spec_pb2.ExecutorOutput:
    """Reads the output file as strictly as the launcher; where there is none, the task had nothing to say."""
    output = pipeline_spec_pb2.ExecutorOutput()
    try:
        with open(file, encoding="utf-8") as stream:
            return json_format.Parse(stream.read(), output)
    except FileNotFoundError:
        return output
    except (json_format.ParseError, UnicodeDecodeError, OSError) as error:
        raise TaskFailed(f"its output file is no ExecutorOutput: {str(error).splitlines()[0]}") from error


def _parameters(
    component: pipeline_spec_pb2.ComponentSpec,
    outputs: Mapping[str, Any],
    written: pipeline_spec_pb2.ExecutorOutput,
) -> dict[str, Any]:
    """Returns the output parameters: those of the output file, the others each from a file of its own."""
    found = {name: values.plain(value) for name, value in written.parameter_values.items()}
    for name, parameter in outputs.get("parameters", {}).items():
        if name in found:
            continue
        declared = component.output_definitions.parameters[name].parameter_type
        try:
            with open(parameter["outputFile"], encoding="utf-8") as stream:
                found[name] = values.from_text(stream.read(), declared)
        except OSError as error:
            raise TaskFailed(f"output {name}: {error.strerror}: the task wrote no value for it") from error
        except ValueError as error:
            raise TaskFailed(f"output {name}: should be {error}") from error
    return found


def _upload(
    outputs: Mapping[str, Any], written: pipeline_spec_pb2.ExecutorOutput, objects: store.Store, paths: Paths
) -> dict[str, tuple[str, Mapping[str, Any]]]:
    """Uploads the output artifacts, with what the output file says of them."""
    uploaded = {}
    for name, artifact in _first_artifacts(outputs).items():
        told = written.artifacts[name].artifacts[:1] if name in written.artifacts else []
        uri = next((each.uri for each in told if each.uri), artifact["uri"])
        metadata = dict(artifact.get("metadata", {}))
        for each in told:
            metadata.update(values.plain(each.metadata))
        try:
            objects.upload(paths.here(store.container_path(uri)), uri)
        except ValueError as error:
            # The launcher leaves it where it is without an error, and the next task finds nothing.
            raise TaskFailed(f"output {name}: {error}") from error
        except OSError as error:
            raise TaskFailed(f"output {name}: {error.filename}: can't be uploaded: {error.strerror}") from error
        uploaded[name] = (uri, metadata)
    return uploaded
