"""Writes the report of a run: `summary.json` and `report.html`, a self-contained page with its pictures."""

import base64
import dataclasses
import json
import os
from typing import Optional

import jinja2
from tfx.types import artifact

from artifacts import model_run
from components.run_report.summary import REPORT_FILE, SUMMARY_FILE, Summary
from core import escape
from core.files import atomic_write


def write(folder: str, summary: Summary, training: Optional[artifact.Artifact]) -> Summary:
    """Writes the page, then the summary.

    Args:
      folder: folder to write to.
      summary: summary of the run.
      training: the Trainer's `ModelRun`, for its pictures; None if there was no training.

    Returns:
      The summary with `report_path`.
    """
    summary = dataclasses.replace(summary, report_path=os.path.join(folder, REPORT_FILE))
    with atomic_write(os.path.join(folder, REPORT_FILE)) as stream:
        stream.write(_render(summary, training))
    with atomic_write(os.path.join(folder, SUMMARY_FILE)) as stream:
        json.dump(summary.to_json(), stream, ensure_ascii=False, indent=2)
    return summary


def _render(summary: Summary, training: Optional[artifact.Artifact]) -> str:
    # File names, rejected rows and labels come from the input: escape their markup and control characters.
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(os.path.dirname(__file__)),
        autoescape=True,
        finalize=lambda value: escape.line(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("report.html.j2")
    return template.render(summary=summary.to_json(), pictures=_pictures(training))


def _pictures(training: Optional[artifact.Artifact]) -> dict[str, str]:
    """Returns caption -> data URI of the Trainer's pictures."""
    if training is None:
        return {}
    captions = {
        "Loss and accuracy over the epochs": model_run.HISTORY_PICTURE,
        "The model": model_run.MODEL_PICTURE,
    }
    return {caption: _data_uri(os.path.join(training.uri, name)) for caption, name in captions.items()}


def _data_uri(file: str) -> str:
    with open(file, "rb") as stream:
        return "data:image/png;base64," + base64.b64encode(stream.read()).decode("ascii")
