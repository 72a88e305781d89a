"""The teachers: models that a pipeline pushed, so that they have passed the gates that the student has to pass."""

import hashlib
import os
from typing import Any, Sequence

import numpy as np

from artifacts import model_card, model_files
from components.pusher import record
from core import progress
from core.errors import UserError
from schema.task import Task

SETTING = "distill.teachers"

# The gates that judge a model.
_GATES = {"model", "serving"}

_BATCH_ROWS = 128


def check(folders: Sequence[str], task: Task) -> list[str]:
    """Checks that the teachers were pushed by a pipeline, have passed its gates, and predict what the student does.

    Args:
      folders: the folders of pushed versions.
      task: the task of the student.

    Returns:
      The digest of each model.

    Raises:
      UserError: a folder is not such a model.
    """
    return [_check(folder, task) for folder in folders]


def _check(folder: str, task: Task) -> str:
    setting = f"{SETTING}: {folder}"
    if not model_files.has_model(folder):
        raise UserError(f"{setting}: has no SavedModel; should be the folder of a pushed version, such as serving/1")
    pushed = record.read(folder)
    checks = pushed.origin.checks if pushed and pushed.origin else ()
    if pushed is None or not _GATES <= {check.gate for check in checks}:
        raise UserError(
            f"{setting}: {model_files.PUSH_RECORD} names no passed gates; a teacher should be a model that this "
            "pipeline pushed"
        )
    if failed := [check.check for check in checks if check.blocks]:
        raise UserError(f"{setting}: did not pass {', '.join(failed)}; a teacher should have passed all gates")
    digest = model_files.model_sha256(folder)
    if digest != pushed.model_sha256:
        raise UserError(f"{setting}: its files were changed after the push; push the model again")
    teacher = model_card.read(folder).task
    if (type(teacher), teacher.text_inputs) != (type(task), task.text_inputs) or not teacher.is_comparable(task):
        raise UserError(
            f"{setting}: predicts {teacher.describe_labels()} from {' and '.join(teacher.text_inputs)}, should be "
            f"{task.describe_labels()} from {' and '.join(task.text_inputs)}, as data.labels and data.text say"
        )
    return digest


def fingerprint(folders: Sequence[str]) -> str:
    """Returns a digest of the teachers' files; folders without models are found by `check`."""
    digests = [model_files.tree_sha256(folder) if os.path.isdir(folder) else "" for folder in folders]
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def compute_logits(folder: str, rows: Sequence[tuple[bytes, ...]], what: str) -> np.ndarray:
    """Computes the logits of an exported model in batches of rows of similar length.

    Args:
      folder: the model's folder.
      rows: UTF-8 texts of each row, at least one row.
      what: what the progress says of the rows.

    Returns:
      float32[n, head_units].
    """
    import tensorflow as tf
    import tensorflow_text  # noqa: F401  Registers the ops inside the model.

    model: Any = tf.saved_model.load(folder)
    order = sorted(range(len(rows)), key=lambda row: sum(map(len, rows[row])))
    logits = []
    for start in range(0, len(order), _BATCH_ROWS):
        progress.report(what, start, len(order))
        columns = zip(*(rows[row] for row in order[start : start + _BATCH_ROWS]), strict=True)
        logits.append(model(*(tf.constant(column) for column in columns)).numpy())
    return np.concatenate(logits)[np.argsort(order)]
