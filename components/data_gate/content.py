"""Reads a split's rows in one pass over its shards: hashes, counts and a sample of texts."""

import dataclasses
import os
from typing import Optional

import numpy as np
import tensorflow as tf

from artifacts.examples import label_spec
from components.data_gate.text_counts import TextCounts
from schema import features
from schema.hashing import text_hash
from schema.task import Task

# Examples per parsed batch: a few hundred KiB.
_BATCH = 1024
_FEATURES = {
    # A single text has no second one.
    **{name: tf.io.RaggedFeature(tf.string) for name in features.TEXTS},
}
# Approximate number of texts in the sample: the standard error of a share of 5 % is then half a point.
_SAMPLE_ROWS = 2000
# A text that is this long is its writer's own: of the 3,200 such rows of NSMC's test file 0.3 % are in the training
# file too, of those with 15 to 19 characters 0.8 %, with 10 to 14 2 %, with 5 to 9 16 %, with fewer 64 %.
OWN_CHARACTERS = 20
# Kept of each text: about as much as a model reads; at most 2 MB in total.
_SAMPLE_CHARACTERS = 512


@dataclasses.dataclass(frozen=True)
class SplitContent:
    """Counts and samples of a split's rows.

    Attributes:
      text_hashes: uint64[rows], unordered; of both texts of a pair together.
      own: bool[rows], in the same order, whether the text has `OWN_CHARACTERS` or more.
      labels: rows of each of `Task.label_groups`, by its name.
      texts: counts over the texts.
      sample: the starts of some texts; does not depend on the order of the rows.
    """

    text_hashes: np.ndarray
    own: np.ndarray
    labels: dict[str, int]
    texts: TextCounts
    sample: list[str]


class _Copies:
    """Tells the first row with a text from its copies, with nine bytes in memory for each repeated text."""

    def __init__(self, text_hashes: np.ndarray) -> None:
        values, counts = np.unique(text_hashes, return_counts=True)
        self._repeated = values[counts > 1]
        self._seen = np.zeros(self._repeated.size, bool)

    def first(self, text_hashes: np.ndarray) -> np.ndarray:
        """Returns bool[n], whether each of the next rows is the first one with its text."""
        result = np.zeros(text_hashes.size, bool)
        result[np.unique(text_hashes, return_index=True)[1]] = True
        rows = np.flatnonzero(np.isin(text_hashes, self._repeated))
        places = np.searchsorted(self._repeated, text_hashes[rows])
        result[rows] &= ~self._seen[places]
        self._seen[places] = True
        return result


def read_split(folder: str, task: Task, rows: int, copies_of: Optional[np.ndarray] = None) -> SplitContent:
    """Streams the gzipped TFRecord shards of a split, holding nine bytes per row and bounded counts in memory.

    Args:
      folder: the split's folder.
      task: the task, which groups the labels.
      rows: approximate number of rows in the split.
      copies_of: `SplitContent.text_hashes` of this split, to read only the first row with each text; None for all.
    """
    copies = None if copies_of is None else _Copies(copies_of)
    files = sorted(tf.io.gfile.glob(os.path.join(folder, "*")))
    stride = max(rows // _SAMPLE_ROWS, 1)
    hashes, own, labels = [np.empty(0, np.uint64)], [np.empty(0, bool)], np.zeros(len(task.label_groups), np.int64)
    spec = {**_FEATURES, features.LABEL: label_spec(files)}
    texts = TextCounts()
    sample: list[str] = []
    for serialised in tf.data.TFRecordDataset(files, compression_type="GZIP").batch(_BATCH):
        batch = tf.io.parse_example(serialised, spec)
        documents = tf.concat([batch[name] for name in features.TEXTS], axis=1).to_list()
        hashed = np.fromiter(map(text_hash, documents), np.uint64)
        kept = np.flatnonzero(copies.first(hashed)) if copies else np.arange(hashed.size)
        hashes.append(hashed[kept])
        documents = [documents[row] for row in kept]
        groups = task.group_labels(batch[features.LABEL].numpy()[kept])
        # The schema's check reports a label that is in no group.
        labels += np.bincount(groups[(groups >= 0) & (groups < labels.size)], minlength=labels.size)
        decoded = [b"\n".join(parts).decode("utf-8", "replace") for parts in documents]
        own.append(np.array([len(text) >= OWN_CHARACTERS for text in decoded], bool))
        texts.add(decoded)
        sample += [decoded[row][:_SAMPLE_CHARACTERS] for row in np.flatnonzero(hashes[-1] % stride == 0)]
        # The sample has either all copies of a text or none, so it may grow too large.
        del sample[2 * _SAMPLE_ROWS :]
    by_group = dict(zip(task.label_groups, labels.tolist(), strict=True))
    return SplitContent(np.concatenate(hashes), np.concatenate(own), by_group, texts, sample)
