"""A split of reviews, tokenised as it is read, in an order that does not depend on shards."""

import dataclasses
import hashlib
import heapq
from typing import Any, Iterator, Sequence

import numpy as np
import tensorflow as tf

from core import progress
from schema import features
from trainer import tokens

# Dev rows whose answers ServingValidator holds the served model against.
GOLDEN_ROWS = 64

_FEATURES = {
    features.ID: tf.io.FixedLenFeature([], tf.string),
    features.DOCUMENT: tf.io.FixedLenFeature([], tf.string),
    features.LABEL: tf.io.FixedLenFeature([], tf.int64),
}


@dataclasses.dataclass(frozen=True)
class Split:
    """A split ready for batches; the texts themselves are not kept.

    Attributes:
      tokens: tokens of its n rows.
      labels: int64[n], class of each row.
      first_texts: UTF-8 texts of the first rows, `GOLDEN_ROWS` at most.
      digest: of all ids, texts and labels.
    """

    tokens: tokens.Tokens
    labels: np.ndarray
    first_texts: Sequence[bytes]
    digest: str


def read_split(patterns: Sequence[str], preprocess: Any, max_length: int, name: str) -> Split:
    """Reads and tokenises gzipped TFRecord shards of examples, a chunk at a time.

    The rows are put in the order of a hash of id and text: shards may come in any number and order.

    Args:
      patterns: file patterns of one split.
      preprocess: a loaded preprocess model of TF Hub's common text API.
      max_length: longest row in tokens.
      name: what a person calls the split.
    """
    writer = tokens.TokenWriter(preprocess, max_length)
    keys, labels = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
    first: list[tuple[int, int, bytes]] = []
    for ids, texts, chunk_labels in _read_chunks(patterns):
        writer.add(texts)
        chunk_keys = [_key(row_id, text) for row_id, text in zip(ids, texts, strict=True)]
        keys.append(np.array(chunk_keys, np.uint64))
        labels.append(chunk_labels)
        rows = zip(chunk_keys, chunk_labels.tolist(), texts, strict=True)
        first = heapq.nsmallest(GOLDEN_ROWS, [*first, *rows])
        progress.report(f"tokenising {name}", sum(map(len, labels)), 0)
    all_keys, all_labels = np.concatenate(keys), np.concatenate(labels)
    # By key, then by label: rows that agree in both are the same.
    order = np.lexsort((all_labels, all_keys))
    digest = hashlib.sha256(all_keys[order].tobytes() + all_labels[order].tobytes()).hexdigest()
    return Split(writer.tokens().ordered(order), all_labels[order], [text for *_, text in first], digest)


def read_texts(patterns: Sequence[str]) -> list[bytes]:
    """Reads the texts alone, all into memory, in the shards' order."""
    return [text for _, texts, _ in _read_chunks(patterns) for text in texts]


def _read_chunks(patterns: Sequence[str]) -> Iterator[tuple[list[bytes], list[bytes], np.ndarray]]:
    files = sorted(file for pattern in patterns for file in tf.io.gfile.glob(pattern))
    dataset = tf.data.TFRecordDataset(files, compression_type="GZIP").batch(tokens.CHUNK_ROWS)
    for batch in dataset.map(lambda serialised: tf.io.parse_example(serialised, _FEATURES)):
        yield (
            batch[features.ID].numpy().tolist(),
            batch[features.DOCUMENT].numpy().tolist(),
            batch[features.LABEL].numpy(),
        )


def _key(row_id: bytes, text: bytes) -> int:
    # The length keeps ("a", "bc") and ("ab", "c") apart.
    content = len(row_id).to_bytes(8, "big") + row_id + text
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big")
