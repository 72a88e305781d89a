"""The files that a Beam pipeline writes into an artifact."""

import os

import tensorflow as tf


def remove_temporary_folders(folder: str) -> None:
    """Removes leftovers of restarted writes, because readers treat every entry of an artifact's folder as a shard."""
    for pattern in ("beam-temp-*", os.path.join("*", "beam-temp-*")):
        for path in tf.io.gfile.glob(os.path.join(folder, pattern)):
            tf.io.gfile.rmtree(path)
