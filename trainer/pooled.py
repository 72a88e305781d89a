"""Pooled outputs of a frozen encoder, computed once and stored next to the checkpoints."""

import os

import numpy as np
import tensorflow as tf

from core import progress
from core.files import atomic_write
from trainer import batches, distribution
from trainer.loop import EVALUATION_BATCH
from trainer.model import Encoder
from trainer.tokens import Tokens


def pooled_outputs(
    encoder: Encoder, tokens: Tokens, folder: str, name: str, strategy: tf.distribute.Strategy
) -> np.ndarray:
    """Computes the pooled output of every row, or reads the result of an earlier attempt.

    Each worker computes some of the rows and writes them to the folder, from which all workers read.

    Args:
      encoder: the frozen encoder.
      tokens: tokens of n rows.
      folder: a folder for this encoder and these rows only, which all workers share.
      name: name of the split.
      strategy: the training's strategy.

    Returns:
      float32[n, hidden].
    """
    workers, worker = distribution.worker_count(strategy), distribution.worker_index(strategy)
    files = [os.path.join(folder, f"pooled-{name}-{i}-of-{workers}.npy") for i in range(workers)]
    tf.io.gfile.makedirs(folder)
    if not tf.io.gfile.exists(files[worker]):
        rows = tokens.ordered(np.arange(worker, len(tokens.lengths), workers))
        with atomic_write(files[worker], "wb") as stream:
            np.save(stream, _compute(encoder, rows, name))
    distribution.wait_for_all(strategy)
    pooled = [_read(file) for file in files]
    if workers == 1:
        return pooled[0]
    merged = np.empty((len(tokens.lengths), pooled[0].shape[1]), np.float32)
    for i, part in enumerate(pooled):
        merged[i::workers] = part
    return merged


def _compute(encoder: Encoder, tokens: Tokens, name: str) -> np.ndarray:
    signature = {key: tf.TensorSpec([None, None], tf.int32) for key in tokens.padded(np.arange(0))}
    call = tf.function(lambda inputs: encoder(inputs), input_signature=[signature], autograph=False)
    order = batches.sorted_batches(tokens.lengths, EVALUATION_BATCH)
    pooled = np.empty((len(tokens.lengths), 0), np.float32)
    for done, rows in enumerate(order, 1):
        outputs = call({key: tf.constant(value) for key, value in tokens.padded(rows).items()}).numpy()
        if done == 1:
            pooled = np.empty((len(tokens.lengths), outputs.shape[1]), np.float32)
        pooled[rows] = outputs
        progress.report(f"encoding {name}", done, len(order))
    return pooled


def _read(file: str) -> np.ndarray:
    with tf.io.gfile.GFile(file, "rb") as stream:
        return np.load(stream, allow_pickle=False)
