"""Adds the model in serving to DataGate's cache key, on orchestrators that run drivers."""

from tfx.dsl.components.base import base_driver
from tfx.orchestration.portable import base_driver as ir_base_driver
from tfx.orchestration.portable import data_types
from tfx.proto.orchestration import driver_output_pb2
from tfx.types import artifact_utils

from artifacts.examples import data_digest
from components.data_gate import executor, reference


class Driver(base_driver.BaseDriver, ir_base_driver.BaseDriver):
    """Sets `fingerprint`, so that unchanged data is checked again only if another model is in serving."""

    def run(self, execution_info: data_types.ExecutionInfo) -> driver_output_pb2.DriverOutput:
        """Returns the fingerprint of the reference for drift.

        Raises:
          UserError: the newest version in serving is broken, or the folder can't be read.
        """
        examples = artifact_utils.get_single_instance(execution_info.input_dict[executor.EXAMPLES])
        chosen = reference.choose_reference(
            execution_info.exec_properties[executor.SERVING_DIR], data_digest(examples.uri)
        )
        output = driver_output_pb2.DriverOutput()
        output.exec_properties[executor.FINGERPRINT].string_value = chosen.fingerprint
        return output
