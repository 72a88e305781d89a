"""Adds the fingerprint of what is outside the pipeline to the cache key, on orchestrators that run drivers."""

from tfx.dsl.components.base import base_driver
from tfx.orchestration.portable import base_driver as ir_base_driver
from tfx.orchestration.portable import data_types
from tfx.proto.orchestration import driver_output_pb2

from components import text_tables
from components.teacher_labels import executor, rows, teachers
from core.config import DistillConfig


class Driver(base_driver.BaseDriver, ir_base_driver.BaseDriver):
    """Sets `fingerprint`: a changed teacher or table misses the cache, unchanged ones hit it."""

    def run(self, execution_info: data_types.ExecutionInfo) -> driver_output_pb2.DriverOutput:
        """Returns the fingerprint of the current teachers and tables.

        Raises:
          UserError: a table can't be used.
        """
        config = DistillConfig.model_validate_json(execution_info.exec_properties[executor.CONFIG])
        parts = [teachers.fingerprint(config.teachers), text_tables.fingerprint(config.texts, rows.SETTING)]
        output = driver_output_pb2.DriverOutput()
        output.exec_properties[executor.FINGERPRINT].string_value = " ".join(parts)
        return output
