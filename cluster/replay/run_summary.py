"""Reads the summary and the report of a run."""

import dataclasses
import glob
import json
import os
from typing import Any, Mapping, Optional, Sequence

from components.run_report.summary import EXIT_STATUS, REPORT_FILE, SUMMARY_FILE, describe


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The outcome of a run, from its own report.

    Attributes:
      content: content of `summary.json`; empty without one.
      page: path of `report.html`; None without one.
    """

    content: Mapping[str, Any]
    page: Optional[str]

    @property
    def exit_status(self) -> int:
        """The exit status of a run without failed tasks."""
        return EXIT_STATUS["not_blessed"] if self.content.get("status") == "not_blessed" else 0

    @property
    def sentence(self) -> Optional[str]:
        """The outcome in words; None without a summary."""
        return describe(self.content) if self.content else None


def find(artifacts: Sequence[str], volumes: str, run_id: str) -> Outcome:
    """Returns the last report of a run.

    Args:
      artifacts: paths of the run's artifacts, oldest first.
      volumes: folder of the volumes, which contain a folder named by the run's id.
      run_id: id of the run.
    """
    pattern = os.path.join(glob.escape(volumes), "**", run_id, "")
    folders = [*artifacts, *sorted(glob.glob(pattern, recursive=True))]
    summary, page = _last_file(folders, SUMMARY_FILE), _last_file(folders, REPORT_FILE)
    if summary is None:
        return Outcome({}, page)
    with open(summary, encoding="utf-8") as stream:
        return Outcome(json.load(stream), page)


def _last_file(folders: Sequence[str], name: str) -> Optional[str]:
    paths = [os.path.join(folder, name) for folder in folders]
    return next(filter(os.path.isfile, reversed(paths)), None)
