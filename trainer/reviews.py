"""Reads a split of reviews into memory, in an order that does not depend on shards."""

import dataclasses
from typing import Sequence

import numpy as np
import tensorflow as tf

from schema import features


@dataclasses.dataclass(frozen=True)
class Reviews:
    """A split in memory.

    Attributes:
      texts: UTF-8 reviews.
      labels: int64[n], class of each review.
    """

    texts: list[bytes]
    labels: np.ndarray


_FEATURES = {
    features.ID: tf.io.FixedLenFeature([], tf.string),
    features.DOCUMENT: tf.io.FixedLenFeature([], tf.string),
    features.LABEL: tf.io.FixedLenFeature([], tf.int64),
}


def read_reviews(patterns: Sequence[str]) -> Reviews:
    """Reads gzipped TFRecord shards of examples.

    Args:
      patterns: file patterns of one split.

    Returns:
      The reviews sorted by id and text: shards may come in any number and order.
    """
    files = sorted(file for pattern in patterns for file in tf.io.gfile.glob(pattern))
    # 1,024 examples a parse: one op call for many rows, a block of a few hundred KiB.
    dataset = tf.data.TFRecordDataset(files, compression_type="GZIP").batch(1024)
    rows = []
    for batch in dataset.map(lambda serialised: tf.io.parse_example(serialised, _FEATURES)):
        columns = (batch[name].numpy().tolist() for name in (features.ID, features.DOCUMENT, features.LABEL))
        rows.extend(zip(*columns, strict=True))
    rows.sort()
    return Reviews([text for _, text, _ in rows], np.array([label for *_, label in rows], np.int64))
