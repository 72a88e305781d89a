"""Reads a split's rows in one pass over its shards: hashes, counts and a sample of texts."""

import dataclasses
import os

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
# Kept of each text: about as much as a model reads; at most 2 MB in total.
_SAMPLE_CHARACTERS = 512


@dataclasses.dataclass(frozen=True)
class SplitContent:
    """Counts and samples of a split's rows.

    Attributes:
      text_hashes: uint64[rows], unordered; of both texts of a pair together.
      labels: rows of each of `Task.label_groups`, by its name.
      texts: counts over the texts.
      sample: the starts of some texts; does not depend on the order of the rows.
    """

    text_hashes: np.ndarray
    labels: dict[str, int]
    texts: TextCounts
    sample: list[str]


def read_split(folder: str, task: Task, rows: int) -> SplitContent:
    """Streams the gzipped TFRecord shards of a split, holding eight bytes per row and bounded counts in memory.

    Args:
      folder: the split's folder.
      task: the task, which groups the labels.
      rows: approximate number of rows in the split.
    """
    files = sorted(tf.io.gfile.glob(os.path.join(folder, "*")))
    stride = max(rows // _SAMPLE_ROWS, 1)
    hashes, labels = [np.empty(0, np.uint64)], np.zeros(len(task.label_groups), np.int64)
    spec = {**_FEATURES, features.LABEL: label_spec(files)}
    texts = TextCounts()
    sample: list[str] = []
    for serialised in tf.data.TFRecordDataset(files, compression_type="GZIP").batch(_BATCH):
        batch = tf.io.parse_example(serialised, spec)
        documents = tf.concat([batch[name] for name in features.TEXTS], axis=1).to_list()
        hashes.append(np.fromiter(map(text_hash, documents), np.uint64))
        groups = task.group_labels(batch[features.LABEL].numpy())
        # The schema's check reports a label that is in no group.
        labels += np.bincount(groups[(groups >= 0) & (groups < labels.size)], minlength=labels.size)
        decoded = [b"\n".join(parts).decode("utf-8", "replace") for parts in documents]
        texts.add(decoded)
        sample += [decoded[row][:_SAMPLE_CHARACTERS] for row in np.flatnonzero(hashes[-1] % stride == 0)]
        # The sample has either all copies of a text or none, so it may grow too large.
        del sample[2 * _SAMPLE_ROWS :]
    return SplitContent(
        np.concatenate(hashes), dict(zip(task.label_groups, labels.tolist(), strict=True)), texts, sample
    )
