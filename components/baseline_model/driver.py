"""Adds the served model's fingerprint to the cache key, on orchestrators that run drivers."""

from tfx.dsl.components.base import base_driver
from tfx.orchestration.portable import base_driver as ir_base_driver
from tfx.orchestration.portable import data_types
from tfx.proto.orchestration import driver_output_pb2
from tfx.types import artifact_utils
from tfx.utils import path_utils

from components.baseline_model import executor


class Driver(base_driver.BaseDriver, ir_base_driver.BaseDriver):
    """Sets `fingerprint`, so that the cache is hit only while the same model is in serving."""

    def run(self, execution_info: data_types.ExecutionInfo) -> driver_output_pb2.DriverOutput:
        """Adds the fingerprint of the current baseline.

        Raises:
          UserError: the newest version in serving is broken, or the folder can't be read.
        """
        candidate = artifact_utils.get_single_instance(execution_info.input_dict[executor.MODEL])
        choice = executor.choose_baseline(
            path_utils.serving_model_path(candidate.uri), execution_info.exec_properties[executor.SERVING_DIR]
        )
        output = driver_output_pb2.DriverOutput()
        output.exec_properties[executor.FINGERPRINT].string_value = choice.fingerprint
        return output
