"""Reads the Pusher's execution properties."""

from typing import Any, Mapping

from tfx.proto import pusher_pb2
from tfx.types import standard_component_specs
from tfx.utils import json_utils, proto_utils

from artifacts import model_files

# Keys of `custom_config`; the driver adds the last one.
NAME = "name"
KEEP = "keep"
ALLOW_ROLLED_BACK = "allow_rolled_back"
PUSH_ID = "push_id"

# Custom property of the pushed model: 1 if it was in serving already, so that nothing new was pushed.
ALREADY_SERVED = "already_served"


def custom_config(exec_properties: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the `custom_config` property; empty if it is missing."""
    return json_utils.loads(exec_properties.get(standard_component_specs.CUSTOM_CONFIG_KEY) or "null") or {}


def base_directory(exec_properties: Mapping[str, Any]) -> str:
    """Reads the serving folder from the `push_destination` property.

    Raises:
      UserError: the destination is not a folder on a file system.
    """
    destination = pusher_pb2.PushDestination()
    proto_utils.json_to_proto(exec_properties[standard_component_specs.PUSH_DESTINATION_KEY], destination)
    model_files.check_local(destination.filesystem.base_directory)
    return destination.filesystem.base_directory


def pushing_into(exec_properties: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """Returns the properties with another destination."""
    destination = pusher_pb2.PushDestination(filesystem={"base_directory": folder})
    key = standard_component_specs.PUSH_DESTINATION_KEY
    return {**exec_properties, key: proto_utils.proto_to_json(destination)}
