"""Copies two SavedModels, checks their digests before loading them, and writes a card."""

from typing import Any, Mapping

from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils

from artifacts import encoder as encoder_artifact
from artifacts import saved_encoder
from components.hub_encoder import fetch, handles
from core.errors import UserError

HANDLE = "handle"
PREPROCESS = "preprocess"
SHA256 = "sha256"
PREPROCESS_SHA256 = "preprocess_sha256"
MODE = "mode"
MAX_LENGTH = "max_length"
FINGERPRINT = "fingerprint"
ENCODER = "encoder"


class Executor(base_executor.BaseExecutor):
    """Copies an encoder into an artifact."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Copies the encoder.

        Args:
          input_dict: empty.
          output_dict: `encoder`: one `standard_artifacts.Model`.
          exec_properties: `handle` and `preprocess` as in `handles.resolve`; `sha256` and `preprocess_sha256`: the
            expected digests, empty to accept any; `mode` and `max_length` of the Trainer, 0 for any length;
            `fingerprint` is only for the cache.

        Raises:
          UserError: the handle can't be resolved, fetched or used as a text encoder, its digest differs from the
            configured or recorded one, or it can't be trained as configured.
        """
        handle, preprocess = exec_properties[HANDLE], exec_properties[PREPROCESS]
        sources = handles.resolve(handle, preprocess)
        with encoder_artifact.stage(artifact_utils.get_single_uri(output_dict[ENCODER])) as folder:
            fetch.copy_models(sources, folder)
            _check_digests(sources, encoder_artifact.digests(folder), exec_properties)
            mode, max_length = exec_properties[MODE], exec_properties[MAX_LENGTH]
            saved_encoder.check_use(encoder_artifact.encoder_dir(folder), sources.encoder, mode, max_length)
            encoder_artifact.finish(
                folder,
                source="hub",
                handle=handle,
                preprocess_handle=preprocess or sources.preprocess,
                heads=sources.heads,
                names={encoder_artifact.PREPROCESS: sources.preprocess, encoder_artifact.ENCODER: sources.encoder},
                max_length=max_length or None,
            )


def _check_digests(sources: handles.Sources, digests: Mapping[str, str], exec_properties: Mapping[str, Any]) -> None:
    for part, field, location in (
        (encoder_artifact.PREPROCESS, PREPROCESS_SHA256, sources.preprocess),
        (encoder_artifact.ENCODER, SHA256, sources.encoder),
    ):
        pinned, recorded = exec_properties.get(field), sources.recorded.get(part)
        if pinned and digests[part] != pinned:
            raise UserError(
                f"encoder.{field} = {pinned}: {location} has the digest {digests[part]}; to accept this model, set "
                f"encoder.{field} to that digest"
            )
        if recorded and digests[part] != recorded:
            raise UserError(
                f"encoder.handle: {location} has the digest {digests[part]}, but {encoder_artifact.CARD} beside it "
                f"records {recorded}; the files were damaged or changed: copy the encoder again, or remove "
                f"{encoder_artifact.CARD} to accept the change"
            )
