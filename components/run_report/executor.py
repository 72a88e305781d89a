"""Executor of RunReport."""

import os
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_executor

from components import execution
from components.run_report import gather, report
from components.run_report.summary import run_folder

PIPELINE_NAME = "pipeline_name"
REPORTS_DIR = "reports_dir"
REPORT = "report"


class Executor(base_executor.BaseExecutor):
    """Writes the report of a run in which all other nodes succeeded."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """See `RunReportSpec`."""
        artifacts = gather.RunArtifacts(**{name: values[0] for name, values in input_dict.items()})
        summary = gather.summarise(exec_properties[PIPELINE_NAME], artifacts)
        details = gather.read_details(artifacts)
        folders = [output_dict[REPORT][0].uri]
        if exec_properties.get(REPORTS_DIR):
            folders.append(run_folder(exec_properties[REPORTS_DIR], execution.run_id(self._context)))
        for folder in folders:
            os.makedirs(folder, exist_ok=True)
            report.write(folder, summary, details)
