"""Collects the origin of a model from the Pusher's input artifacts."""

import dataclasses
import os
import shutil
from typing import Any, Mapping, Optional

from tfx import types
from tfx.types import artifact_utils
from tfx.utils import path_utils

from artifacts import encoder as encoder_artifact
from artifacts import model_files, model_run
from artifacts.examples import PROFILE_FILE, read_ingest
from components.pusher import properties
from components.pusher.record import Origin
from core import checks, versions

EXAMPLES = "examples"
DATA_VERDICT = "data_verdict"
ENCODER = "encoder"
MODEL_RUN = "model_run"

_GATES = (DATA_VERDICT, *properties.BLESSINGS)


def gather(input_dict: Mapping[str, list[types.Artifact]], run_id: Optional[str]) -> Origin:
    """Reads the Pusher's inputs.

    Args:
      input_dict: the executor's inputs; any of them may be missing.
      run_id: id of the pipeline run.
    """
    uris = {name: artifact_utils.get_single_uri(artifacts) for name, artifacts in input_dict.items() if artifacts}
    return Origin(
        run_id=run_id,
        data_fingerprint=read_ingest(uris[EXAMPLES]).fingerprint if EXAMPLES in uris else None,
        encoder=_encoder(uris[ENCODER]) if ENCODER in uris else None,
        training=_training(uris[MODEL_RUN]) if MODEL_RUN in uris else None,
        metrics=checks.read_metrics(uris[properties.MODEL_BLESSING]) if properties.MODEL_BLESSING in uris else None,
        checks=[check for gate in _GATES if gate in uris for check in checks.read_checks(uris[gate])],
        versions=versions.installed(),
    )


def copy_profile(input_dict: Mapping[str, list[types.Artifact]], model_path: str) -> None:
    """Copies DataGate's profile of the data, if any, into the model's folder, for the next run to compare with."""
    if not input_dict.get(DATA_VERDICT):
        return
    profile = os.path.join(artifact_utils.get_single_uri(input_dict[DATA_VERDICT]), PROFILE_FILE)
    if os.path.exists(profile):
        target = os.path.join(model_path, model_files.DATA_PROFILE)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copyfile(profile, target)


def _encoder(uri: str) -> dict[str, Any]:
    card = encoder_artifact.read(path_utils.serving_model_dir(uri))
    return {
        "source": card.source,
        "handle": card.handle,
        "preprocess_handle": card.preprocess_handle,
        "sha256": card.sha256,
    }


def _training(uri: str) -> dict[str, Any]:
    figures = dataclasses.asdict(model_run.read_training(uri))
    history = figures.pop("history")
    return {**figures, "best": next((row for row in history if row["epoch"] == figures["best_epoch"]), None)}
