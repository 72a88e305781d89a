"""Calls a task's TFX executor with an ExecutorInput, and returns its ExecutorOutput; both are plain JSON.

TFX's own entrypoint imports the compiler, TFMA and Beam, which takes seconds of CPU in each task. This module imports
what every executor needs; the executor imports the rest.
"""

import contextlib
import importlib
import logging
import os
import sys
from typing import Any, Mapping, Sequence

import absl.logging
import yaml
from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils, standard_artifacts, value_artifact
from tfx.version import __version__ as tfx_version

from cluster import shared_copies
from core import progress, streams
from pipeline.engine import session as engine_session

# Prefix of the titles of TFX's own artifact types.
_TFX_TITLE = "tfx."

_BEAM_EXECUTOR = "tfx.dsl.components.base.base_beam_executor"


def call(
    class_path: str,
    executor_input: Mapping[str, Any],
    inputs_spec: Mapping[str, Any],
    *,
    flags: Sequence[str],
    run_id: str,
    temporary: str,
    shared: str = "",
) -> dict[str, Any]:
    """Runs an executor.

    Args:
      class_path: import path of its class.
      executor_input: with types of all artifacts, and URIs that TensorFlow can open.
      inputs_spec: the component's inputDefinitions.
      flags: for Beam, or for the executor.
      run_id: the run's id, which the executor sees as the id of the execution.
      temporary: folder for temporary files.
      shared: folder on a volume that the workers of an engine such as Flink see too; used only with one.

    Returns:
      The ExecutorOutput.
    """
    # TFX's executors log what they do at this level, and ours their progress; libraries stay at WARNING.
    logging.basicConfig()
    absl.logging.set_verbosity(absl.logging.INFO)
    progress.LOGGER.setLevel(logging.INFO)
    inputs, outputs = (_read_artifacts(executor_input, side) for side in ("inputs", "outputs"))
    for artifact in (each for several in inputs.values() for each in several):
        if isinstance(artifact, value_artifact.ValueArtifact) and os.path.isfile(artifact.uri):
            artifact.read()
    with streams.hold_output():
        executor_class = _import(class_path)
    # Only a class derived from Beam's executor has imported it.
    beam = sys.modules.get(_BEAM_EXECUTOR)
    parameters = _read_parameters(executor_input, inputs_spec)
    if beam is not None and issubclass(executor_class, beam.BaseBeamExecutor):
        copies: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
        if engine_session.has_engine(flags):
            os.makedirs(shared, exist_ok=True)
            copies = shared_copies.use(inputs, outputs, os.path.join(shared, "artifacts"))
        with engine_session.open_session(flags, shared) as job_flags, copies:
            context = beam.BaseBeamExecutor.Context(
                beam_pipeline_args=list(job_flags), unique_id=run_id, tmp_dir=temporary
            )
            executor_class(context).Do(inputs, outputs, parameters)
    else:
        plain = base_executor.BaseExecutor.Context(extra_flags=list(flags), unique_id=run_id, tmp_dir=temporary)
        executor_class(plain).Do(inputs, outputs, parameters)
    return {"artifacts": {name: {"artifacts": list(map(_write_artifact, each))} for name, each in outputs.items()}}


def _read_parameters(executor_input: Mapping[str, Any], inputs_spec: Mapping[str, Any]) -> dict[str, Any]:
    types_ = {name: each["parameterType"] for name, each in inputs_spec.get("parameters", {}).items()}
    values = executor_input.get("inputs", {}).get("parameterValues", {})
    # The backend sends integers as JSON numbers, which may have a fraction.
    return {name: int(value) if types_.get(name) == "NUMBER_INTEGER" else value for name, value in values.items()}


def _read_artifacts(executor_input: Mapping[str, Any], side: str) -> dict[str, list[types.Artifact]]:
    lists = executor_input.get(side, {}).get("artifacts", {})
    return {name: [_read_artifact(each) for each in of_name.get("artifacts", ())] for name, of_name in lists.items()}


def _read_artifact(content: Mapping[str, Any]) -> types.Artifact:
    artifact = _artifact_class(content["type"])()
    artifact.uri = content["uri"]
    if content.get("name", "").isdecimal():  # Of an input: its id in ML Metadata.
        artifact.id = int(content["name"])
    properties = artifact.artifact_type.properties
    for key, value in content.get("metadata", {}).items():
        if key in properties:
            # JSON has one type of numbers; the property's own type is that of its default.
            default = getattr(artifact, key)
            setattr(artifact, key, value if default is None else type(default)(value))
        else:
            artifact.set_json_value_custom_property(key, value)
    # TFX keeps JSON values apart until they are read.
    artifact.set_mlmd_artifact(artifact.mlmd_artifact)
    return artifact


def _artifact_class(artifact_type: Mapping[str, Any]) -> type[types.Artifact]:
    """Returns the class of a schema: one of TFX's, or one whose import path is the title."""
    title = artifact_type.get("schemaTitle") or yaml.safe_load(artifact_type["instanceSchema"])["title"]
    if title.startswith(_TFX_TITLE):
        return getattr(standard_artifacts, title.removeprefix(_TFX_TITLE))
    return _import(title)


def _import(path: str) -> Any:
    module, name = path.rsplit(".", 1)
    return getattr(importlib.import_module(module), name)


def _write_artifact(artifact: types.Artifact) -> dict[str, Any]:
    # Executors of later tasks choose a layout of files by it.
    artifact.set_string_custom_property(artifact_utils.ARTIFACT_TFX_VERSION_CUSTOM_PROPERTY_KEY, tfx_version)
    recorded = artifact.mlmd_artifact
    properties = {key: getattr(artifact, key) for key in recorded.properties}
    custom = {key: artifact.get_custom_property(key) for key in recorded.custom_properties}
    return {"uri": artifact.uri, "metadata": {**custom, **properties}}
