"""Looks at the handle before the cache is asked, where the orchestrator runs drivers."""

from tfx.dsl.components.base import base_driver
from tfx.orchestration.portable import base_driver as ir_base_driver
from tfx.orchestration.portable import data_types
from tfx.proto.orchestration import driver_output_pb2

from components.hub_encoder import executor, handles


class Driver(base_driver.BaseDriver, ir_base_driver.BaseDriver):
    """Sets `fingerprint`, so that a local folder with other contents misses the cache."""

    def run(self, execution_info: data_types.ExecutionInfo) -> driver_output_pb2.DriverOutput:
        """Adds the fingerprint of what the handle stands for.

        Raises:
          UserError: the handle stands for nothing; nothing has been started then.
        """
        properties = execution_info.exec_properties
        sources = handles.resolve(properties[executor.HANDLE], properties[executor.PREPROCESS])
        output = driver_output_pb2.DriverOutput()
        output.exec_properties[executor.FINGERPRINT].string_value = handles.fingerprint(sources)
        return output
