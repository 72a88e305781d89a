"""Writes a `trainer.bert.Bert` as an encoder of TF Hub's common text API, and reads what its weights do not tell.

Beside the weights the SavedModel holds `assets/architecture.json`, the network's `bert.Variant`, so that
`trainer.native` can compute with the weights again.
"""

import dataclasses
import json
import os
import tempfile
from typing import Any, Optional

import tensorflow as tf

from trainer import bert
from trainer.tokens import MASK, TYPE_IDS, WORD_IDS

_FILE = "architecture.json"


def save_encoder(network: bert.Bert, folder: str) -> None:
    """Writes a SavedModel, which takes `training` as TF Hub's encoders do.

    Args:
      network: the encoder.
      folder: a new folder.
    """
    root = tf.train.Checkpoint()
    # The names that TF Hub's Keras layer looks for.
    root.variables = root.trainable_variables = network.weights
    root.regularization_losses = []
    root.__call__ = _callable(network)
    with tempfile.TemporaryDirectory() as scratch:
        path = os.path.join(scratch, _FILE)
        with open(path, "w", encoding="utf-8") as stream:
            json.dump({**dataclasses.asdict(network.variant), "layers": network.sizes.layers}, stream, indent=2)
        root.architecture = tf.saved_model.Asset(path)
        tf.saved_model.save(root, folder)


def read_architecture(loaded: Any) -> tuple[bert.Variant, Optional[int]]:
    """Returns the variant and the number of layers of a loaded encoder; tf-models' and None if it does not tell."""
    asset = getattr(loaded, "architecture", None)
    if not isinstance(asset, tf.saved_model.Asset):
        return bert.Variant(), None
    try:
        values = json.loads(tf.io.read_file(asset.asset_path).numpy())
        layers = values.pop("layers")
        variant = bert.Variant(**values)
    except (ValueError, AttributeError, KeyError, TypeError):  # A file of something else, or of a later release.
        return bert.Variant(), None
    return (variant, layers) if variant.activation in bert.ACTIVATIONS else (bert.Variant(), None)


def _callable(network: bert.Bert) -> Any:
    """Returns the function (int32[batch, seq] by input name, training) -> the API's outputs, traced for both modes."""

    @tf.function(autograph=False)
    def call(inputs: dict[str, tf.Tensor], training: bool = False) -> dict[str, Any]:
        # Other random numbers in each call: who calls a SavedModel can't pass a seed.
        seed = tf.random.uniform([2], maxval=tf.int64.max, dtype=tf.int64) if training else None
        outputs = network.outputs(inputs, seed)
        return {**outputs, "default": outputs["pooled_output"]}

    ids = {name: tf.TensorSpec([None, None], tf.int32, name) for name in (WORD_IDS, MASK, TYPE_IDS)}
    for training in (True, False):
        call.get_concrete_function(ids, training=training)
    call.get_concrete_function(ids)
    return call
