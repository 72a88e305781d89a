"""Copies the model that the candidate is compared with into an artifact."""

import dataclasses
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
      digest: SHA-256 of the served model; empty for the candidate.
      not_compared: why it is the candidate itself; empty for a served model.
    """

    source: str
    version: str
    path: str
    digest: str = ""
    not_compared: str = ""

    @property
    def fingerprint(self) -> str:
        """What the cache depends on."""
        return self.digest or self.not_compared


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
        if digest != model_files.model_sha256(candidate_path):
            if difference := _other_labels(candidate_path, served_path):
                return Choice(baseline.CANDIDATE, "", candidate_path, not_compared=difference)
            return Choice(baseline.SERVING, os.path.basename(served_path), served_path, digest)
    return Choice(baseline.CANDIDATE, "", candidate_path, not_compared=baseline.NOTHING_SERVED)


def _other_labels(candidate_path: str, served_path: str) -> str:
    """Returns how the labels of the models differ; empty if they are the same, or if one of them has no card."""
    try:
        candidate, served = (model_card.read(path).task for path in (candidate_path, served_path))
    except UserError:
        return ""
    if candidate.is_comparable(served):
        return ""
    return (
        f"the model in serving, version {os.path.basename(served_path)}, predicts {served.describe_labels()} and this "
        f"one {candidate.describe_labels()}"
    )


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
        baseline.describe(output, choice.source, choice.version, choice.not_compared)
