"""The layout of TsvExampleGen's Examples artifact.

    Split-train/, Split-dev/, Split-test/   gzipped TFRecord shards of `tf.Example`, any number, any order
    rejected/                               JSON lines: file, offset, line, reason, detail, raw, bytes
    ingest.json                             an `Ingest`

For a rejected line, `raw` is readable text, and `bytes` the exact content in base64, without the newline. Of a line
that is too long, only the first KiB is kept.
"""

import dataclasses
import itertools
import json
import os
from typing import Any, Iterator, Mapping, Optional, Sequence

import numpy as np
import tensorflow as tf

from artifacts import model_files
from core.files import atomic_write
from schema import features

INGEST_FILE = "ingest.json"
REJECTED_FOLDER = "rejected"

# The UTF-8 texts of a row: one, or the two of a pair.
Texts = tuple[bytes, ...]

# The profile of the examples, in the folder of DataGate's verdict.
PROFILE_FILE = "profile.json"


@dataclasses.dataclass(frozen=True)
class Ingest:
    """Counts and sources of the examples.

    Attributes:
      rows: split -> `{"accepted": n, "rejected": {reason: n}, "left_out": n}` with the reasons of `schema.rejections`;
        rejected rows of the training files are counted under `train`, those of the dev and test files under `dev` and
        `test`, and so are the rows that `data.ignore_labels` leaves out.
      not_sampled: valid rows of the training files that `data.sample_size` left out.
      files: role (`train`, `dev`, `test`) -> names of the files; `dev` and `test` are empty if that split is held out
        of the training files.
      span: span of the training data, None if its location has no `{SPAN}`.
      fingerprint: SHA-256 of the files' content.
      unknown_labels: role -> quoted value that is not in `data.labels` -> rows; the most frequent values first.
      digest: digest of the rows of each split, the same for any order and number of shards; empty in examples of
        earlier releases.
    """

    rows: Mapping[str, Mapping[str, Any]]
    not_sampled: int
    files: Mapping[str, list[str]]
    span: Optional[int]
    fingerprint: str
    unknown_labels: Mapping[str, Mapping[str, int]] = dataclasses.field(default_factory=dict)
    digest: str = ""


def write_ingest(folder: str, ingest: Ingest) -> None:
    """Writes `ingest.json` into an Examples artifact's folder."""
    with atomic_write(os.path.join(folder, INGEST_FILE)) as stream:
        stream.write(json.dumps(dataclasses.asdict(ingest), ensure_ascii=False, indent=2))


def read_ingest(folder: str) -> Ingest:
    """Reads the `ingest.json` of an Examples artifact's folder."""
    with tf.io.gfile.GFile(os.path.join(folder, INGEST_FILE)) as stream:
        return Ingest(**json.loads(stream.read()))


def data_digest(folder: str) -> str:
    """Returns `Ingest.digest`; of an artifact without one the digest of its files."""
    return read_ingest(folder).digest or model_files.tree_sha256(folder)


def read_rows(patterns: Sequence[str], chunk_rows: int) -> Iterator[tuple[list[bytes], list[Texts], np.ndarray]]:
    """Reads the shards of a split.

    Args:
      patterns: file patterns of the shards.
      chunk_rows: rows per chunk; the last chunk may be smaller.

    Yields:
      Ids, texts and labels (int64[rows] classes or float32[rows] scores) of consecutive rows, in the order of the
      shards.
    """
    files = sorted(file for pattern in patterns for file in tf.io.gfile.glob(pattern))
    records = tf.data.TFRecordDataset(files, compression_type="GZIP")
    names = text_features(records)
    spec = {
        features.ID: tf.io.FixedLenFeature([], tf.string),
        features.LABEL: label_spec(files),
        **{name: tf.io.FixedLenFeature([], tf.string) for name in names},
    }
    for batch in records.batch(chunk_rows).map(lambda serialised: tf.io.parse_example(serialised, spec)):
        columns = [batch[name].numpy().tolist() for name in names]
        yield batch[features.ID].numpy().tolist(), list(zip(*columns, strict=True)), batch[features.LABEL].numpy()


def text_features(records: tf.data.Dataset) -> list[str]:
    """Returns the text features of serialised examples, which are those of the first one."""
    for record in records.take(1).as_numpy_iterator():
        return [name for name in features.TEXTS if name in tf.train.Example.FromString(record).features.feature]
    return [features.DOCUMENT]


def label_spec(files: Sequence[str]) -> tf.io.FixedLenFeature:
    """Returns how to parse the labels of a split's shards: as classes, or as scores if the first row has one."""
    rows = tf.data.TFRecordDataset(files, compression_type="GZIP").take(1).as_numpy_iterator()
    labels = (tf.train.Example.FromString(row).features.feature[features.LABEL] for row in rows)
    is_score = any(label.WhichOneof("kind") == "float_list" for label in labels)
    return tf.io.FixedLenFeature([], tf.float32 if is_score else tf.int64)


def describe_unknown_labels(values: Mapping[str, int]) -> str:
    """Returns a phrase about values of `Ingest.unknown_labels`; empty if there are none."""
    counts = ", ".join(f"{value} ({count:,})" for value, count in values.items())
    return f"values that are not in data.labels: {counts}" if counts else ""


def read_rejected(folder: str, count: int) -> list[dict[str, Any]]:
    """Returns up to `count` rejected rows of an Examples artifact."""
    return list(itertools.islice(_rejected_rows(folder), count))


def _rejected_rows(folder: str) -> Iterator[dict[str, Any]]:
    for path in sorted(tf.io.gfile.glob(os.path.join(folder, REJECTED_FOLDER, "*"))):
        with tf.io.gfile.GFile(path) as stream:
            yield from map(json.loads, stream)
