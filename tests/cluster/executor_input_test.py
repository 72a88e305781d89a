import os

import pytest

from cluster import executor_input


def make_input(**outputs):
    return {
        "inputs": {
            "artifacts": {
                "model": {"artifacts": [{"name": "7", "type": {}, "uri": "minio://b/p/run-1/trainer/u/model"}]}
            }
        },
        "outputs": {
            "artifacts": {"blessing": {"artifacts": [{"uri": "minio://b/p/run-1/model-gate/u/blessing"}]}, **outputs},
            "outputFile": "/tmp/kfp_outputs/output_metadata.json",
        },
    }


def uris(content, side):
    return {name: [a["uri"] for a in lists["artifacts"]] for name, lists in content[side]["artifacts"].items()}


def test_only_the_backends_own_output_is_removed():
    logs = {"artifacts": [{"type": {"schemaTitle": "system.Artifact"}, "uri": "minio://b/p/run-1/x/executor-logs"}]}
    content = make_input(**{"executor-logs": logs})
    executor_input.drop_backend_outputs(content)
    assert list(content["outputs"]["artifacts"]) == ["blessing"]


def test_inputs_get_the_declared_type():
    content = make_input()
    declared = {"artifacts": {"model": {"artifactType": {"instanceSchema": "title: tfx.Model"}}}}
    executor_input.set_input_types(content, declared)
    assert content["inputs"]["artifacts"]["model"]["artifacts"][0]["type"] == {"instanceSchema": "title: tfx.Model"}


@pytest.mark.parametrize(
    "uri, local",
    [
        ("minio://b/k/model", "/fs/minio/b/k/model"),
        ("s3://b/k", "/fs/s3/b/k"),
        ("gs://b/k", "gs://b/k"),
        ("/tmp/x", "/tmp/x"),
    ],
)
def test_only_uris_that_tensorflow_cannot_open_become_local(uri, local):
    assert executor_input.local_path(uri, "/fs") == local


def test_both_sides_and_the_output_file_become_local():
    content = make_input()
    content["outputs"]["outputFile"] = "minio://b/p/run-1/model-gate/u/output_metadata.json"
    executor_input.localize(content, "/fs")
    assert uris(content, "inputs") == {"model": ["/fs/minio/b/p/run-1/trainer/u/model"]}
    assert uris(content, "outputs") == {"blessing": ["/fs/minio/b/p/run-1/model-gate/u/blessing"]}
    assert content["outputs"]["outputFile"] == "/fs/minio/b/p/run-1/model-gate/u/output_metadata.json"


def test_the_output_has_the_remote_uris_again():
    content = make_input()
    remote = executor_input.remote_uris(content, "/fs")
    executor_input.localize(content, "/fs")
    answer = {"artifacts": {"blessing": content["outputs"]["artifacts"]["blessing"]}}
    executor_input.restore_remote_uris(answer, remote)
    assert answer["artifacts"]["blessing"]["artifacts"][0]["uri"] == "minio://b/p/run-1/model-gate/u/blessing"


def test_folders_are_created_only_for_local_outputs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = make_input(examples={"artifacts": [{"uri": "gs://b/p/run-1/x/examples"}]})
    executor_input.localize(content, str(tmp_path))
    executor_input.create_output_folders(content)
    assert os.path.isdir(tmp_path / "minio/b/p/run-1/model-gate/u/blessing")
    assert os.listdir(tmp_path) == ["minio"]


def test_only_nulls_are_removed():
    answer = {"artifacts": {"x": {"artifacts": [{"uri": "u", "metadata": {"a": None, "b": 0, "c": ""}}]}}}
    executor_input.drop_nulls(answer)
    assert answer["artifacts"]["x"]["artifacts"][0]["metadata"] == {"b": 0, "c": ""}


@pytest.mark.parametrize(
    "uri",
    [
        "minio://b/p/run-1/model-gate/blessing",
        "minio://b/p/run-1/model-gate/u-u/blessing",
        "s3://team/model-gate/model-gate/run-1/model-gate/u-u/blessing",
    ],
)
def test_the_run_id_is_read_from_a_uri_of_either_layout(uri):
    content = make_input()
    content["outputs"]["artifacts"]["blessing"]["artifacts"][0]["uri"] = uri
    assert executor_input.run_id(content, "model-gate") == "run-1"


def test_a_uri_without_the_task_is_an_error():
    with pytest.raises(ValueError, match="outputs of pusher"):
        executor_input.run_id(make_input(), "pusher")


def test_the_input_of_the_newest_launcher():
    """The main branch of August 2026: outputs have names, and the log's URI ends in the number of the attempt."""
    content = make_input()
    folder = "minio://b/p/run-1/model-gate/u"
    logs = {"name": "executor-logs", "type": {"schemaTitle": "system.Artifact"}, "uri": f"{folder}/executor-logs-0"}
    blessing = {"name": "blessing", "type": {"instanceSchema": "title: tfx.ModelBlessing"}, "uri": f"{folder}/blessing"}
    artifacts = {"executor-logs": {"artifacts": [logs]}, "blessing": {"artifacts": [blessing]}}
    content["outputs"] = {"artifacts": artifacts, "outputFile": "/minio/b/p/run-1/model-gate/u/output_metadata.json"}
    assert executor_input.run_id(content, "model-gate") == "run-1"
    executor_input.drop_backend_outputs(content)
    assert list(content["outputs"]["artifacts"]) == ["blessing"]
