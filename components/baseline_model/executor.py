"""Chooses the model that the candidate is compared with, and copies it into an artifact."""

import dataclasses
import os
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import io_utils, path_utils

from artifacts import model_files
from core.errors import UserError

MODEL = "model"
BASELINE = "baseline"
SERVING_DIR = "serving_dir"
FINGERPRINT = "fingerprint"

# Values of the artifact's `source` property; the latter is also the fingerprint of a baseline that is the candidate.
SERVING = "serving"
CANDIDATE = "candidate"


@dataclasses.dataclass(frozen=True)
class Baseline:
    """The model to compare with.

    Attributes:
      source: `serving` or `candidate`.
      version: name of the served version's folder; empty for the candidate.
      path: folder of the SavedModel.
      fingerprint: `candidate`, or the digest of the served model.
    """

    source: str
    version: str
    path: str
    fingerprint: str


def choose_baseline(candidate_path: str, serving_dir: str) -> Baseline:
    """Chooses the newest served model, or the candidate where nothing else is in serving.

    A served model that is the candidate, byte by byte, counts as the candidate: a second run of the same
    pipeline, after the first one's push, then asks for the same comparison and finds it in the cache.

    Raises:
      UserError: the newest version in serving is broken, or the folder can't be read.
    """
    served_path = model_files.newest_served(serving_dir)
    if served_path is not None:
        digest = model_files.model_sha256(served_path)
        if digest != model_files.model_sha256(candidate_path):
            return Baseline(SERVING, os.path.basename(served_path), served_path, digest)
    return Baseline(CANDIDATE, "", candidate_path, CANDIDATE)


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
          UserError: the serving folder is broken, or changed after the driver had looked at it.
        """
        candidate = artifact_utils.get_single_instance(input_dict[MODEL])
        output = artifact_utils.get_single_instance(output_dict[BASELINE])
        serving_dir = exec_properties[SERVING_DIR]
        baseline = choose_baseline(path_utils.serving_model_path(candidate.uri), serving_dir)
        if exec_properties.get(FINGERPRINT) not in (None, baseline.fingerprint):
            # The cache would keep this model under the other one's fingerprint.
            raise UserError(f"serving.dir = {serving_dir!r}: another model was pushed during this run; run again")
        io_utils.copy_dir(baseline.path, path_utils.serving_model_dir(output.uri))
        output.set_string_custom_property("source", baseline.source)
        output.set_string_custom_property("version", baseline.version)
