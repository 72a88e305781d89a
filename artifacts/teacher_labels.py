"""The artifact of TeacherLabels: texts with the mean logits of the teachers.

    Split-unlabelled/, Split-test/   gzipped TFRecord of `tf.Example`, as in `artifacts.examples`, with `logits`
    teachers.json                    a `TeacherFigures`

The `label` of an unlabelled text is the teachers' answer, that of a test row its own label. `logits` is
float[head_units].
"""

import dataclasses
import json
import os
from typing import Any, Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf

from artifacts import examples
from core.files import atomic_write
from schema import features

UNLABELLED_SPLIT = "unlabelled"
SPLITS = (UNLABELLED_SPLIT, features.TEST_SPLIT)

FIGURES_FILE = "teachers.json"

_LOGITS = "logits"


@dataclasses.dataclass(frozen=True)
class TeacherFigures:
    """What labelled the texts, and how good it is.

    Attributes:
      teachers: `path`, `sha256` and `value` of each teacher.
      metric: name of the task's training metric.
      value: the metric of the teachers' mean logits on the test rows.
      rows: number of texts for the student.
      test_rows: number of test rows.
      left_out: split -> number of texts left out because they are in it.
      rejected: rejected rows of the tables by reason.
    """

    teachers: Sequence[Mapping[str, Any]]
    metric: str
    value: float
    rows: int
    test_rows: int
    left_out: Mapping[str, int]
    rejected: Mapping[str, int]


def write_figures(folder: str, figures: TeacherFigures) -> None:
    """Writes `teachers.json`."""
    with atomic_write(os.path.join(folder, FIGURES_FILE)) as stream:
        json.dump(dataclasses.asdict(figures), stream, ensure_ascii=False, indent=2)


def read_figures(folder: str) -> TeacherFigures:
    """Reads `teachers.json`."""
    with tf.io.gfile.GFile(os.path.join(folder, FIGURES_FILE)) as stream:
        return TeacherFigures(**json.loads(stream.read()))


def write_rows(
    folder: str, split: str, texts: Sequence[examples.Texts], labels: np.ndarray, logits: np.ndarray
) -> None:
    """Writes a split.

    Args:
      folder: the artifact's folder.
      split: one of `SPLITS`.
      texts: UTF-8, of each row.
      labels: int64[n] classes or float32[n] scores.
      logits: float32[n, head_units].
    """
    path = os.path.join(folder, f"Split-{split}")
    os.makedirs(path)
    with tf.io.TFRecordWriter(os.path.join(path, "data-00000-of-00001.gz"), "GZIP") as writer:
        for row in zip(texts, labels.tolist(), logits.tolist(), strict=True):
            writer.write(_example(*row).SerializeToString())


def _example(texts: examples.Texts, label: float, logits: Sequence[float]) -> tf.train.Example:
    example = tf.train.Example()
    feature = example.features.feature
    for name, text in zip(features.TEXTS, texts):  # noqa: B905  A row has one or two.
        feature[name].bytes_list.value.append(text)
    values = feature[features.LABEL]
    (values.int64_list if isinstance(label, int) else values.float_list).value.append(label)
    feature[_LOGITS].float_list.value.extend(logits)
    return example


def patterns(folder: str, split: str) -> list[str]:
    """Returns the file patterns of a split."""
    return [os.path.join(folder, f"Split-{split}", "*")]


def read_rows(
    file_patterns: Sequence[str], chunk_rows: int
) -> Iterator[tuple[list[examples.Texts], np.ndarray, np.ndarray]]:
    """Reads the files of a split in order.

    Args:
      file_patterns: from `patterns`.
      chunk_rows: rows per chunk; the last chunk may be smaller.

    Yields:
      Texts, labels (int64[rows] classes or float32[rows] scores) and logits float32[rows, head_units].
    """
    files = sorted(file for pattern in file_patterns for file in tf.io.gfile.glob(pattern))
    records = tf.data.TFRecordDataset(files, compression_type="GZIP")
    names = examples.text_features(records)
    spec = {
        features.LABEL: examples.label_spec(files),
        _LOGITS: tf.io.FixedLenSequenceFeature([], tf.float32, allow_missing=True),
        **{name: tf.io.FixedLenFeature([], tf.string) for name in names},
    }
    for batch in records.batch(chunk_rows).map(lambda serialised: tf.io.parse_example(serialised, spec)):
        columns = [batch[name].numpy().tolist() for name in names]
        yield list(zip(*columns, strict=True)), batch[features.LABEL].numpy(), batch[_LOGITS].numpy()
