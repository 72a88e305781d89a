import json

import pytest
from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_entrypoint_utils
from tfx.types import standard_artifacts

from artifacts.examples import read_ingest
from cluster import entrypoint, executor_input, task_protocol
from components.run_outcome import notes
from components.run_report.summary import run_folder

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


def test_a_page_is_written_as_one_file_that_tfx_does_not_know(container, monkeypatch):
    monkeypatch.setenv(task_protocol.TASK_VARIABLE, "run-outcome")
    base = f"{ROOT}/reviews/run-1/run-outcome/uuid"
    types = {
        "report": {"instanceSchema": "title: artifacts.RunSummary\ntype: object\n"},
        "page": task_protocol.PAGE_TYPE,
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
    assert list(json.loads(output_file.read_text())["artifacts"]) == ["report"], "the launcher knows the page's URI"


def test_another_failure_keeps_its_traceback_and_leaves_a_note(container):
    invocation = arguments(container)
    invocation[1] = "components.no_such.Executor"
    with pytest.raises(ImportError):
        entrypoint.main(invocation)
    note = notes.read(run_folder(str(container / "reports"), "run-1"))
    assert (note.is_user_error, note.error.split(":")[0]) == (False, "ImportError")


def test_a_note_that_cannot_be_written_does_not_hide_the_error(container, capsys):
    (container / "reports").write_text("a file")
    assert entrypoint.main(arguments(container, train=str(container / "no.tsv"))) == 2
    assert "No such file or directory" in capsys.readouterr().err


def test_another_tfx_is_refused():
    with pytest.raises(SystemExit, match="TFX 1.17.0 is installed"):
        entrypoint._check_version("1.17.0")


def test_value_artifacts_are_read(tmp_path):
    from kfp.pipeline_spec import pipeline_spec_pb2

    (tmp_path / "value").write_text("7")
    artifacts = pipeline_spec_pb2.ExecutorInput()
    artifact = artifacts.inputs.artifacts["n"].artifacts.add(uri=str(tmp_path / "value"))
    artifact.type.instance_schema = "title: tfx.Integer\ntype: object\n"
    with entrypoint._read_value_artifacts():
        parsed = kubeflow_v2_entrypoint_utils.parse_raw_artifact_dict(artifacts.inputs.artifacts)
    assert isinstance(parsed["n"][0], standard_artifacts.Integer)
    assert parsed["n"][0].value == 7


def test_the_trainer_gets_the_runs_id_for_its_checkpoints():
    invocation = {
        "inputs": {"parameterValues": {"custom_config": json.dumps({"trainer": {"epochs": 5}}), "epochs": 2.0}},
        "outputs": {"artifacts": {"model": {"artifacts": [{"uri": f"{ROOT}/reviews/run-1/trainer/u/model"}]}}},
    }
    entrypoint._merge_parameters(invocation, "trainer", "run-1")
    custom = json.loads(invocation["inputs"]["parameterValues"]["custom_config"])
    assert custom == {"trainer": {"epochs": 2}, "run": "run-1"}


def test_a_pretraining_gets_a_folder_of_its_own_for_its_checkpoints():
    invocation = {
        "inputs": {"parameterValues": {"config": "{}", "checkpoints": "/mnt/state/checkpoints"}},
        "outputs": {"artifacts": {"encoder": {"artifacts": [{"uri": f"{ROOT}/reviews/run-1/encoder-pretrainer/u/e"}]}}},
    }
    entrypoint._merge_parameters(invocation, "encoder-pretrainer", "run-1")
    assert invocation["inputs"]["parameterValues"]["checkpoints"] == "/mnt/state/checkpoints/run-1"
