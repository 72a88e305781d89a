"""Adds the fingerprint of what is outside the pipeline to the cache key, on orchestrators that run drivers."""

from tfx.dsl.components.base import base_driver
from tfx.orchestration.portable import base_driver as ir_base_driver
from tfx.orchestration.portable import data_types
from tfx.proto.orchestration import driver_output_pb2

from components import text_tables
from components.encoder_pretrainer import executor, start, texts
from components.hub_encoder import handles
from core.config import PretrainConfig


class Driver(base_driver.BaseDriver, ir_base_driver.BaseDriver):
    """Sets `fingerprint`: a changed table or encoder misses the cache, an unchanged one hits it."""

    def run(self, execution_info: data_types.ExecutionInfo) -> driver_output_pb2.DriverOutput:
        """Returns the fingerprint of the current tables, and of the encoder to continue from.

        Raises:
          UserError: a table can't be used, or the encoder's handle can't be resolved.
        """
        config = PretrainConfig.model_validate_json(execution_info.exec_properties[executor.CONFIG])
        output = driver_output_pb2.DriverOutput()
        parts = [text_tables.fingerprint(config.texts, texts.SETTING)]
        if config.continue_from is not None:
            parts.append(handles.fingerprint(handles.resolve(config.continue_from, setting=start.SETTING)))
        output.exec_properties[executor.FINGERPRINT].string_value = " ".join(parts)
        return output
