"""Distillation: a student learns from labelled rows, and from further texts with the logits of teachers."""

import dataclasses
import hashlib
from typing import Any, NamedTuple, Sequence

import numpy as np
import tensorflow as tf

from artifacts import teacher_labels
from core import progress
from schema.task import Task
from trainer import reviews, tokens


@dataclasses.dataclass(frozen=True)
class Distillation:
    """How the student learns from the teachers: `weight` and `temperature` of `core.config.DistillConfig`."""

    weight: float
    temperature: float


class Targets(NamedTuple):
    """What rows should be answered.

    Attributes:
      labels: the label feature [n] of a labelled row, or the teachers' answer.
      logits: the teachers' logits, float32[n, head_units]; 0 for a labelled row.
      is_labelled: bool[n].
    """

    labels: Any
    logits: Any
    is_labelled: Any


def targets_of(split: reviews.Split) -> Any:
    """Returns the targets of a split: its labels, or `Targets` if `add_teacher_rows` has added rows to it."""
    if split.teacher_logits is None:
        return split.labels
    is_labelled = np.isnan(split.teacher_logits[:, 0])
    return Targets(split.labels, np.where(is_labelled[:, np.newaxis], 0.0, split.teacher_logits), is_labelled)


def losses(task: Task, distillation: Distillation, targets: Targets, logits: tf.Tensor) -> tf.Tensor:
    """Returns the losses float32[batch] of logits float32[batch, head_units]."""
    taught = task.distillation_losses(targets.logits, logits, distillation.temperature)
    return tf.where(targets.is_labelled, task.example_losses(targets.labels, logits), distillation.weight * taught)


def add_teacher_rows(split: reviews.Split, files: Sequence[str], preprocess: Any, max_length: int) -> reviews.Split:
    """Appends the texts that teachers have labelled to the labelled rows.

    Args:
      split: the training split.
      files: file patterns of the texts (`artifacts.teacher_labels`).
      preprocess: a loaded preprocess model of TF Hub's common text API.
      max_length: maximum number of tokens of a row.
    """
    writer, digest = tokens.TokenWriter(preprocess, max_length), hashlib.sha256(split.digest.encode())
    labels, logits = [], []
    for texts, chunk_labels, chunk_logits in teacher_labels.read_rows(files, tokens.CHUNK_ROWS):
        writer.add(*zip(*texts, strict=True))
        labels.append(chunk_labels)
        logits.append(chunk_logits)
        for text in (text for row in texts for text in row):
            digest.update(len(text).to_bytes(8, "big") + text)
        digest.update(chunk_logits.tobytes())
        progress.report("tokenising unlabelled", sum(map(len, labels)), 0)
    units = logits[0].shape[1]
    return dataclasses.replace(
        split,
        tokens=tokens.concatenate(split.tokens, writer.tokens()),
        labels=np.concatenate([split.labels, *labels]),
        digest=digest.hexdigest(),
        teacher_logits=np.concatenate([np.full([len(split.labels), units], np.nan, np.float32), *logits]),
    )
