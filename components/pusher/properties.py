"""The Pusher's inputs and execution properties, which have the names of TFX's Pusher.

TFX's own module of these names imports TFMA and Beam, which takes seconds.
"""

from typing import Any, Mapping

from tfx import types
from tfx.proto import pusher_pb2
from tfx.types import artifact_utils
from tfx.utils import json_utils, path_utils, proto_utils

from artifacts import model_files

CUSTOM_CONFIG = "custom_config"
MODEL = "model"
MODEL_BLESSING = "model_blessing"
INFRA_BLESSING = "infra_blessing"
BLESSINGS = (MODEL_BLESSING, INFRA_BLESSING)
PUSHED_MODEL = "pushed_model"
_PUSH_DESTINATION = "push_destination"

# Keys of `custom_config`; the driver adds the last one.
NAME = "name"
KEEP = "keep"
ALLOW_ROLLED_BACK = "allow_rolled_back"
PUSH_ID = "push_id"

# Custom property of the pushed model: 1 if it was in serving already, so that nothing new was pushed.
ALREADY_SERVED = "already_served"


def custom_config(exec_properties: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the `custom_config` property; empty if it is missing."""
    return json_utils.loads(exec_properties.get(CUSTOM_CONFIG) or "null") or {}


def base_directory(exec_properties: Mapping[str, Any]) -> str:
    """Reads the serving folder from the `push_destination` property.

    Raises:
      UserError: the destination is not a folder on a file system.
    """
    destination = pusher_pb2.PushDestination()
    proto_utils.json_to_proto(exec_properties[_PUSH_DESTINATION], destination)
    model_files.check_local(destination.filesystem.base_directory)
    return destination.filesystem.base_directory


def model_path(input_dict: Mapping[str, list[types.Artifact]]) -> str:
    """Returns the folder of the candidate's SavedModel."""
    model = artifact_utils.get_single_instance(input_dict[MODEL])
    return path_utils.serving_model_path(model.uri, path_utils.is_old_model_artifact(model))
