"""What a run's own report says of it, and where that is."""

import glob
import json
import os
from typing import Any, Mapping, Optional, Sequence

NOT_BLESSED_STATUS = 3

# As `components.run_report.summary` and `components.run_report.report` name them, whose imports take seconds.
_SUMMARY_FILE = "summary.json"
_REPORT_FILE = "report.html"


def run_folders(volumes: str, run_id: str) -> list[str]:
    """Returns the folders on volumes that bear a run's id."""
    pattern = os.path.join(glob.escape(volumes), "**", run_id, "")
    return sorted(glob.glob(pattern, recursive=True))


def summary(folders: Sequence[str]) -> Mapping[str, Any]:
    """Returns the run's own summary, the last one that there is; empty if there is none.

    Args:
      folders: where its reports may be.
    """
    paths = [os.path.join(folder, _SUMMARY_FILE) for folder in folders]
    for path in filter(os.path.isfile, reversed(paths)):
        with open(path, encoding="utf-8") as stream:
            return json.load(stream)
    return {}


def exit_status(content: Mapping[str, Any]) -> int:
    """Returns the exit status of a run in which no task failed, from its summary."""
    return NOT_BLESSED_STATUS if content.get("status") == "not_blessed" else 0


def sentence(content: Mapping[str, Any]) -> Optional[str]:
    """Says what a run came to, from its summary; None where that says nothing."""
    if content.get("status") == "not_blessed":
        failed = [c for c in content.get("gates", ()) if not c["passed"] and c["severity"] == "fail"]
        return f"not blessed, nothing was pushed: {'; '.join(check['reason'] for check in failed)}"
    if content.get("pushed_path"):
        return f"pushed to {content['pushed_path']}"
    return content.get("error")


def page(folders: Sequence[str]) -> Optional[str]:
    """Returns the last report that a person can read, None if there is none."""
    paths = [os.path.join(folder, _REPORT_FILE) for folder in folders]
    return next((path for path in reversed(paths) if os.path.isfile(path)), None)
