import dataclasses
import errno
import json
import os
import socket
import stat
import subprocess
import sys

import pytest
import requests
import urllib3

from artifacts.examples import read_ingest
from cluster import ascii_text, entrypoint, executor_input, task, task_protocol
from components.run_outcome import notes
from components.run_report import gather
from components.run_report.summary import run_folder
from core.download import DownloadError
from core.errors import UserError

ROOT = "minio://mlpipeline/v2/artifacts"
URI = f"{ROOT}/reviews/run-1/tsv-example-gen/uuid/examples"
EXECUTOR = "components.tsv_example_gen.executor.Executor"


@pytest.fixture
def container(tmp_path, monkeypatch):
    """The file system of a container, with 60 reviews."""
    lines = [f"{number}\t영화 {number}\t{number % 2}" for number in range(60)]
    (tmp_path / "reviews.tsv").write_text("\n".join(["id\tdocument\tlabel", *lines, ""]))
    monkeypatch.setenv(executor_input.LOCAL_ROOT_VARIABLE, str(tmp_path / "fs"))
    monkeypatch.setenv(task_protocol.TASK_VARIABLE, "tsv-example-gen")
    monkeypatch.setenv(task_protocol.REPORTS_VARIABLE, str(tmp_path / "reports"))
    return tmp_path


def arguments(container, **run_parameters):
    """Returns the arguments that the 2.5 backend sends to the task, including numbers as floats."""
    logs = {"type": {"schemaTitle": "system.Artifact", "schemaVersion": "0.0.1"}, "uri": f"{URI}/../executor-logs"}
    examples = {"type": {"instanceSchema": "title: tfx.Examples\ntype: object\n"}, "uri": URI}
    data = {"train": str(container / "reviews.tsv"), "max_rejected_fraction": 0.0}
    invocation = {
        "inputs": {"parameterValues": {"data": json.dumps(data), **run_parameters}},
        "outputs": {
            "artifacts": {"examples": {"artifacts": [examples]}, "executor-logs": {"artifacts": [logs]}},
            "outputFile": str(container / "fs" / "tmp" / "kfp_outputs" / "output_metadata.json"),
        },
    }
    return [
        "--executor_class_path",
        EXECUTOR,
        "--json_serialized_invocation_args",
        json.dumps(invocation),
        "--json_serialized_inputs_spec_args",
        json.dumps({"parameters": {"data": {"parameterType": "STRING"}}}),
    ]


def folder(container):
    return container / "fs" / "minio" / "mlpipeline/v2/artifacts/reviews/run-1/tsv-example-gen/uuid/examples"


def test_a_task_writes_to_the_launchers_copy_and_reports_the_remote_uri(container):
    invocation = arguments(
        container, train=str(container / "reviews.tsv"), test="", span="", sample_size=20.0, run_token=""
    )
    notes.write(run_folder(str(container / "reports"), "run-1"), notes.Failure("tsv-example-gen", "lost", False))
    assert entrypoint.main(invocation) == 0
    assert notes.read(run_folder(str(container / "reports"), "run-1")) is None
    rows = read_ingest(str(folder(container))).rows
    assert sum(split["accepted"] for split in rows.values()) == 20
    with open(container / "fs" / "tmp" / "kfp_outputs" / "output_metadata.json") as stream:
        answer = json.load(stream)
    (written,) = answer["artifacts"]["examples"]["artifacts"]
    assert written["uri"] == URI
    assert json.loads(written["metadata"]["split_names"]) == ["train", "dev", "test"]
    assert None not in written["metadata"].values()
    assert list(answer["artifacts"]) == ["examples"]
    # RunOutcome, which has no inputs, counts the rows of a run that fails later.
    assert gather.read_rows(str(container / "reports" / "run-1"))["train"].accepted == rows["train"]["accepted"]


