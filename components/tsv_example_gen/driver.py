"""Adds the input's fingerprint to the cache key, on orchestrators that run drivers."""

from tfx.dsl.components.base import base_driver
from tfx.orchestration.portable import base_driver as ir_base_driver
from tfx.orchestration.portable import data_types
from tfx.proto.orchestration import driver_output_pb2

from components.tsv_example_gen import executor
from core.config import DataConfig


class Driver(base_driver.BaseDriver, ir_base_driver.BaseDriver):
    """Sets `fingerprint`: a changed input misses the cache, an unchanged one hits it."""

    def run(self, execution_info: data_types.ExecutionInfo) -> driver_output_pb2.DriverOutput:
        """Returns the fingerprint of the current input files.

        Raises:
          UserError: a location, a file or the fractions can't be used.
        """
        plan = executor.make_plan(DataConfig.model_validate_json(execution_info.exec_properties[executor.DATA]))
        output = driver_output_pb2.DriverOutput()
        output.exec_properties[executor.FINGERPRINT].string_value = plan.fingerprint
        return output
