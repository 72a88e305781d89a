"""Executor of RunOutcome."""

import json
import os
import shutil
from typing import Any, Mapping, Optional

from tfx import types
from tfx.dsl.components.base import base_executor

from components import execution
from components.run_outcome import notes
from pipeline import report, summary

FINAL_STATUS = "final_status"
PIPELINE_NAME = "pipeline_name"
REPORTS_DIR = "reports_dir"

# As documented, and as the open-source driver writes it, which takes the metadata store's word.
_SUCCEEDED = ("SUCCEEDED", "COMPLETE")


class Executor(base_executor.BaseExecutor):
    """Hands on RunReport's files, or writes those of a run that did not come so far."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """See `RunOutcomeSpec`; `final_status` is the JSON of KFP's `PipelineTaskFinalStatus`."""
        folder = notes.run_folder(exec_properties[REPORTS_DIR], execution.run_id(self._context))
        status = json.loads(exec_properties[FINAL_STATUS] or "{}")
        if status.get("state") not in _SUCCEEDED:
            os.makedirs(folder, exist_ok=True)
            content = describe(status, notes.read(folder))
            content = {"pipeline": exec_properties[PIPELINE_NAME], **content}
            report.write(folder, content, None)
            summary.write(folder, content)
        for name in (summary.SUMMARY_FILE, report.REPORT_FILE):
            shutil.copyfile(os.path.join(folder, name), os.path.join(output_dict["report"][0].uri, name))


def describe(status: Mapping[str, Any], failure: Optional[notes.Failure]) -> dict[str, Any]:
    """Makes the summary of a run that did not succeed.

    Args:
      status: KFP's `PipelineTaskFinalStatus`.
      failure: what the task that failed has left.
    """
    content = {**summary.summarise(summary.RunArtifacts()), "status": "failed"}
    if failure is not None:
        content.update(error=f"{failure.task}: {failure.error}", gates=list(failure.checks))
        if failure.is_user_error:
            content["status"] = "stopped"
    else:
        said = status.get("error", {}).get("message") or "its tasks say why in their logs"
        content["error"] = f"the run ended as {status.get('state', 'unknown')}: {said}"
    content["exit_status"] = summary.EXIT_STATUS[content["status"]]
    return content
