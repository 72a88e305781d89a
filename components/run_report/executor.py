"""Executor of RunReport."""

import os
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_executor

from components import execution
from components.run_outcome import notes
from components.run_report import report, summary

PIPELINE_NAME = "pipeline_name"
REPORTS_DIR = "reports_dir"


class Executor(base_executor.BaseExecutor):
    """Writes the summary and the page of the artifacts that it is given."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """See `RunReportSpec`."""
        found = summary.RunArtifacts(**{name: artifacts[0] for name, artifacts in input_dict.items()})
        content = {"pipeline": exec_properties[PIPELINE_NAME], **summary.summarise(found), "error": None}
        content["exit_status"] = summary.EXIT_STATUS[content["status"]]
        folders = [output_dict["report"][0].uri]
        if exec_properties.get(REPORTS_DIR):
            folders.append(notes.run_folder(exec_properties[REPORTS_DIR], execution.run_id(self._context)))
        for folder in folders:
            os.makedirs(folder, exist_ok=True)
            report.write(folder, content, found.model_run)
            summary.write(folder, content)
