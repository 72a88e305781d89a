"""Executor of RunReport."""

import os
import shutil
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_executor

from components import execution
from components.run_report import gather, report
from components.run_report.summary import REPORT_FILE, SUMMARY_FILE, run_folder

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
        artifact_folder, reports_dir = output_dict[REPORT][0].uri, exec_properties.get(REPORTS_DIR)
        folder = run_folder(reports_dir, execution.run_id(self._context)) if reports_dir else artifact_folder
        os.makedirs(folder, exist_ok=True)
        report.write(folder, summary, details)
        if folder != artifact_folder:
            for name in (SUMMARY_FILE, REPORT_FILE):
                shutil.copyfile(os.path.join(folder, name), os.path.join(artifact_folder, name))
