"""Ends a run whose files can't be used before TensorFlow is imported: the same record and message, without a report."""

import datetime
import json
import os

import rich.console

from components.run_report import notification
from components.run_report.summary import SUMMARY_FILE, Summary
from core import escape
from core.config import Config, dump_config
from core.errors import UserError
from core.files import atomic_write
from local import history, terminal


def stop(config: Config, run_folder: str, error: UserError, console: rich.console.Console) -> int:
    """Writes `config.yaml` and `summary.json`, shows and notifies the outcome; returns the exit status.

    Args:
      config: configuration of the run.
      run_folder: the run's folder in the history.
      error: what is wrong with a file.
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
    for message in notification.notify(config.notify, summary.to_json()):
        console.print(escape.line(message), markup=False, highlight=False, soft_wrap=True)
    return summary.exit_status
