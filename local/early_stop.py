"""Ends a run whose files can't be used: the user has the message before TensorFlow is imported, then the report."""

import datetime
import json
import os

import rich.console

from components.run_report import notification, tracking
from components.run_report.summary import SUMMARY_FILE, Summary
from core import escape, streams
from core.config import Config, dump_config
from core.errors import UserError
from core.files import atomic_write
from local import history, session, terminal


def stop(config: Config, run_folder: str, error: UserError, console: rich.console.Console) -> int:
    """Writes the files of the run, shows and notifies the outcome; returns the exit status.

    Args:
      config: configuration of the run.
      run_folder: the run's folder in the history.
      error: the problem with a file.
      console: the user's console.
    """
    summary = Summary(
        config.name,
        "stopped",
        error=str(error),
        started=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        seconds=0.0,
        run=os.path.basename(run_folder),
        run_folder=run_folder,
    )
    with atomic_write(os.path.join(run_folder, history.CONFIG_FILE)) as stream:
        stream.write(dump_config(config))
    with atomic_write(os.path.join(run_folder, SUMMARY_FILE)) as stream:
        json.dump(summary.to_json(), stream, ensure_ascii=False, indent=2)
    terminal.show_outcome(console, summary)
    with streams.show_spinner(console, "writing the report"):
        summary = _write_report(run_folder, summary)
    terminal.show_report(console, summary.report_path or "")
    content = summary.to_json()
    not_logged = tracking.log_run(tracking.list_parameters(config), content)
    for message in [*notification.notify(config.notify, content), *not_logged]:
        console.print(escape.line(message), markup=False, highlight=False, soft_wrap=True)
    return summary.exit_status


def _write_report(run_folder: str, summary: Summary) -> Summary:
    from components.run_report import gather, report  # Slow: they import TensorFlow.

    log_path = os.path.join(run_folder, session.LOG_FILE)
    return report.write(run_folder, summary, gather.Details(log_path=log_path, record=history.Run(run_folder).record))
