"""Writes the report of a run: `summary.json` and `report.html`, a self-contained page."""

import dataclasses
import json
import os

import markupsafe

from components.run_report import page
from components.run_report.gather import Details
from components.run_report.summary import REPORT_FILE, SUMMARY_FILE, Summary
from core import escape, pages
from core.files import atomic_write


def write(folder: str, summary: Summary, details: Details) -> Summary:
    """Writes the page, then the summary.

    Args:
      folder: folder to write to.
      summary: summary of the run.
      details: what the page shows beyond the summary.

    Returns:
      The summary with `report_path`.
    """
    summary = dataclasses.replace(summary, report_path=os.path.join(folder, REPORT_FILE))
    with atomic_write(os.path.join(folder, REPORT_FILE)) as stream:
        stream.write(_render(summary, details))
    with atomic_write(os.path.join(folder, SUMMARY_FILE)) as stream:
        json.dump(summary.to_json(), stream, ensure_ascii=False, indent=2)
    return summary


def _render(summary: Summary, details: Details) -> str:
    template = os.path.join(os.path.dirname(__file__), "report.html.j2")
    filters = {"parts": page.mark_settings, "drawing": _drawing}
    return pages.render(template, page.prepare(summary, details), filters)


def _drawing(svg: str) -> markupsafe.Markup:
    """Marks a drawing as markup; matplotlib has escaped the texts in it."""
    return markupsafe.Markup(escape.lines(svg))