def test_files_on_the_volume_are_written_by_the_user_and_the_group_only(container):
    before = os.umask(0)  # Argo's.
    try:
        assert entrypoint.main(arguments(container, train=str(container / "no.tsv"))) == 2
    finally:
        os.umask(before)
    folder = container / "reports" / "run-1"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o775
    assert [stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()] == [0o664]


def test_letters_that_the_compiler_escaped_reach_the_executor(container):
    (container / "영화.tsv").write_text((container / "reviews.tsv").read_text())
    assert entrypoint.main(arguments(container, train=ascii_text.escape(f"{container}/영화.tsv"))) == 0


def test_an_error_of_the_user_is_the_last_line_and_a_note(container, capsys):
    assert entrypoint.main(arguments(container, train=str(container / "no.tsv"))) == 2
    sentence = f"data.train = {container}/no.tsv: No such file or directory"
    assert capsys.readouterr().err.splitlines()[-1] == f"error: {sentence}"
    note = notes.read(run_folder(str(container / "reports"), "run-1"))
    assert note == notes.Failure("tsv-example-gen", sentence, is_user_error=True, checks=[])


def test_an_invalid_run_parameter_is_named(container, capsys):
    assert entrypoint.main(arguments(container, sample_size=-3.0)) == 2
    assert "error: run parameters: data.sample_size = -3" in capsys.readouterr().err


@pytest.mark.parametrize("root, status", [("", 0), (ROOT, 0), (ROOT + "/", 0), ("minio://mlpipeline/v2/art", 2)])
def test_a_root_that_differs_from_the_runs_is_refused(container, capsys, root, status):
    assert entrypoint.main(arguments(container, pipeline_root=root)) == status
    if status:
        assert f"pipeline_root = {root}: differs from the root of the run" in capsys.readouterr().err


def test_the_reports_files_are_outputs_that_tfx_does_not_know(container, monkeypatch):
    monkeypatch.setenv(task_protocol.TASK_VARIABLE, "run-outcome")
    base = f"{ROOT}/reviews/run-1/run-outcome/uuid"
    types = {
        "report": {"instanceSchema": "title: artifacts.RunSummary\ntype: object\n"},
        "page": task_protocol.PAGE_TYPE,
        "outcome": task_protocol.OUTCOME_TYPE,
    }
    outputs = {
        name: {"artifacts": [{"type": artifact_type, "uri": f"{base}/{name}"}]} for name, artifact_type in types.items()
    }
    parameters = {
        "pipeline_name": "reviews",
        "reports_dir": str(container / "reports"),
        "notify": "{}",
        "parameters": "{}",
    }
    output_file = container / "fs" / "output.json"
    invocation = {
        "inputs": {"parameterValues": parameters},
        "outputs": {"artifacts": outputs, "outputFile": str(output_file)},
    }
    declared = {"parameters": {name: {"parameterType": "STRING"} for name in parameters}}
    command = ["--executor_class_path", "components.run_outcome.executor.Executor"]
    command += ["--json_serialized_invocation_args", json.dumps(invocation)]
    assert entrypoint.main([*command, "--json_serialized_inputs_spec_args", json.dumps(declared)]) == 0
    written = container / "fs" / base.replace("://", "/")
    assert (written / "page").read_text() == (written / "report" / "report.html").read_text()
    summary = container / "fs" / f"{ROOT}/reviews/run-1/summary.json".replace("://", "/")
    assert summary.read_text() == (written / "report" / "summary.json").read_text()
    answer = json.loads(output_file.read_text())["artifacts"]
    uris = {name: artifacts["artifacts"][0]["uri"] for name, artifacts in answer.items()}
    # `runs` computes the last one.
    assert uris == {
        "report": f"{base}/report",
        "page": f"{base}/page",
        "outcome": f"{ROOT}/reviews/run-1/summary.json",
    }


def test_another_failure_keeps_its_traceback_and_leaves_a_note(container):
    invocation = arguments(container)
    invocation[1] = "components.no_such.Executor"
    with pytest.raises(ImportError):
        entrypoint.main(invocation)
    note = notes.read(run_folder(str(container / "reports"), "run-1"))
    assert (note.is_user_error, note.error.split(":")[0]) == (False, "ModuleNotFoundError")


