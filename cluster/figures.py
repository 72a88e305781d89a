"""Figures of a run for KFP's page: it draws artifacts of its own types from their metadata, and nothing of a folder.

| task       | output           | type                           | metadata                                   |
|------------|------------------|--------------------------------|--------------------------------------------|
| trainer    | `training`       | `system.Metrics`               | speed, padding, epochs, loss and accuracy  |
| model-gate | `metrics`        | `system.Metrics`               | candidate, model in serving, difference    |
| model-gate | `classification` | `system.ClassificationMetrics` | confusion matrix; ROC curve of two classes |

Of `system.Markdown` it draws the file: the Pusher's `version` says where the pushed version is.
"""

import math
import os
import shlex
from typing import Any, Iterable, Mapping

import numpy as np

from artifacts import evaluation, model_run
from components.run_report import curves
from core import checks

_VERSION = {"schemaVersion": "0.0.1"}
_METRICS = {"schemaTitle": "system.Metrics", **_VERSION}
_CLASSIFICATION = {"schemaTitle": "system.ClassificationMetrics", **_VERSION}
_MARKDOWN = {"schemaTitle": "system.Markdown", **_VERSION}

TRAINING, METRICS, CLASSIFICATION, VERSION = "training", "metrics", "classification", "version"

# Task -> its outputs of KFP's own types, which the compiler adds: name -> type.
OUTPUTS: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    "trainer": {TRAINING: _METRICS},
    "model-gate": {METRICS: _METRICS, CLASSIFICATION: _CLASSIFICATION},
    "pusher": {VERSION: _MARKDOWN},
}

# More points than a person can see on the page, and few enough for a row of the database.
_ROC_POINTS = 101


def read(task: str, folders: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Returns the metadata of a task's figures: output -> metadata.

    Args:
      task: id of the task.
      folders: output of the component -> its folder.
    """
    if task == "trainer":
        return {TRAINING: training(model_run.read_training(folders["model_run"]))}
    if task == "model-gate":
        folder = folders["blessing"]
        return {METRICS: metrics(checks.read_metrics(folder)), CLASSIFICATION: classification(evaluation.read(folder))}
    return {}


def texts(task: str, metadata: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Returns the files of a task's figures: output -> Markdown.

    Args:
      task: id of the task.
      metadata: output of the component -> its metadata.
    """
    return {VERSION: version(metadata["pushed_model"])} if task == "pusher" else {}


def version(pushed: Mapping[str, Any]) -> str:
    """Returns where the pushed version is, and how to return to the one before, as Markdown.

    Args:
      pushed: the metadata of the Pusher's `pushed_model`.
    """
    if not pushed.get("pushed"):
        return "Nothing was pushed. The page of the task `run-report` has the reason.\n"
    path = pushed["pushed_destination"]
    what = "The model was in serving already" if pushed.get("already_served") else "The model was pushed"
    return (
        f"## Version {pushed['pushed_version']}\n\n"
        f"{what}: `{path}`. Its model card is `README.md` in that folder.\n\n"
        "To return to the version before:\n\n"
        f"    python local_runner.py rollback --serving {shlex.quote(os.path.dirname(path))}\n"
    )


def training(figures: model_run.TrainingFigures) -> dict[str, float]:
    """Returns the measurements of the training, and the losses of the epoch that was kept."""
    best = next((row for row in figures.history if row["epoch"] == figures.best_epoch), {})
    values = {
        "examples_per_s": figures.examples_per_s,
        "padding_share": figures.padding_share,
        "seconds": figures.seconds,
        "epochs": len(figures.history),
        "best_epoch": figures.best_epoch,
        **{name: value for name, value in best.items() if name != "epoch"},
    }
    return _numbers(values.items())


def metrics(values: checks.Metrics) -> dict[str, float]:
    """Returns the candidate's metrics by name; those of the model in serving and the differences have a prefix."""
    candidate, baseline = values["candidate"] or {}, values["baseline"] or {}
    both = [name for name in candidate if name in baseline]
    return _numbers(
        [
            *candidate.items(),
            *((f"in_serving.{name}", baseline[name]) for name in both),
            *((f"difference.{name}", candidate[name] - baseline[name]) for name in both),
        ]
    )


def classification(evaluated: evaluation.Evaluation | None) -> dict[str, Any]:
    """Returns the confusion matrix, rows by label and columns by class, and for two classes the ROC curve."""
    content: dict[str, Any] = {}
    if evaluated is None:
        return content
    if evaluated.scores.confusion:
        names = [_ascii(name, f"class {number}") for number, name in enumerate(evaluated.label_names)]
        content["confusionMatrix"] = {
            "annotationSpecs": [{"displayName": name} for name in names],
            "rows": [{"row": list(row)} for row in evaluated.scores.confusion],
        }
    if "roc" in evaluated.plots:
        points = curves.thresholds(np.array(evaluated.scores.candidate))
        chosen = sorted(set(np.linspace(0, len(points) - 1, _ROC_POINTS).round().astype(int)))
        content["confidenceMetrics"] = [
            {
                # The first one is infinity, which JSON lacks.
                "confidenceThreshold": min(points[index].score, 1.0),
                "recall": points[index].recall,
                "falsePositiveRate": points[index].false_positives,
            }
            for index in chosen
        ]
    return content


def _numbers(values: Iterable[tuple[str, float]]) -> dict[str, float]:
    # ML Metadata's database may refuse other letters, JSON refuses nan.
    return {name: value for name, value in values if name.isascii() and math.isfinite(value)}


def _ascii(name: str, otherwise: str) -> str:
    return name if name.isascii() else otherwise
