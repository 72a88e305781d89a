"""Runs one task: adapts the backend's ExecutorInput to TFX, calls the executor, and adapts its output.

Importing this module imports TFX and TensorFlow.
"""

import argparse
import json
import os
import tempfile
from typing import Any, Mapping, Sequence

from core import gpu

# TensorFlow looks for the CUDA libraries only when it is imported.
gpu.load_libraries()

from tfx.dsl.io import fileio  # noqa: E402

from cluster import executor_call, executor_input, run_parameters  # noqa: E402
from components.run_report.summary import REPORT_FILE  # noqa: E402
from core.errors import UserError  # noqa: E402
from core.files import atomic_write  # noqa: E402

_TRAINER = "trainer"

# Output of RunReport and RunOutcome, a folder with the page.
_REPORT = "report"


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
    page = executor_input.page_uri(invocation, local_root)
    executor_input.drop_backend_outputs(invocation)
    executor_input.set_input_types(invocation, inputs_spec)
    remote = executor_input.remote_uris(invocation, local_root)
    executor_input.localize(invocation, local_root)
    executor_input.create_output_folders(invocation)
    with tempfile.TemporaryDirectory() as temporary:
        written = executor_call.call(
            options.executor_class_path, invocation, inputs_spec, flags=flags, run_id=run, temporary=temporary
        )
    if page is not None:
        _publish_page(invocation, page)
    executor_input.restore_remote_uris(written, remote)
    executor_input.drop_nulls(written)
    _write_output(invocation["outputs"]["outputFile"], written)


def _publish_page(invocation: Mapping[str, Any], target: str) -> None:
    """Copies the report's page to an output that is one file: KFP's page shows nothing of a folder."""
    (report,) = invocation["outputs"]["artifacts"][_REPORT]["artifacts"]
    fileio.copy(os.path.join(report["uri"], REPORT_FILE), target, overwrite=True)


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


def _write_output(path: str, content: Mapping[str, Any]) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with atomic_write(path) as stream:
        json.dump(content, stream)
