"""The work of HubEncoder: two SavedModels copied, checked and described."""

from typing import Any

from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils

from components import encoder_artifact
from components.hub_encoder import fetch, handles

HANDLE = "handle"
PREPROCESS = "preprocess"
FINGERPRINT = "fingerprint"
ENCODER = "encoder"


class Executor(base_executor.BaseExecutor):
    """Materialises a handle as an encoder artifact."""

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
          exec_properties: `handle` and `preprocess` as in `handles.resolve`; `fingerprint` is only for the cache.

        Raises:
          UserError: the handle stands for nothing, can't be fetched, or is no text encoder.
        """
        handle, preprocess = exec_properties[HANDLE], exec_properties[PREPROCESS]
        sources = handles.resolve(handle, preprocess)
        with encoder_artifact.staged(artifact_utils.get_single_uri(output_dict[ENCODER])) as folder:
            fetch.materialise(sources, folder)
            encoder_artifact.finish(
                folder,
                source="hub",
                handle=handle,
                preprocess_handle=preprocess or sources.preprocess,
                heads=sources.heads,
                names={encoder_artifact.PREPROCESS: sources.preprocess, encoder_artifact.ENCODER: sources.encoder},
            )
