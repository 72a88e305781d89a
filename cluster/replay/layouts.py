"""The ExecutorInputs that the drivers of different backends write.

| backend    | URI of an output             | beside the declared outputs     | outputs.outputFile                    |
|------------|------------------------------|---------------------------------|---------------------------------------|
| up to 2.3  | <run>/<task>/<output>        |                                 | /tmp/kfp_outputs/output_metadata.json |
| 2.5 - 2.14 | <run>/<task>/<uuid>/<output> | executor-logs (system.Artifact) | the same                              |
| from 2.15  | the same                     | the same; outputs have a `name` | beside the outputs, in the container  |

<run> is <pipeline root>/<pipeline>/<run id>. In the container the launcher has local copies, such as
/minio/<bucket>/<key>. In all layouts an input artifact has no type, its name is a number, and its metadata have been
converted by ML Metadata.
"""

import dataclasses
from typing import Any, Mapping

from google.protobuf import json_format, message
from kfp.pipeline_spec import pipeline_spec_pb2

from cluster.replay import object_store

EXECUTOR_LOGS = "executor-logs"
OUTPUT_FOLDER = "/tmp/kfp_outputs"

_OUTPUT_FILE = "output_metadata.json"


@dataclasses.dataclass(frozen=True)
class Layout:
    """The behaviour of one range of backends.

    Attributes:
      per_execution: each execution has its own folder for outputs, the container's log is an additional output,
        artifacts are recorded with the settings of their store, and a task's retryPolicy is honoured.
      output_file_in_tree: the output file is beside the outputs; outputs have names.
    """

    per_execution: bool
    output_file_in_tree: bool


LAYOUTS = {
    "2.3": Layout(per_execution=False, output_file_in_tree=False),
    "2.5": Layout(per_execution=True, output_file_in_tree=False),
    "2.15": Layout(per_execution=True, output_file_in_tree=True),
}


@dataclasses.dataclass(frozen=True)
class Artifact:
    """A recorded output.

    Attributes:
      number: its id in ML Metadata.
      uri: its URI in the object store.
      metadata: its metadata as ML Metadata returns them.
    """

    number: int
    uri: str
    metadata: Mapping[str, Any]


def outputs(
    layout: Layout, task_uri: str, uuid: str, declared: pipeline_spec_pb2.ComponentOutputsSpec
) -> dict[str, Any]:
    """Returns the part `outputs` of a task's ExecutorInput.

    Args:
      layout: the backend's layout.
      task_uri: `<pipeline root>/<pipeline>/<run id>/<task>`.
      uuid: id of this execution.
      declared: outputs that the component declares.
    """
    folder = f"{task_uri}/{uuid}" if layout.per_execution else task_uri
    types = {name: as_json(each.artifact_type) for name, each in declared.artifacts.items()}
    if layout.per_execution:
        types[EXECUTOR_LOGS] = {"schemaTitle": "system.Artifact"}
    artifacts = {}
    for name, artifact_type in sorted(types.items()):
        named = {"name": name} if layout.output_file_in_tree else {}
        artifacts[name] = {"artifacts": [{**named, "uri": f"{folder}/{name}", "type": artifact_type}]}
    output_folder = object_store.container_path(folder) if layout.output_file_in_tree else OUTPUT_FOLDER
    return {**_without_empty({"artifacts": artifacts}), "outputFile": f"{output_folder}/{_OUTPUT_FILE}"}


def inputs(parameters: Mapping[str, Any], artifacts: Mapping[str, Artifact]) -> dict[str, Any]:
    """Returns the part `inputs` of a task's ExecutorInput."""
    lists = {name: {"artifacts": [_input_artifact(artifact)]} for name, artifact in sorted(artifacts.items())}
    return _without_empty({"parameterValues": dict(sorted(parameters.items())), "artifacts": lists})


def recorded_metadata(layout: Layout, name: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Returns an output's metadata as later tasks get them: ML Metadata has no booleans, lists and nulls.

    Args:
      layout: the backend's layout.
      name: name of the output.
      metadata: metadata from the container's output file.

    Raises:
      ValueError: a value is null.
    """
    recorded = {key: _recorded(key, value) for key, value in metadata.items()}
    recorded.setdefault("display_name", name)
    if layout.per_execution:
        recorded.setdefault("store_session_info", '{"Provider":"minio"}')
    return recorded


def as_json(content: message.Message) -> Any:
    """Returns a message as JSON, with whole numbers without a fraction, as Go writes them."""
    return _whole_numbers(json_format.MessageToDict(content))


def _whole_numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _whole_numbers(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_whole_numbers(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _input_artifact(artifact: Artifact) -> dict[str, Any]:
    # The driver reads the schema from ML Metadata, where it was never stored.
    empty_type = {"instanceSchema": ""}
    return {
        "name": str(artifact.number),
        "uri": artifact.uri,
        "type": empty_type,
        "metadata": dict(artifact.metadata),
    }


def _recorded(key: str, value: Any) -> Any:
    if value is None:
        raise ValueError(f"metadata: {key}: null, which the launcher can't record; omit the key")
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, (list, dict)):
        return {"list" if isinstance(value, list) else "struct": value}
    return value


def _without_empty(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Omits empty fields, as Go's protojson does."""
    return {name: value for name, value in fields.items() if value}
