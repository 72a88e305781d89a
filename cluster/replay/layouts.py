"""What the drivers of different backends write into an ExecutorInput.

| backend    | URI of an output             | beside the declared outputs     | outputs.outputFile                    |
|------------|------------------------------|---------------------------------|---------------------------------------|
| up to 2.3  | <run>/<task>/<output>        |                                 | /tmp/kfp_outputs/output_metadata.json |
| 2.5 - 2.14 | <run>/<task>/<uuid>/<output> | executor-logs (system.Artifact) | the same                              |
| from 2.15  | the same                     | the same; outputs have a `name` | beside the outputs, in the container  |

<run> is <pipeline root>/<pipeline>/<run id>; a local copy is the launcher's, such as /minio/<bucket>/<key>. In all
of them an input artifact has lost its type, its name is a number, and its metadata have been through ML Metadata.
"""

import dataclasses
from typing import Any, Mapping, Optional

from kfp.pipeline_spec import pipeline_spec_pb2

from cluster.replay import store, values

EXECUTOR_LOGS = "executor-logs"

# Where a container leaves its output parameters, on every backend.
PARAMETERS_FOLDER = "/tmp/kfp/outputs"

_OUTPUT_FILE = "output_metadata.json"
_OUTPUT_FOLDER = "/tmp/kfp_outputs"


@dataclasses.dataclass(frozen=True)
class Layout:
    """How one range of backends behaves.

    Attributes:
      uuid_folder: each execution has a folder of its own for its outputs.
      executor_logs: the container's log is one more output.
      output_file_in_tree: the output file lies beside the outputs; outputs have names.
      session_info: artifacts are recorded with how their store was reached.
      retries: a task's retryPolicy is honoured.
      final_status: every backend of the range takes a pipeline in which a task gets another one's final status: those
        before 2.14 refuse the run.
    """

    uuid_folder: bool
    executor_logs: bool
    output_file_in_tree: bool
    session_info: bool
    retries: bool
    final_status: bool


LAYOUTS = {
    "2.3": Layout(
        uuid_folder=False,
        executor_logs=False,
        output_file_in_tree=False,
        session_info=False,
        retries=False,
        final_status=False,
    ),
    "2.5": Layout(
        uuid_folder=True,
        executor_logs=True,
        output_file_in_tree=False,
        session_info=True,
        retries=True,
        final_status=False,
    ),
    "2.15": Layout(
        uuid_folder=True,
        executor_logs=True,
        output_file_in_tree=True,
        session_info=True,
        retries=True,
        final_status=True,
    ),
}


@dataclasses.dataclass(frozen=True)
class Artifact:
    """An output that was recorded.

    Attributes:
      number: its id in ML Metadata.
      uri: where it is in the object store.
      metadata: as ML Metadata gives them back.
      handed_down: whether it came through the inputs of a DAG component.
    """

    number: int
    uri: str
    metadata: Mapping[str, Any]
    handed_down: bool = False


def outputs(
    layout: Layout, task_uri: str, uuid: str, declared: pipeline_spec_pb2.ComponentOutputsSpec
) -> dict[str, Any]:
    """Returns the part `outputs` of a task's ExecutorInput.

    Args:
      layout: of the backend.
      task_uri: `<pipeline root>/<pipeline>/<run id>/<task>`.
      uuid: of this execution.
      declared: the component's outputs.
    """
    folder = f"{task_uri}/{uuid}" if layout.uuid_folder else task_uri
    types = {name: {"type": values.plain(each.artifact_type)} for name, each in declared.artifacts.items()}
    for name, each in declared.artifacts.items():
        if each.HasField("metadata"):
            types[name]["metadata"] = values.plain(each.metadata)
    if layout.executor_logs:
        types[EXECUTOR_LOGS] = {"type": {"schemaTitle": "system.Artifact"}}
    artifacts = {}
    for name, fields in sorted(types.items()):
        named = {"name": name} if layout.output_file_in_tree else {}
        artifacts[name] = {"artifacts": [{**named, "uri": f"{folder}/{name}", **fields}]}
    parameters = {name: {"outputFile": f"{PARAMETERS_FOLDER}/{name}"} for name in sorted(declared.parameters)}
    output_folder = store.container_path(folder) if layout.output_file_in_tree else _OUTPUT_FOLDER
    written = {"parameters": parameters, "artifacts": artifacts}
    return {**_filled(written), "outputFile": f"{output_folder}/{_OUTPUT_FILE}"}


def inputs(parameters: Mapping[str, Any], artifacts: Mapping[str, Artifact]) -> dict[str, Any]:
    """Returns the part `inputs` of a task's ExecutorInput."""
    lists = {name: {"artifacts": [_input_artifact(artifact)]} for name, artifact in sorted(artifacts.items())}
    return _filled({"parameterValues": dict(sorted(parameters.items())), "artifacts": lists})


def recorded_metadata(layout: Layout, name: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Returns an output's metadata as a later task gets them: ML Metadata knows no booleans, lists and nulls.

    Args:
      layout: of the backend.
      name: the output's.
      metadata: what the container said of it.

    Raises:
      ValueError: a value is null.
    """
    recorded = {key: _recorded(key, value) for key, value in metadata.items()}
    recorded.setdefault("display_name", name)
    if layout.session_info:
        recorded.setdefault("store_session_info", '{"Provider":"minio"}')
    return recorded


def final_status(state: str, task: str, run_name: str) -> dict[str, Any]:
    """Returns the PipelineTaskFinalStatus of a task: `error` is there and empty, whatever became of the task."""
    return {"state": state, "pipelineTaskName": task, "pipelineJobResourceName": run_name, "error": {}}


def _input_artifact(artifact: Artifact) -> dict[str, Any]:
    # ML Metadata is asked for a schema that it was never given; for what is handed down nobody asks.
    typed: dict[str, Optional[Any]] = {} if artifact.handed_down else {"type": {"instanceSchema": ""}}
    named = {"name": str(artifact.number), "uri": artifact.uri, **typed}
    return {**named, "metadata": dict(artifact.metadata)}


def _recorded(key: str, value: Any) -> Any:
    if value is None:
        raise ValueError(f"metadata: {key}: null, which the launcher can't record; should be left out")
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, (list, dict)):
        return {"list" if isinstance(value, list) else "struct": value}
    return value


def _filled(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Leaves out what is empty, as Go's protojson does."""
    return {name: value for name, value in fields.items() if value}
