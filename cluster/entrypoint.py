"""`python -m cluster.entrypoint`: the command of every task's container.

Takes the arguments that TFX's compiler writes, adapts the backend's ExecutorInput to TFX (`cluster.executor_input`),
merges the run parameters into it (`cluster.run_parameters`), and calls TFX's own function. Exit status: 0 for success;
2 for an error of the user, with the message on the last line; 1 for any other failure.
"""

import argparse
import contextlib
import json
import os
import sys
import tempfile
from typing import Any, Iterator, Mapping, Optional, Sequence

# Before the first TensorFlow import: TFX, TFMA and Hub need Keras 2.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

from core import gpu  # noqa: E402

# TensorFlow looks for the CUDA libraries only when it is imported.
gpu.load_libraries()

import tfx.version  # noqa: E402
from tfx.dsl.io import fileio  # noqa: E402
from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_entrypoint_utils, kubeflow_v2_run_executor  # noqa: E402
from tfx.types import value_artifact  # noqa: E402

from cluster import executor_input, run_parameters, task_protocol  # noqa: E402
from components.data_gate.quality import DataGateStopped  # noqa: E402
from components.run_outcome import notes  # noqa: E402
from components.run_report.executor import REPORT  # noqa: E402
from components.run_report.summary import REPORT_FILE, run_folder  # noqa: E402
from core import escape  # noqa: E402
from core.errors import UserError  # noqa: E402
from core.files import atomic_write  # noqa: E402

# `_run_executor` and `parse_raw_artifact_dict` are private to TFX; their code is the same in these releases.
TFX_VERSIONS = ("1.16.0", "1.21.0")

_TRAINER = "trainer"
_PRETRAINER = "encoder-pretrainer"


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Runs one task; returns the exit status."""
    _check_version(tfx.version.__version__)
    options, beam_args = _parser().parse_known_args(arguments)
    task_id = os.environ[task_protocol.TASK_VARIABLE]
    invocation = json.loads(options.json_serialized_invocation_args)
    run = executor_input.run_id(invocation, task_id)
    try:
        _run(options, beam_args, invocation, task_id, run)
    except Exception as error:
        _write_note(run, task_id, error)
        if not isinstance(error, UserError):
            raise
        print(f"{task_protocol.ERROR_PREFIX}{escape.line(str(error))}", file=sys.stderr)
        return 2
    # The note of an earlier attempt. A task that succeeded must not fail because its note can't be removed.
    with contextlib.suppress(OSError):
        notes.remove(run_folder(os.environ[task_protocol.REPORTS_VARIABLE], run), task_id)
    return 0


def _check_version(version: str) -> None:
    if version not in TFX_VERSIONS:
        raise SystemExit(
            f"error: TFX {version} is installed; cluster/entrypoint.py supports TFX {' and '.join(TFX_VERSIONS)}: "
            "install one of them, or compare kubeflow_v2_run_executor of both versions and adapt the entrypoint"
        )


def _run(options: argparse.Namespace, beam_args: list[str], invocation: dict[str, Any], task_id: str, run: str) -> None:
    """Adapts the input, runs the executor, and adapts the output."""
    local_root = os.environ.get(executor_input.LOCAL_ROOT_VARIABLE, "/")
    inputs_spec = json.loads(options.json_serialized_inputs_spec_args)
    _merge_parameters(invocation, task_id, run)
    page = executor_input.page_uri(invocation, local_root)
    executor_input.drop_backend_outputs(invocation)
    executor_input.set_input_types(invocation, inputs_spec)
    remote = executor_input.remote_uris(invocation, local_root)
    executor_input.localize(invocation, local_root)
    executor_input.create_output_folders(invocation)
    output_file = invocation["outputs"]["outputFile"]
    with tempfile.TemporaryDirectory() as folder:
        # TFX uses the name of this folder as the id of the execution, and writes temporary files beside the output
        # file, where the 2.15 backend has the artifacts.
        invocation["outputs"]["outputFile"] = os.path.join(folder, run, "output.json")
        options.json_serialized_invocation_args = json.dumps(invocation)
        with _read_value_artifacts():
            kubeflow_v2_run_executor._run_executor(options, beam_args)
        with open(invocation["outputs"]["outputFile"], encoding="utf-8") as stream:
            written = json.load(stream)
    if page is not None:
        _publish_page(invocation, page)
    executor_input.restore_remote_uris(written, remote)
    executor_input.drop_nulls(written)
    _write_output(output_file, written)


def _publish_page(invocation: Mapping[str, Any], target: str) -> None:
    """Copies the report's page to an output that is one file: KFP's page shows nothing of a folder."""
    (report,) = invocation["outputs"]["artifacts"][REPORT]["artifacts"]
    fileio.copy(os.path.join(report["uri"], REPORT_FILE), target, overwrite=True)


def _merge_parameters(invocation: dict[str, Any], task_id: str, run: str) -> None:
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


@contextlib.contextmanager
def _read_value_artifacts() -> Iterator[None]:
    """Makes TFX read value artifacts; its function would pass them to executors unread."""
    parse = kubeflow_v2_entrypoint_utils.parse_raw_artifact_dict

    def parse_and_read(artifacts: Any, name_from_id: Any = None) -> dict[str, list[Any]]:
        parsed = parse(artifacts, name_from_id)
        for artifact in (artifact for several in parsed.values() for artifact in several):
            # Outputs are parsed by the same function, and have no file yet.
            if isinstance(artifact, value_artifact.ValueArtifact) and os.path.isfile(artifact.uri):
                artifact.read()
        return parsed

    kubeflow_v2_entrypoint_utils.parse_raw_artifact_dict = parse_and_read
    try:
        yield
    finally:
        kubeflow_v2_entrypoint_utils.parse_raw_artifact_dict = parse


def _write_output(path: str, content: Mapping[str, Any]) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with atomic_write(path) as stream:
        json.dump(content, stream, ensure_ascii=False)


def _write_note(run: str, task_id: str, error: Exception) -> None:
    """Writes the reason of the failure to the shared folder. If that fails, the task's own error is still reported."""
    folder = run_folder(os.environ[task_protocol.REPORTS_VARIABLE], run)
    text = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}".splitlines()[0]
    checks = error.checks if isinstance(error, DataGateStopped) else []
    with contextlib.suppress(OSError):
        notes.write(folder, notes.Failure(task_id, text, isinstance(error, UserError), checks))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m cluster.entrypoint", description=__doc__.splitlines()[0])
    parser.add_argument("--executor_class_path", required=True, help="import path of the executor")
    parser.add_argument("--json_serialized_invocation_args", required=True, help="the backend's ExecutorInput as JSON")
    parser.add_argument("--json_serialized_inputs_spec_args", required=True, help="the component's inputDefinitions")
    return parser


if __name__ == "__main__":
    sys.exit(main())
