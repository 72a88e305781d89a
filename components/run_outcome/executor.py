"""Executor of RunOutcome."""

import os
import shutil
from typing import Any, Optional

from tfx import types
from tfx.dsl.components.base import base_executor

from components import execution
from components.run_outcome import notes
from components.run_report import report, summary

PIPELINE_NAME = "pipeline_name"
REPORTS_DIR = "reports_dir"


class Executor(base_executor.BaseExecutor):
    """Hands on RunReport's files, or writes those of a run that did not come so far."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """See `RunOutcomeSpec`."""
        folder = notes.run_folder(exec_properties[REPORTS_DIR], execution.run_id(self._context))
        # RunReport is the last node: where it has been, none has failed.
        if not os.path.isfile(os.path.join(folder, summary.SUMMARY_FILE)):
            os.makedirs(folder, exist_ok=True)
            content = {"pipeline": exec_properties[PIPELINE_NAME], **describe(notes.read(folder))}
            report.write(folder, content, None)
            summary.write(folder, content)
        for name in (summary.SUMMARY_FILE, report.REPORT_FILE):
            shutil.copyfile(os.path.join(folder, name), os.path.join(output_dict["report"][0].uri, name))


def describe(failure: Optional[notes.Failure]) -> dict[str, Any]:
    """Makes the summary of a run that did not come to its report.

    Args:
      failure: what the task that failed has left; None where it could leave nothing.
    """
    content = {**summary.summarise(summary.RunArtifacts()), "status": "failed"}
    if failure is None:
        content["error"] = "a task was cancelled, or ended before it could say why; Kubeflow's page of the run names it"
    else:
        content.update(error=f"{failure.task}: {failure.error}", gates=list(failure.checks))
        if failure.is_user_error:
            content["status"] = "stopped"
    content["exit_status"] = summary.EXIT_STATUS[content["status"]]
    return content
