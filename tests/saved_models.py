"""Tiny real SavedModels with the serving contract, for tests: hashed bytes, no training."""

from typing import Callable, Sequence

import numpy as np
import tensorflow as tf
from tfx.types import standard_artifacts
from tfx.utils import path_utils

from schema import features
from schema.task import BinaryTask

TASK = BinaryTask(("document",), {"0": "부정", "1": "긍정"})

Change = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


class HashedBytes(tf.Module):
    """Logit of a text: the mean weight of its bytes, each hashed to one of 64 weights."""

    def __init__(self, seed: int, change: Change) -> None:
        super().__init__()
        self.weights = tf.Variable(np.random.default_rng(seed).normal(size=64).astype(np.float32))
        self.change = change

    def logits(self, text: tf.Tensor) -> tf.Tensor:
        """string[batch] -> float32[batch, 1]."""
        buckets = tf.strings.to_hash_bucket_fast(tf.strings.bytes_split(text), 64)
        weights = tf.ragged.map_flat_values(tf.gather, self.weights, buckets)
        # One more than the length: an empty text has a logit of 0.
        mean = tf.reduce_sum(weights, axis=1) / tf.cast(buckets.row_lengths() + 1, tf.float32)
        return self.change(text, mean)[:, tf.newaxis]

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def serve_text(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        return TASK.served_outputs(self.logits(text))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serve_examples(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        parsed = tf.io.parse_example(examples, {features.DOCUMENT: tf.io.FixedLenFeature([], tf.string)})
        return TASK.served_outputs(self.logits(parsed[features.DOCUMENT]))


def save(folder: str, seed: int = 0, change: Change = lambda text, logit: logit) -> str:
    """Writes a SavedModel.

    Args:
      folder: the model's folder; created if it is missing.
      seed: seed of the weights.
      change: (text string[batch], logit float32[batch]) -> logit float32[batch], to make a model faulty.

    Returns:
      The folder.
    """
    module = HashedBytes(seed, change)
    signatures = {"serving_default": module.serve_text, "serving_examples": module.serve_examples}
    tf.saved_model.save(module, folder, signatures=signatures)
    return folder


def save_artifact(uri: str, seed: int = 0, change: Change = lambda text, logit: logit) -> standard_artifacts.Model:
    """Writes a SavedModel where a Trainer would and returns the `Model` artifact."""
    artifact = standard_artifacts.Model()
    artifact.uri = uri
    save(path_utils.serving_model_dir(uri), seed, change)
    return artifact


def predict(folder: str, texts: Sequence[bytes]) -> dict[str, np.ndarray]:
    """Runs a SavedModel's `serving_default`; returns its outputs by name."""
    model = tf.saved_model.load(folder)
    outputs = model.signatures["serving_default"](text=tf.constant(list(texts), tf.string))
    return {name: tensor.numpy() for name, tensor in outputs.items()}
