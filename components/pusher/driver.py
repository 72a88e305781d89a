"""Makes the Pusher's cache depend on the serving folder, on orchestrators that run drivers."""

import uuid

from tfx.dsl.components.base import base_driver
from tfx.orchestration.portable import base_driver as ir_base_driver
from tfx.orchestration.portable import data_types
from tfx.proto.orchestration import driver_output_pb2
from tfx.utils import json_utils

from artifacts import model_files
from components.pusher import properties, record


class Driver(base_driver.BaseDriver, ir_base_driver.BaseDriver):
    """Adds a push id to the cache key: the recorded id while that push is still in serving, else a new one."""

    def run(self, execution_info: data_types.ExecutionInfo) -> driver_output_pb2.DriverOutput:
        """Adds `push_id` to `custom_config`.

        Raises:
          UserError: the serving folder can't be read.
        """
        exec_properties = execution_info.exec_properties
        candidate = properties.model_path(execution_info.input_dict)
        config = properties.custom_config(exec_properties)
        config[properties.PUSH_ID] = _push_id(candidate, properties.base_directory(exec_properties))
        output = driver_output_pb2.DriverOutput()
        output.exec_properties[properties.CUSTOM_CONFIG].string_value = json_utils.dumps(config)
        return output


def _push_id(candidate: str, serving_dir: str) -> str:
    """Returns the id of the push that put this candidate into serving, else a new one, which misses the cache."""
    versions = model_files.served_versions(serving_dir)
    pushed = record.read(versions[-1]) if versions else None
    # Compute the digest again: the folder may have changed since the record was written.
    if pushed is not None and model_files.model_sha256(versions[-1]) == model_files.model_sha256(candidate):
        return pushed.push_id
    return uuid.uuid4().hex
