"""Runs one task: adapts the backend's ExecutorInput to TFX, calls the executor, and adapts its output.

Importing this module imports TFX and TensorFlow.
"""

import argparse
import contextlib
import json
import os
import tempfile
from typing import Any, Mapping, Sequence

from core import gpu

# TensorFlow looks for the CUDA libraries only when it is imported.
gpu.load_libraries()

import tensorflow as tf  # noqa: E402
from tfx.dsl.io import fileio  # noqa: E402

from artifacts.examples import INGEST_FILE  # noqa: E402
from cluster import executor_call, executor_input, figures, run_parameters, task_protocol  # noqa: E402
from components.run_report.summary import REPORT_FILE, SUMMARY_FILE, run_folder  # noqa: E402
from core.errors import UserError  # noqa: E402
from core.files import atomic_write  # noqa: E402

_TRAINER = "trainer"
_PRETRAINER = "encoder-pretrainer"

_EXAMPLE_GEN = "tsv-example-gen"

# Subfolder of a run's folder on the volume.
_SHARED = "beam"

# Output of RunReport and RunOutcome, a folder, and outputs that are one file of it: KFP's page does not show folders.
_REPORT = "report"
_REPORT_FILES = {task_protocol.PAGE: REPORT_FILE, task_protocol.OUTCOME: SUMMARY_FILE}


def run(options: argparse.Namespace, flags: Sequence[str], invocation: dict[str, Any], task_id: str, run: str) -> None:
    """Runs a task.

    Args:
      options: the arguments that TFX's compiler writes.
      flags: other arguments, for Beam or for the executor.
      invocation: the backend's ExecutorInput; changed in place.
      task_id: id of the task.
      run: id of the run.
    """
    local_root = os.environ.get(executor_input.LOCAL_ROOT_VARIABLE, "/")
    inputs_spec = json.loads(options.json_serialized_inputs_spec_args)
    executor_input.restore_letters(invocation)
    merge_parameters(invocation, task_id, run)
    files = executor_input.file_uris(invocation, task_id)
    declared = executor_input.output_uris(invocation)
    executor_input.drop_backend_outputs(invocation)
    executor_input.set_input_types(invocation, inputs_spec)
    remote = executor_input.remote_uris(invocation, local_root)
    executor_input.localize(invocation, local_root)
    executor_input.create_output_folders(invocation)
    shared = os.path.join(run_folder(os.environ[task_protocol.REPORTS_VARIABLE], run), _SHARED, task_id)
    with tempfile.TemporaryDirectory() as temporary:
        written = executor_call.call(
            options.executor_class_path,
            invocation,
            inputs_spec,
            flags=flags,
            run_id=run,
            temporary=temporary,
            shared=shared,
        )
    executor_input.restore_remote_uris(written, remote)
    executor_input.drop_nulls(written)
    for name, uri in files.items():
        (report,) = invocation["outputs"]["artifacts"][_REPORT]["artifacts"]
        source = os.path.join(report["uri"], _REPORT_FILES[name])
        fileio.copy(source, executor_input.local_path(uri, local_root), overwrite=True)
        written["artifacts"][name] = {"artifacts": [{"uri": uri}]}
    folders = {name: each["artifacts"][0]["uri"] for name, each in invocation["outputs"]["artifacts"].items()}
    for name, metadata in figures.read(task_id, folders).items():
        if name in declared:  # Not by a file of an earlier release.
            written["artifacts"][name] = {"artifacts": [{"uri": declared[name], "metadata": metadata}]}
    metadata = {name: each["artifacts"][0].get("metadata", {}) for name, each in written["artifacts"].items()}
    for name, text in figures.texts(task_id, metadata).items():
        if name in declared:
            with fileio.open(executor_input.local_path(declared[name], local_root), "w") as stream:
                stream.write(text)
            written["artifacts"][name] = {"artifacts": [{"uri": declared[name]}]}
    if task_id == _EXAMPLE_GEN:
        _keep_counts(invocation, run)
    _write_output(invocation["outputs"]["outputFile"], written)


def _keep_counts(invocation: Mapping[str, Any], run: str) -> None:
    """Copies the counts of the rows for RunOutcome, which has no inputs. The run goes on if that fails."""
    (examples,) = invocation["outputs"]["artifacts"]["examples"]["artifacts"]
    folder = run_folder(os.environ[task_protocol.REPORTS_VARIABLE], run)
    with contextlib.suppress(OSError, tf.errors.OpError):
        os.makedirs(folder, exist_ok=True)
        fileio.copy(os.path.join(examples["uri"], INGEST_FILE), os.path.join(folder, INGEST_FILE), overwrite=True)


def merge_parameters(invocation: dict[str, Any], task_id: str, run: str) -> None:
    """Merges the run parameters into the execution properties, in place.

    Raises:
      UserError: the configuration does not allow a value.
    """
    values = invocation.get("inputs", {}).get("parameterValues", {})
    parameters = run_parameters.take(task_id, values)
    root = str(parameters.pop(run_parameters.PIPELINE_ROOT.name, ""))
    outputs = [a["uri"] for list_ in invocation["outputs"].get("artifacts", {}).values() for a in list_["artifacts"]]
    if root and not all(uri.startswith(root.rstrip("/") + "/") for uri in outputs):
        raise UserError(
            f"run parameters: pipeline_root = {root}: differs from the root of the run, which writes to {outputs[0]}; "
            "set both to the same value, or leave the parameter empty"
        )
    values.update(run_parameters.merge(task_id, values, parameters))
    if task_id == _TRAINER:
        # Two concurrent runs may train the same model, so each needs its own checkpoints.
        custom = json.loads(values["custom_config"])
        values["custom_config"] = json.dumps({**custom, "run": run}, ensure_ascii=False)
    if task_id == _PRETRAINER:
        values["checkpoints"] = os.path.join(values["checkpoints"], run)


def _write_output(path: str, content: Mapping[str, Any]) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with atomic_write(path) as stream:
        json.dump(content, stream)
