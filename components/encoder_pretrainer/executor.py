"""Reads the training split and writes an encoder."""

import os
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils

from artifacts import encoder as encoder_artifact
from artifacts import examples
from components.encoder_pretrainer import pretrain
from core.config import PretrainConfig
from schema import features
from trainer import tokens

EXAMPLES = "examples"
CONFIG = "config"
ENCODER = "encoder"


class Executor(base_executor.BaseExecutor):
    """Trains an encoder on the texts of the training split, both texts of pairs."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Trains and exports the encoder.

        Args:
          input_dict: `examples`: one `standard_artifacts.Examples` with a `train` split.
          output_dict: `encoder`: one `standard_artifacts.Model`.
          exec_properties: `config`: JSON of `PretrainConfig`.

        Raises:
          UserError: the training split is empty.
        """
        config = PretrainConfig.model_validate_json(exec_properties[CONFIG])
        split = artifact_utils.get_split_uri(input_dict[EXAMPLES], features.TRAIN_SPLIT)
        rows = examples.read_rows([os.path.join(split, "*")], tokens.CHUNK_ROWS)
        texts = [text for _, chunk, _ in rows for row in chunk for text in row]
        with encoder_artifact.stage(artifact_utils.get_single_uri(output_dict[ENCODER])) as folder:
            pretrain.make_encoder(texts, config, folder)
            handle = f"BERT of {config.layers} layers, {config.hidden} wide, {config.steps} steps on these reviews"
            encoder_artifact.finish(folder, source="pretrain", handle=handle, preprocess_handle="", heads=config.heads)
