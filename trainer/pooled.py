"""Vectors of a frozen encoder, computed once and stored next to the checkpoints.

They outlive the training, so that another learning rate or another head does not compute them again: each folder is
named after everything that its vectors depend on.
"""

import contextlib
import os
import time
from typing import Any

import numpy as np
import tensorflow as tf

from core import progress
from core.files import atomic_write
from trainer import batches, checkpoints, distribution
from trainer.loop import EVALUATION_BATCH
from trainer.model import Encoder
from trainer.tokens import Tokens

_PREFIX = "features-"
# Written at each use.
_USED = "used"
# Folders that are kept, the last ones used: those of one encoder with several poolings or lengths, but not of ten.
_KEPT = 4
# Another training may be using a folder that was used or written so recently.
_IN_USE_S = 3600


def open_folder(root: str, parts: Any, writes: bool) -> str:
    """Returns the folder for the vectors of an encoder and some rows, and removes those that are not used any more.

    Args:
      root: the folder of all trainings' folders.
      parts: JSON value, everything that the vectors depend on.
      writes: whether this worker creates and removes folders.
    """
    folder = os.path.join(root, _PREFIX + checkpoints.training_key(parts))
    if writes:
        tf.io.gfile.makedirs(folder)
        with atomic_write(os.path.join(folder, _USED)) as stream:
            stream.write("")
        # Another training may be removing the same ones.
        with contextlib.suppress(tf.errors.OpError):
            _remove_unused(root)
    return folder


def _remove_unused(root: str) -> None:
    """Removes all but the last folders used; those of a week ago too."""
    names = [name.rstrip("/") for name in tf.io.gfile.listdir(root) if name.startswith(_PREFIX)]
    ages = {folder: _seconds_since_use(folder) for folder in (os.path.join(root, name) for name in names)}
    for place, folder in enumerate(sorted(ages, key=ages.__getitem__)):
        if ages[folder] > (_IN_USE_S if place >= _KEPT else checkpoints.ABANDONED_AFTER_S):
            tf.io.gfile.rmtree(folder)


def _seconds_since_use(folder: str) -> float:
    stats = [tf.io.gfile.stat(os.path.join(folder, name)) for name in tf.io.gfile.listdir(folder)]
    return time.time() - max((stat.mtime_nsec / 1e9 for stat in stats), default=0.0)


def pooled_outputs(
    encoder: Encoder, tokens: Tokens, folder: str, name: str, strategy: tf.distribute.Strategy
) -> np.ndarray:
    """Computes the vector of every row, or reads the result of an earlier training.

    Each worker computes some of the rows and writes them to the folder, from which all workers read.

    Args:
      encoder: the frozen encoder.
      tokens: tokens of n rows.
      folder: a folder for this encoder and these rows only, from `open_folder`, which all workers share.
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
