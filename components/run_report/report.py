"""The page of a run: one self-contained HTML file, pictures inside."""

import base64
import os
from typing import Any, Mapping, Optional

import jinja2
from tfx.types import artifact

from artifacts import model_run
from core import escape

REPORT_FILE = "report.html"


def write(folder: str, summary: Mapping[str, Any], model_run_artifact: Optional[artifact.Artifact]) -> str:
    """Writes `report.html`.

    Args:
      folder: where to.
      summary: the content of `summary.json`.
      model_run_artifact: the training's artifact, for its pictures; None where nothing was trained.

    Returns:
      The page's path.
    """
    # File names, rejected rows and labels come from the input: none of them is markup, or turns the text around it.
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(os.path.dirname(__file__)),
        autoescape=True,
        finalize=lambda value: escape.line(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html.j2").render(summary=summary, pictures=_pictures(model_run_artifact))
    path = os.path.join(folder, REPORT_FILE)
    with open(path + ".new", "w", encoding="utf-8") as stream:
        stream.write(page)
    os.replace(path + ".new", path)
    return path


def _pictures(model_run_artifact: Optional[artifact.Artifact]) -> dict[str, str]:
    """Caption -> data URI of the pictures that training left."""
    if model_run_artifact is None:
        return {}
    captions = {
        "Loss and accuracy over the epochs": model_run.HISTORY_PICTURE,
        "The model": model_run.MODEL_PICTURE,
    }
    return {caption: _data_uri(os.path.join(model_run_artifact.uri, name)) for caption, name in captions.items()}


def _data_uri(file: str) -> str:
    with open(file, "rb") as stream:
        return "data:image/png;base64," + base64.b64encode(stream.read()).decode("ascii")
