"""What a run came to: `summary.json`, made from the run's artifacts, also where the run ended early."""

import dataclasses
import json
import os
from typing import Any, Mapping, Optional

from tfx.types import artifact
from tfx.utils import path_utils

from artifacts import encoder as encoder_artifact
from artifacts import model_run
from core import checks, versions

SUMMARY_FILE = "summary.json"

# Exit statuses, by the status of a run.
EXIT_STATUS = {"pushed": 0, "failed": 1, "stopped": 2, "not_blessed": 3}


@dataclasses.dataclass(frozen=True)
class RunArtifacts:
    """The artifacts that a summary is made from; None where the run did not come so far."""

    examples: Optional[artifact.Artifact] = None
    data_verdict: Optional[artifact.Artifact] = None
    encoder: Optional[artifact.Artifact] = None
    model_run: Optional[artifact.Artifact] = None
    model_blessing: Optional[artifact.Artifact] = None
    serving_blessing: Optional[artifact.Artifact] = None
    pushed_model: Optional[artifact.Artifact] = None


def summarise(found: RunArtifacts) -> dict[str, Any]:
    """Reads the artifacts of a run into the parts of a summary that every target knows.

    Args:
      found: the artifacts that exist.

    Returns:
      `rows`, `encoder`, `training`, `metrics`, `gates`, `pushed_path`, `status` and `versions`; a part is
      None (or empty) where its component did not run.
    """
    made = [
        check
        for gate in (found.data_verdict, found.model_blessing, found.serving_blessing, found.pushed_model)
        if gate
        for check in checks.read_checks(gate.uri)
    ]
    pushed_path = _pushed_path(found.pushed_model)
    return {
        "status": "pushed" if pushed_path else "not_blessed",
        "rows": _ingested(found.examples).get("rows", {}),
        "encoder": _encoder(found.encoder),
        "training": dataclasses.asdict(model_run.read_training(found.model_run.uri)) if found.model_run else None,
        "metrics": checks.read_metrics(found.model_blessing.uri) if found.model_blessing else checks.NO_METRICS,
        "gates": [dataclasses.asdict(check) for check in made],
        "pushed_path": pushed_path,
        "versions": versions.installed(),
    }


def write(folder: str, summary: Mapping[str, Any]) -> str:
    """Writes `summary.json` in one move; returns its path."""
    path = os.path.join(folder, SUMMARY_FILE)
    with open(path + ".new", "w", encoding="utf-8") as stream:
        json.dump(summary, stream, ensure_ascii=False, indent=2)
    os.replace(path + ".new", path)
    return path


def _ingested(examples: Optional[artifact.Artifact]) -> dict[str, Any]:
    if examples is None:
        return {}
    with open(os.path.join(examples.uri, "ingest.json"), encoding="utf-8") as stream:
        return json.load(stream)


def _encoder(encoder: Optional[artifact.Artifact]) -> Optional[dict[str, Any]]:
    if encoder is None:
        return None
    folder = path_utils.serving_model_dir(encoder.uri)
    card = encoder_artifact.read(folder)
    return {
        "source": card.source,
        "handle": card.handle,
        "digest": card.sha256["encoder"],
        "path": folder,
        "layers": card.layers,
        "hidden": card.hidden,
        "vocabulary": card.vocabulary,
    }


def _pushed_path(pushed: Optional[artifact.Artifact]) -> Optional[str]:
    if pushed is None or not pushed.get_int_custom_property("pushed"):
        return None
    return pushed.get_string_custom_property("pushed_destination")
