"""Compares served outputs with the task's signature and with each other."""

from typing import Mapping, Optional

import numpy as np
import tensorflow as tf

from components.serving_validator.answers import Output
from schema.task import Task

# Served output -> (name of its dtype, its shape without the batch).
Signature = Mapping[str, tuple[str, tuple[int, ...]]]
# Served output -> float64[rows, ...], or str[rows, ...].
Rows = Mapping[str, np.ndarray]

_WORDS = tf.string.name


def served_signature(task: Task) -> Signature:
    """Returns the signature that a model of the task should serve."""
    outputs = task.served_outputs(tf.zeros([1, task.head_units]))
    return {name: (tensor.dtype.name, tuple(tensor.shape[1:])) for name, tensor in outputs.items()}


def numeric_outputs(task: Task) -> list[str]:
    """Returns the names of the served outputs that are numbers; the others are words that follow from them."""
    return [name for name, (dtype, _) in served_signature(task).items() if dtype != _WORDS]


def find_fault(outputs: Mapping[str, Output], batch: int, task: Task) -> Optional[str]:
    """Returns what is wrong with the outputs for a batch, or None.

    Args:
      outputs: the served outputs.
      batch: number of texts in the request.
      task: the task of the model.
    """
    for name, (dtype, shape) in served_signature(task).items():
        if name not in outputs:
            return f"output {name!r} is missing; the outputs are {sorted(outputs)}"
        output, expected = outputs[name], (batch, *shape)
        if output.dtype not in (dtype, "") or output.values.shape != expected:
            return f"{name} is {output.dtype}{list(output.values.shape)}, should be {dtype}{list(expected)}"
        if dtype != _WORDS and not _are_finite(output.values):
            return f"{name} is not finite"
    return _find_implausible({name: output.values for name, output in outputs.items()}, task)


def difference(ours: Rows, theirs: Rows, task: Task) -> float:
    """Returns the largest difference between two answers to the same rows.

    The difference of numbers is absolute up to 1 and relative beyond, because a float's precision is relative. Labels
    are compared by their probability, so that different labels near the threshold count as a small difference.
    """
    differences = [
        np.abs(ours[name] - theirs[name]) / np.maximum(1.0, np.abs(theirs[name]))
        for name, (dtype, _) in served_signature(task).items()
        if tf.as_dtype(dtype).is_floating
    ]
    differences.append(np.abs(task.answer_shares(ours) - task.answer_shares(theirs)))
    # np.max, not max, which can drop a NaN.
    return float(np.max([np.max(difference, initial=0.0) for difference in differences]))


def _are_finite(values: np.ndarray) -> bool:
    return np.issubdtype(values.dtype, np.number) and bool(np.isfinite(values).all())


def _find_implausible(rows: Rows, task: Task) -> Optional[str]:
    try:
        shares = task.answer_shares(rows)
    except IndexError:
        return "a label is outside the task's labels"
    if not ((shares >= 0.0) & (shares <= 1.0)).all():
        return task.implausible
    return task.find_misnamed(rows)
