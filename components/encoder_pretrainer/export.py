"""Writes an encoder as a SavedModel, with tf-models' exporter for TF Hub."""

import os
import tempfile
from typing import Mapping

import tensorflow as tf
from official.nlp.configs import encoders
from official.nlp.tools import export_tfhub_lib

from core import progress
from core.config import PretrainConfig
from trainer import bert


def write_encoder(
    weights: Mapping[str, tf.Variable], vocabulary_file: str, config: PretrainConfig, folder: str
) -> None:
    """Writes the encoder with these weights, by their names in tf-models, into a folder."""
    progress.report("exporting the encoder", 0, 0)
    sizes = _encoder_config(weights)
    keras = encoders.build_encoder(sizes)
    for weight in keras.weights:
        weight.assign(weights[weight.name].read_value())
    with tempfile.TemporaryDirectory() as scratch:
        checkpoint = tf.train.Checkpoint(model=keras, encoder=keras).save(os.path.join(scratch, "encoder"))
        export_tfhub_lib.export_model(
            folder,
            encoder_config=sizes,
            model_checkpoint_path=checkpoint,
            with_mlm=False,
            vocab_file=vocabulary_file,
            do_lower_case=config.lower_case,
        )


def _encoder_config(weights: Mapping[str, tf.Variable]) -> encoders.EncoderConfig:
    sizes = bert.infer_sizes({name: tuple(weight.shape) for name, weight in weights.items()})
    assert sizes is not None  # These are a BERT's weights.
    config = encoders.BertEncoderConfig(
        vocab_size=sizes.vocabulary,
        embedding_size=sizes.embedding,
        hidden_size=sizes.hidden,
        num_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        intermediate_size=weights["transformer/layer_0/intermediate/bias:0"].shape[0],
        max_position_embeddings=weights["position_embedding/embeddings:0"].shape[0],
        type_vocab_size=weights["type_embeddings/embeddings:0"].shape[0],
    )
    return encoders.EncoderConfig(type="bert", bert=config)
