"""Executor of RunReport."""

from typing import Any

from tfx import types
from tfx.dsl.components.base import base_executor

from pipeline import report, summary

PIPELINE_NAME = "pipeline_name"


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
        folder = output_dict["report"][0].uri
        content = {"pipeline": exec_properties[PIPELINE_NAME], **summary.summarise(found)}
        report.write(folder, content, found.model_run)
        summary.write(folder, content)
