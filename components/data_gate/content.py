"""Reads the rows of one shard: counts, a sample of texts, and the hashes of the texts."""

import collections
import dataclasses
import heapq
from typing import Iterator, Optional, Sequence

import numpy as np
import tensorflow as tf

from artifacts.examples import label_spec
from components.data_gate.duplicates import Copies, TextHashes
from components.data_gate.text_counts import FrequentWords, TextCounts
from components.data_gate.word_sketch import WordSketch
from schema import features
from schema.hashing import text_hash
from schema.task import Task

# Examples per parsed batch: a few hundred KiB.
_BATCH = 1024
_FEATURES = {
    # A single text has no second one.
    **{name: tf.io.RaggedFeature(tf.string) for name in features.TEXTS},
}
# Number of texts in the sample: the standard error of a share of 5 % is then half a point.
_SAMPLE_ROWS = 2000
# A text that is this long is its writer's own: of the 3,200 such rows of NSMC's test file 0.3 % are in the training
# file too, of those with 15 to 19 characters 0.8 %, with 10 to 14 2 %, with 5 to 9 16 %, with fewer 64 %.
OWN_CHARACTERS = 20
# Kept of each text: about as much as a model reads; at most 2 MB in total.
_SAMPLE_CHARACTERS = 512


class SplitContent:
    """Counts over the rows of a split or of a part of it, and a sample of them, in bounded memory.

    The merged contents of all parts depend neither on the parts nor on the order of the rows.

    Attributes:
      labels: rows of each of `Task.label_groups`, by its name.
      texts: counts over the texts.
    """

    def __init__(self, label_groups: Sequence[str]) -> None:
        """Starts without rows."""
        self.labels = dict.fromkeys(label_groups, 0)
        self.texts = TextCounts()
        self._sampled: list[tuple[int, str]] = []

    def add(self, rows: "Rows") -> None:
        """Adds rows."""
        # The schema's check reports a label that is in no group.
        known = rows.groups[(rows.groups >= 0) & (rows.groups < len(self.labels))]
        self._add_labels(dict(zip(self.labels, np.bincount(known, minlength=len(self.labels)).tolist(), strict=True)))
        self.texts.add(rows.texts)
        largest = self._sampled[-1][0] if len(self._sampled) == _SAMPLE_ROWS else None
        chosen = range(len(rows.texts)) if largest is None else np.flatnonzero(rows.hashes <= np.uint64(largest))
        self._add_sample([(int(rows.hashes[row]), rows.texts[row][:_SAMPLE_CHARACTERS]) for row in chosen])

    def merge(self, other: "SplitContent") -> None:
        """Adds the rows of another part."""
        self._add_labels(other.labels)
        self.texts.merge(other.texts)
        self._add_sample(other._sampled)

    @property
    def sample(self) -> list[str]:
        """The starts of the texts with the smallest hashes."""
        return [text for _, text in self._sampled]

    def _add_labels(self, labels: dict[str, int]) -> None:
        for name, count in labels.items():
            self.labels[name] += count

    def _add_sample(self, rows: list[tuple[int, str]]) -> None:
        if rows:
            self._sampled = heapq.nsmallest(_SAMPLE_ROWS, [*self._sampled, *rows])


@dataclasses.dataclass(frozen=True)
class Rows:
    """Consecutive rows.

    Attributes:
      hashes: uint64[n], of both texts of a pair together.
      groups: int64[n], index of each label in `Task.label_groups`.
      texts: the texts.
    """

    hashes: np.ndarray
    groups: np.ndarray
    texts: list[str]


def read_rows(path: str, task: Task, copies: Optional[Copies] = None) -> Iterator[Rows]:
    """Streams a gzipped TFRecord shard.

    Args:
      path: the shard.
      task: the task, which groups the labels.
      copies: which copies of texts to leave out; None for none.
    """
    spec = {**_FEATURES, features.LABEL: label_spec([path])}
    for serialised in tf.data.TFRecordDataset(path, compression_type="GZIP").batch(_BATCH):
        batch = tf.io.parse_example(serialised, spec)
        documents = tf.concat([batch[name] for name in features.TEXTS], axis=1).to_list()
        hashes = np.fromiter(map(text_hash, documents), np.uint64, len(documents))
        kept = np.arange(hashes.size) if copies is None else np.flatnonzero(copies.first(hashes))
        texts = [b"\n".join(documents[row]).decode("utf-8", "replace") for row in kept]
        yield Rows(hashes[kept], task.group_labels(batch[features.LABEL].numpy()[kept]), texts)


def count_rows(path: str, task: Task, copies: Optional[Copies] = None) -> tuple[SplitContent, TextHashes]:
    """Counts the rows of a shard, holding ten bytes per row and bounded counts in memory.

    Args:
      path: the shard.
      task: the task.
      copies: as in `read_rows`.
    """
    content = SplitContent(task.label_groups)
    hashes, own, groups = [np.empty(0, np.uint64)], [np.empty(0, bool)], [np.empty(0, np.int64)]
    # A byte for up to 128 groups.
    small = np.min_scalar_type(-len(task.label_groups) - 1)
    for rows in read_rows(path, task, copies):
        content.add(rows)
        hashes.append(rows.hashes)
        own.append(np.array([len(text) >= OWN_CHARACTERS for text in rows.texts], bool))
        groups.append(np.where(rows.groups < len(task.label_groups), rows.groups, -1).astype(small))
    return content, TextHashes(np.concatenate(hashes), np.concatenate(own), np.concatenate(groups[1:] or groups))


def count_frequent(
    path: str, task: Task, sketch: WordSketch, copies: Optional[Copies] = None
) -> collections.Counter[str]:
    """Counts the words of a shard that are frequent in its split.

    Args:
      path: the shard.
      task: the task.
      sketch: sketch of all words of the split.
      copies: as in `read_rows`.
    """
    words = FrequentWords(sketch)
    for rows in read_rows(path, task, copies):
        words.add(rows.texts)
    return words.counts()
