"""Pushes of tiny models through the real executor, for tests."""

import os
import pathlib
import tempfile

from tfx.proto import pusher_pb2
from tfx.types import standard_artifacts
from tfx.utils import json_utils, proto_utils

from artifacts import model_files
from components.pusher import executor


def make_model(folder, content="weights"):
    """A Model artifact whose files can be checked by their digest, but not loaded."""
    serving = pathlib.Path(folder) / "Format-Serving"
    (serving / "variables").mkdir(parents=True)
    (serving / "saved_model.pb").write_text(content)
    (serving / "variables" / "variables.index").write_text(content * 3)
    model = standard_artifacts.Model()
    model.uri = str(folder)
    return model


def digest_of(model):
    return model_files.model_sha256(os.path.join(model.uri, "Format-Serving"))


def blessing_of(blessed):
    blessing = standard_artifacts.InfraBlessing()
    blessing.set_int_custom_property("blessed", int(blessed))
    return blessing


def properties_for(serving_dir, config):
    destination = pusher_pb2.PushDestination(filesystem={"base_directory": str(serving_dir)})
    return {"push_destination": proto_utils.proto_to_json(destination), "custom_config": json_utils.dumps(config)}


def push(model, serving_dir, blessed=True, inputs=(), run_id=None, **config):
    pushed = standard_artifacts.PushedModel()
    with tempfile.TemporaryDirectory() as pushed.uri:
        inputs = {"model": [model], "infra_blessing": [blessing_of(blessed)], **dict(inputs)}
        context = executor.Executor.Context(pipeline_run_id=run_id)
        executor.Executor(context).Do(inputs, {"pushed_model": [pushed]}, properties_for(serving_dir, config))
    return pushed


def versions(serving_dir):
    return [int(os.path.basename(path)) for path in model_files.served_versions(str(serving_dir))]
