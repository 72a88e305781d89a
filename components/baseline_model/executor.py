"""Copies the model that the candidate is compared with into an artifact."""

import dataclasses
import logging
import os
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import io_utils, path_utils

from artifacts import baseline, model_card, model_files
from core.errors import UserError

MODEL = "model"
BASELINE = "baseline"
SERVING_DIR = "serving_dir"
FINGERPRINT = "fingerprint"


@dataclasses.dataclass(frozen=True)
class Choice:
    """The model to compare with.

    Attributes:
      source: `SERVING` or `CANDIDATE`.
      version: name of the served version's folder; empty for the candidate.
      path: folder of the SavedModel.
      fingerprint: digest of the served model, or `CANDIDATE`.
    """

    source: str
    version: str
    path: str
    fingerprint: str


def choose_baseline(candidate_path: str, serving_dir: str) -> Choice:
    """Chooses the newest served model, or the candidate if no other model that predicts the same is in serving.

    A served model with the candidate's bytes counts as the candidate, so that a second run of the same pipeline, after
    the first one's push, finds the evaluation in the cache.

    Raises:
      UserError: the newest version in serving is broken, or the folder can't be read.
    """
    served_path = model_files.newest_served(serving_dir)
    if served_path is not None:
        digest = model_files.model_sha256(served_path)
        if digest != model_files.model_sha256(candidate_path) and _is_comparable(candidate_path, served_path):
            return Choice(baseline.SERVING, os.path.basename(served_path), served_path, digest)
    return Choice(baseline.CANDIDATE, "", candidate_path, baseline.CANDIDATE)


def _is_comparable(candidate_path: str, served_path: str) -> bool:
    """Returns whether both models predict the same labels; True if one of them has no card."""
    try:
        candidate, served = (model_card.read(path).task for path in (candidate_path, served_path))
    except UserError:
        return True
    if not candidate.is_comparable(served):
        logging.warning(
            "%s: not compared, it predicts %s; the candidate predicts %s",
            served_path,
            served.describe_labels(),
            candidate.describe_labels(),
        )
        return False
    return True


class Executor(base_executor.BaseExecutor):
    """Copies the baseline into the output, with `source` and `version` as its custom properties."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes `<baseline>/Format-Serving/`.

        Raises:
          UserError: the newest version in serving is broken, or another model was pushed since the driver ran.
        """
        candidate = artifact_utils.get_single_instance(input_dict[MODEL])
        output = artifact_utils.get_single_instance(output_dict[BASELINE])
        serving_dir = exec_properties[SERVING_DIR]
        choice = choose_baseline(path_utils.serving_model_path(candidate.uri), serving_dir)
        if exec_properties.get(FINGERPRINT) not in (None, choice.fingerprint):
            # The cache would store this model under the other one's fingerprint.
            raise UserError(f"serving.dir = {serving_dir!r}: another model was pushed during this run; run again")
        io_utils.copy_dir(choice.path, path_utils.serving_model_dir(output.uri))
        baseline.describe(output, choice.source, choice.version)
