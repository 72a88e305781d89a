"""Adds the fingerprint of further tables to the cache key, on orchestrators that run drivers."""

from tfx.dsl.components.base import base_driver
from tfx.orchestration.portable import base_driver as ir_base_driver
from tfx.orchestration.portable import data_types
from tfx.proto.orchestration import driver_output_pb2

from components.encoder_pretrainer import executor, texts
from core.config import PretrainConfig


class Driver(base_driver.BaseDriver, ir_base_driver.BaseDriver):
    """Sets `fingerprint`: a changed table misses the cache, an unchanged one hits it."""

    def run(self, execution_info: data_types.ExecutionInfo) -> driver_output_pb2.DriverOutput:
        """Returns the fingerprint of the current tables.

        Raises:
          UserError: a table can't be used.
        """
        config = PretrainConfig.model_validate_json(execution_info.exec_properties[executor.CONFIG])
        output = driver_output_pb2.DriverOutput()
        output.exec_properties[executor.FINGERPRINT].string_value = texts.fingerprint(config.texts)
        return output
