"""Executor of RunOutcome."""

import json
import os
import shutil
from typing import Any, Mapping, Optional

from tfx import types
from tfx.dsl.components.base import base_executor

from components import execution
from components.run_outcome import notes
from components.run_report import gather, notification, report, tracking
from components.run_report.executor import PIPELINE_NAME, REPORT, REPORTS_DIR
from components.run_report.summary import REPORT_FILE, SUMMARY_FILE, SplitRows, Status, Summary, run_folder
from core.config import NotifyConfig

NOTIFY = "notify"
PARAMETERS = "parameters"

NO_ROWS: Mapping[str, SplitRows] = {}


class Executor(base_executor.BaseExecutor):
    """Copies RunReport's files, or writes them if the run failed earlier; notifies of it and logs it to MLflow."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """See `RunOutcomeSpec`."""
        folder = run_folder(exec_properties[REPORTS_DIR], execution.run_id(self._context))
        # RunReport is the last node, so no other node has failed if its summary is there.
        if not os.path.isfile(os.path.join(folder, SUMMARY_FILE)):
            os.makedirs(folder, exist_ok=True)
            failed = summarise(exec_properties[PIPELINE_NAME], notes.read(folder), gather.read_rows(folder))
            report.write(folder, failed, gather.Details())
        for name in (SUMMARY_FILE, REPORT_FILE):
            shutil.copyfile(os.path.join(folder, name), os.path.join(output_dict[REPORT][0].uri, name))
        with open(os.path.join(folder, SUMMARY_FILE), encoding="utf-8") as stream:
            summary = json.load(stream)
        notification.notify(NotifyConfig.model_validate_json(exec_properties[NOTIFY]), summary)
        run = execution.run_id(self._context)
        tracking.log_run(json.loads(exec_properties[PARAMETERS]), {**summary, "run": run, "run_folder": folder})


def summarise(pipeline: str, failure: Optional[notes.Failure], rows: Mapping[str, SplitRows] = NO_ROWS) -> Summary:
    """Makes the summary of a failed run.

    Args:
      pipeline: name of the pipeline.
      failure: the note of the task that failed; None if it could not write one.
      rows: row counts by split; empty if the data were not read.
    """
    if failure is None:
        error = "a task was cancelled or killed before it could report why; see the run's page in Kubeflow"
        return Summary(pipeline, "failed", rows=rows, error=error)
    status: Status = "stopped" if failure.is_user_error else "failed"
    return Summary(pipeline, status, rows=rows, gates=failure.checks, error=f"{failure.task}: {failure.error}")