def test_a_note_that_cannot_be_written_does_not_hide_the_error(container, capsys):
    (container / "reports").write_text("a file")
    assert entrypoint.main(arguments(container, train=str(container / "no.tsv"))) == 2
    assert "No such file or directory" in capsys.readouterr().err


def test_the_trainer_gets_the_runs_id_for_its_checkpoints():
    invocation = {
        "inputs": {"parameterValues": {"custom_config": json.dumps({"trainer": {"epochs": 5}}), "epochs": 2.0}},
        "outputs": {"artifacts": {"model": {"artifacts": [{"uri": f"{ROOT}/reviews/run-1/trainer/u/model"}]}}},
    }
    task.merge_parameters(invocation, "trainer", "run-1")
    custom = json.loads(invocation["inputs"]["parameterValues"]["custom_config"])
    assert custom == {"trainer": {"epochs": 2}, "run": "run-1"}


def test_a_pretraining_gets_a_folder_of_its_own_for_its_checkpoints():
    invocation = {
        "inputs": {"parameterValues": {"config": "{}", "checkpoints": "/mnt/state/checkpoints"}},
        "outputs": {"artifacts": {"encoder": {"artifacts": [{"uri": f"{ROOT}/reviews/run-1/encoder-pretrainer/u/e"}]}}},
    }
    task.merge_parameters(invocation, "encoder-pretrainer", "run-1")
    assert invocation["inputs"]["parameterValues"]["checkpoints"] == "/mnt/state/checkpoints/run-1"


# Runs after the first attempt: it would end with the same message, and must not import TensorFlow to find out.
SECOND_ATTEMPT = """
import sys
from cluster import entrypoint
status = entrypoint.main(sys.argv[1:])
assert "tensorflow" not in sys.modules
sys.exit(status)
"""


def test_a_mistake_of_the_user_is_not_tried_again(container, capsys, monkeypatch):
    monkeypatch.setenv(task_protocol.RETRIES_VARIABLE, "2")
    invocation = arguments(container, train=str(container / "no.tsv"))
    assert entrypoint.main(invocation) == 2
    first = capsys.readouterr().err.splitlines()[-1]
    note = notes.read(run_folder(str(container / "reports"), "run-1"))
    for _ in range(2):
        command = [sys.executable, "-c", SECOND_ATTEMPT, *invocation]
        done = subprocess.run(command, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (2, f"{first}\n")
    assert dataclasses.replace(notes.read(run_folder(str(container / "reports"), "run-1")), retries=2) == note
    # Kubeflow does not retry any more, so a person did, after correcting the mistake.
    (container / "no.tsv").write_text((container / "reviews.tsv").read_text())
    assert entrypoint.main(invocation) == 0


def test_what_may_pass_is_tried_again(container, monkeypatch):
    monkeypatch.setenv(task_protocol.RETRIES_VARIABLE, "2")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}/train.tsv"
        assert entrypoint.main(arguments(container, train=address)) == 2
    assert notes.read(run_folder(str(container / "reports"), "run-1")).retries == 0


def http_error(status):
    response = requests.Response()
    response.status_code = status
    return requests.HTTPError(response=response)


@pytest.mark.parametrize(
    ("cause", "passes"),
    [
        (None, False),
        (FileNotFoundError(), False),
        (PermissionError(), False),
        (ValueError(), False),
        (http_error(404), False),
        (http_error(429), True),
        (http_error(503), True),
        (requests.ConnectionError(), True),
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (urllib3.exceptions.MaxRetryError(None, "/", None), True),
    ],
)
def test_only_the_network_servers_and_disks_recover(cause, passes):
    error, download = UserError("data.train: ..."), DownloadError("...")
    error.__cause__, download.__cause__ = download, cause
    assert entrypoint._may_pass(error) == passes
