"""A Hub BERT as a network of our own process.

A SavedModel from TF Hub is a closed graph: its dropout can't be seeded and its precision can't be chosen.
Where its weights are those of a BERT (Devlin et al. 2019) as tf-models names them, the same network is built
with tf-models' encoder and given the same weights; that it computes the same is checked, not assumed.
"""

import logging
import re
from typing import Any, Mapping, Optional

import numpy as np
import tensorflow as tf
import tf_keras
from official.nlp.configs import encoders

# Float32 sums in another order differ by about 1e-6 in outputs of size 1.
MAX_DIFFERENCE = 1e-5


def rebuild_bert(loaded: Any) -> Optional[tf_keras.Model]:
    """Rebuilds a loaded encoder SavedModel as a tf-models network with its weights.

    Args:
      loaded: an encoder of TF Hub's common text API, as `tf.saved_model.load` gives it.

    Returns:
      The network, from [input_word_ids, input_mask, input_type_ids] int32[batch, seq] to the same outputs;
      None where the encoder is not a BERT, or the network's outputs differ by more than 1e-5.
    """
    weights = {variable.name: variable for variable in getattr(loaded, "variables", ())}
    config = _bert_config({name: tuple(variable.shape) for name, variable in weights.items()})
    if config is None:
        return None
    network = encoders.build_encoder(encoders.EncoderConfig(type="bert", bert=config))
    for variable in network.variables:
        source = weights.get(variable.name)
        if source is None or source.shape != variable.shape:
            logging.info("no weight %s of shape %s in the encoder", variable.name, variable.shape)
            return None
        variable.assign(source)
    difference = _largest_difference(loaded, network, config.vocab_size)
    logging.info("the rebuilt encoder differs by %g", difference)
    return network if difference <= MAX_DIFFERENCE else None


def _bert_config(shapes: Mapping[str, tuple[int, ...]]) -> Optional[encoders.BertEncoderConfig]:
    """Reads a BERT's sizes off its weights' names and shapes; None where it is no BERT."""
    layers = {int(found[1]) for name in shapes if (found := re.match(r"transformer/layer_(\d+)/", name))}
    try:
        vocabulary, hidden = shapes["word_embeddings/embeddings:0"]
        _, heads, _ = shapes["transformer/layer_0/self_attention/query/kernel:0"]
        return encoders.BertEncoderConfig(
            vocab_size=vocabulary,
            hidden_size=hidden,
            num_layers=len(layers),
            num_attention_heads=heads,
            intermediate_size=shapes["transformer/layer_0/intermediate/kernel:0"][1],
            max_position_embeddings=shapes["position_embedding/embeddings:0"][0],
            type_vocab_size=shapes["type_embeddings/embeddings:0"][0],
        )
    except (KeyError, ValueError):
        return None


def _largest_difference(loaded: Any, network: tf_keras.Model, vocabulary: int) -> float:
    """Compares both on random tokens, some of them padding."""
    generator = np.random.default_rng(0)
    lengths = np.array([16, 9, 3])
    mask = (np.arange(16) < lengths[:, None]).astype(np.int32)
    inputs = {
        "input_word_ids": tf.constant(generator.integers(0, vocabulary, mask.shape, dtype=np.int32) * mask),
        "input_mask": tf.constant(mask),
        "input_type_ids": tf.zeros_like(mask),
    }
    theirs = loaded(inputs, training=False)
    ours = network([inputs["input_word_ids"], inputs["input_mask"], inputs["input_type_ids"]], training=False)
    # What stands at padding is nobody's output.
    sequences = (outputs["sequence_output"] * tf.cast(mask, tf.float32)[:, :, None] for outputs in (theirs, ours))
    pairs = [(theirs["pooled_output"], ours["pooled_output"]), tuple(sequences)]
    return max(float(tf.reduce_max(tf.abs(a - b))) for a, b in pairs)
