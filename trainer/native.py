"""Rebuilds a BERT from TF Hub as a `trainer.bert.Bert`.

A SavedModel is a closed graph: its dropout can't be seeded, its precision can't be chosen, and it computes outputs that
a classifier does not need. If its weights are those of a BERT, ELECTRA or ALBERT from tf-models, or of an imported
encoder, `trainer.bert` computes with them instead, after a check that both compute the same.
"""

import logging
from typing import Any, Mapping, Optional

import numpy as np
import tensorflow as tf

from artifacts import saved_encoder
from core.config import Pooling
from trainer import bert, hub_export
from trainer.tokens import MASK, TYPE_IDS, WORD_IDS

# Float32 sums in another order differ by about 1e-6 in outputs of size 1.
MAX_DIFFERENCE = 1e-5

# Only an encoder whose layers share their weights, such as ALBERT, has a weight of this name.
_SHARED_WEIGHT = "transformer/self_attention/query/kernel:0"


def pooled(outputs: Mapping[str, Any], mask: tf.Tensor, pooling: Pooling) -> tf.Tensor:
    """Returns the vector of each row from the outputs of a SavedModel.

    Args:
      outputs: its outputs by name.
      mask: int32[batch, seq], 1 for tokens and 0 for padding.
      pooling: how a row's vector is computed.

    Returns:
      float32[batch, hidden].
    """
    if pooling == "pooler":
        return outputs[saved_encoder.pooled_name(outputs)]
    sequence = outputs[saved_encoder.SEQUENCE]
    return bert.mean_output(sequence, mask) if pooling == "mean" else sequence[:, 0]


def rebuild_bert(loaded: Any, pooling: Pooling = "pooler") -> Optional[bert.Bert]:
    """Rebuilds a loaded encoder on its own weights.

    Args:
      loaded: an encoder of TF Hub's common text API, from `tf.saved_model.load`.
      pooling: how a row's vector is computed.

    Returns:
      The network on the same variables; None if the encoder is not a BERT, or the rows' vectors differ by more than
      `MAX_DIFFERENCE`.
    """
    weights = {variable.name: variable for variable in getattr(loaded, "variables", ())}
    variant, layers = hub_export.read_architecture(loaded)
    shared = layers or _count_layers(loaded) if _SHARED_WEIGHT in weights else 0
    sizes = bert.infer_sizes({name: tuple(variable.shape) for name, variable in weights.items()}, shared)
    if sizes is None:
        return None
    network = bert.Bert(weights, sizes, variant, pooling)
    types = weights["type_embeddings/embeddings:0"].shape[0]
    difference = _largest_difference(loaded, network, sizes.vocabulary, types, pooling)
    logging.info("outputs of the rebuilt encoder differ by at most %g", difference)
    return network if difference <= MAX_DIFFERENCE else None


def _count_layers(loaded: Any) -> int:
    """Counts the layers of an encoder whose layers share their weights; 0 if it does not output all of them."""
    ones = tf.ones([1, 1], tf.int32)
    token = {WORD_IDS: ones, MASK: ones, TYPE_IDS: tf.zeros_like(ones)}
    return len(saved_encoder.call(loaded, token).get("encoder_outputs", ()))


def _largest_difference(loaded: Any, network: bert.Bert, vocabulary: int, types: int, pooling: Pooling) -> float:
    """Returns the largest difference of the rows' vectors for random tokens and padding."""
    generator = np.random.default_rng(0)
    mask = (np.arange(16) < np.array([16, 9, 3])[:, None]).astype(np.int32)
    inputs = {
        WORD_IDS: tf.constant(generator.integers(0, vocabulary, mask.shape, dtype=np.int32) * mask),
        MASK: tf.constant(mask),
        TYPE_IDS: tf.constant(generator.integers(0, types, mask.shape, dtype=np.int32) * mask),
    }
    expected = pooled(saved_encoder.call(loaded, inputs), inputs[MASK], pooling)
    return float(tf.reduce_max(tf.abs(tf.cast(expected, tf.float32) - network(inputs))))
