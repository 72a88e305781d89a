"""A Hub BERT as a network of our own process.

A SavedModel from TF Hub is a closed graph: its dropout can't be seeded, its precision can't be chosen, and it
computes outputs that a classifier throws away. Where its weights are those of a BERT as tf-models names them,
`trainer.bert` computes with them instead; that it computes the same is checked, not assumed.
"""

import logging
from typing import Any, Optional

import numpy as np
import tensorflow as tf

from trainer import bert
from trainer.tokens import MASK, TYPE_IDS, WORD_IDS

# Float32 sums in another order differ by about 1e-6 in outputs of size 1.
MAX_DIFFERENCE = 1e-5


def rebuild_bert(loaded: Any) -> Optional[bert.Bert]:
    """Takes over a loaded encoder's weights.

    Args:
      loaded: an encoder of TF Hub's common text API, as `tf.saved_model.load` gives it.

    Returns:
      The network on the same variables; None where the encoder is not a BERT, or the pooled outputs differ by
      more than 1e-5.
    """
    weights = {variable.name: variable for variable in getattr(loaded, "variables", ())}
    found = bert.sizes({name: tuple(variable.shape) for name, variable in weights.items()})
    if found is None:
        return None
    network = bert.Bert(weights, found)
    difference = _largest_difference(loaded, network, found.vocabulary)
    logging.info("the rebuilt encoder differs by %g", difference)
    return network if difference <= MAX_DIFFERENCE else None


def _largest_difference(loaded: Any, network: bert.Bert, vocabulary: int) -> float:
    """Compares both on random tokens, some of them padding."""
    generator = np.random.default_rng(0)
    mask = (np.arange(16) < np.array([16, 9, 3])[:, None]).astype(np.int32)
    inputs = {
        WORD_IDS: tf.constant(generator.integers(0, vocabulary, mask.shape, dtype=np.int32) * mask),
        MASK: tf.constant(mask),
        TYPE_IDS: tf.zeros_like(mask),
    }
    theirs = loaded(inputs, training=False)["pooled_output"]
    return float(tf.reduce_max(tf.abs(theirs - network(inputs))))
