"""Makes DataGate's cache follow the serving folder, where the orchestrator runs drivers."""

from tfx.dsl.components.base import base_driver
from tfx.orchestration.portable import base_driver as ir_base_driver
from tfx.orchestration.portable import data_types
from tfx.proto.orchestration import driver_output_pb2
from tfx.types import artifact_utils

from artifacts import model_files
from components.data_gate import executor, reference


class Driver(base_driver.BaseDriver, ir_base_driver.BaseDriver):
    """Sets `fingerprint`, so that data is judged anew where another model is in serving, and only there."""

    def run(self, execution_info: data_types.ExecutionInfo) -> driver_output_pb2.DriverOutput:
        """Adds the fingerprint of what the data will be held against.

        Raises:
          UserError: the newest version in serving is broken, or the folder can't be read.
        """
        examples = artifact_utils.get_single_instance(execution_info.input_dict[executor.EXAMPLES])
        chosen = reference.choose_reference(
            execution_info.exec_properties[executor.SERVING_DIR], model_files.tree_sha256(examples.uri)
        )
        output = driver_output_pb2.DriverOutput()
        output.exec_properties[executor.FINGERPRINT].string_value = chosen.fingerprint
        return output
