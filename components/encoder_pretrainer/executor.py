"""Reads the texts and writes an encoder."""

import os
import tempfile
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils

from artifacts import encoder as encoder_artifact
from components.encoder_pretrainer import pretrain, texts
from core.config import PretrainConfig
from schema import features

EXAMPLES = "examples"
CONFIG = "config"
CHECKPOINTS = "checkpoints"
FINGERPRINT = "fingerprint"
ENCODER = "encoder"


class Executor(base_executor.BaseExecutor):
    """Trains an encoder on the texts of the training split, both texts of pairs, and those of further tables."""

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
          exec_properties: `config`: JSON of `PretrainConfig`; `checkpoints`: folder of the checkpoints; without it a
            killed pre-training starts again.

        Raises:
          UserError: the training split is empty, a table can't be used, or the encoder is not good enough.
        """
        config = PretrainConfig.model_validate_json(exec_properties[CONFIG])
        artifact = artifact_utils.get_single_instance(input_dict[EXAMPLES])
        folders = {
            name: artifact_utils.get_split_uri([artifact], name)
            for name in artifact_utils.decode_split_names(artifact.split_names)
        }
        train = texts.read_split(folders.pop(features.TRAIN_SPLIT))
        held_back = {name: texts.read_split(folder) for name, folder in folders.items()}
        corpus = texts.collect(train, config.texts, held_back, config.held_out_fraction)
        with (
            encoder_artifact.stage(artifact_utils.get_single_uri(output_dict[ENCODER])) as folder,
            tempfile.TemporaryDirectory() as scratch,
        ):
            checkpoints = exec_properties.get(CHECKPOINTS) or os.path.join(scratch, CHECKPOINTS)
            config = pretrain.make_encoder(corpus, config, folder, checkpoints)
            encoder_artifact.finish(
                folder, source="pretrain", handle=describe(config), preprocess_handle="", heads=config.heads
            )


def describe(config: PretrainConfig) -> str:
    """Returns the encoder's size and training in words."""
    name = {"mlm": "BERT", "electra": "ELECTRA"}[config.objective]
    origin = "" if config.continue_from is None else f", continued from {config.continue_from}"
    return f"{name} of {config.layers} layers, {config.hidden} wide, {config.steps} steps on these reviews{origin}"
