"""Resolves the handle before the cache lookup, if the orchestrator runs drivers."""

from tfx.dsl.components.base import base_driver
from tfx.orchestration.portable import base_driver as ir_base_driver
from tfx.orchestration.portable import data_types
from tfx.proto.orchestration import driver_output_pb2

from components.hub_encoder import executor, handles


class Driver(base_driver.BaseDriver, ir_base_driver.BaseDriver):
    """Sets `fingerprint`, so that a local folder with new content misses the cache."""

    def run(self, execution_info: data_types.ExecutionInfo) -> driver_output_pb2.DriverOutput:
        """Adds the fingerprint of the encoder.

        Raises:
          UserError: the handle can't be resolved.
        """
        properties = execution_info.exec_properties
        sources = handles.resolve(properties[executor.HANDLE], properties[executor.PREPROCESS])
        output = driver_output_pb2.DriverOutput()
        output.exec_properties[executor.FINGERPRINT].string_value = handles.fingerprint(sources)
        return output
