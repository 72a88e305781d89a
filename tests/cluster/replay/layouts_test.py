import pytest
from google.protobuf import json_format, struct_pb2
from kfp.pipeline_spec import pipeline_spec_pb2

from cluster.replay import layouts
from cluster.replay.layouts import LAYOUTS, Artifact

TASK = "minio://mlpipeline/v2/artifacts/reviews/6ba7b810/trainer"
SCHEMA = {"instanceSchema": "title: tfx.Model\ntype: object\n"}
LOGS = {"schemaTitle": "system.Artifact"}

GOLDEN = {
    "2.3": {
        "artifacts": {"model": {"artifacts": [{"uri": f"{TASK}/model", "type": SCHEMA}]}},
        "outputFile": "/tmp/kfp_outputs/output_metadata.json",
    },
    "2.5": {
        "artifacts": {
            "executor-logs": {"artifacts": [{"uri": f"{TASK}/0a1b/executor-logs", "type": LOGS}]},
            "model": {"artifacts": [{"uri": f"{TASK}/0a1b/model", "type": SCHEMA}]},
        },
        "outputFile": "/tmp/kfp_outputs/output_metadata.json",
    },
    "2.15": {
        "artifacts": {
            "executor-logs": {
                "artifacts": [{"name": "executor-logs", "uri": f"{TASK}/0a1b/executor-logs", "type": LOGS}]
            },
            "model": {"artifacts": [{"name": "model", "uri": f"{TASK}/0a1b/model", "type": SCHEMA}]},
        },
        "outputFile": "/minio/mlpipeline/v2/artifacts/reviews/6ba7b810/trainer/0a1b/output_metadata.json",
    },
}


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_outputs_equal_the_backends(layout):
    fields = {"artifacts": {"model": {"artifactType": SCHEMA}}}
    declared = json_format.ParseDict(fields, pipeline_spec_pb2.ComponentOutputsSpec())
    outputs = layouts.outputs(LAYOUTS[layout], TASK, "0a1b", declared)
    assert outputs == GOLDEN[layout]
    json_format.ParseDict({"outputs": outputs}, pipeline_spec_pb2.ExecutorInput())


def test_empty_fields_are_left_out():
    declared = pipeline_spec_pb2.ComponentOutputsSpec()
    assert list(layouts.outputs(LAYOUTS["2.3"], TASK, "0a1b", declared)) == ["outputFile"]
    assert layouts.inputs({}, {}) == {}


def test_input_artifacts_have_an_empty_type():
    artifacts = {"model": Artifact(7, f"{TASK}/model", {"a": 1})}
    assert layouts.inputs({"epochs": 5}, artifacts) == {
        "parameterValues": {"epochs": 5},
        "artifacts": {
            "model": {
                "artifacts": [
                    {"name": "7", "uri": f"{TASK}/model", "type": {"instanceSchema": ""}, "metadata": {"a": 1}}
                ]
            }
        },
    }


def test_metadata_are_converted_as_by_ml_metadata():
    metadata = {"name": "m", "good": True, "splits": ["a"], "counts": {"a": 1}, "share": 0.5}
    recorded = layouts.recorded_metadata(LAYOUTS["2.3"], "model", metadata)
    assert recorded == {
        "name": "m",
        "good": 1,
        "splits": {"list": ["a"]},
        "counts": {"struct": {"a": 1}},
        "share": 0.5,
        "display_name": "model",
    }
    assert recorded["good"] is not True
    later = layouts.recorded_metadata(LAYOUTS["2.5"], "model", {"display_name": "mine"})
    assert later == {"display_name": "mine", "store_session_info": '{"Provider":"minio"}'}


def test_whole_numbers_of_a_message_have_no_fraction():
    value = json_format.ParseDict({"a": [1, 2.5]}, struct_pb2.Value())
    assert repr(layouts.as_json(value)) == "{'a': [1, 2.5]}"
