"""What a model's answers should be, and how far two of them lie apart."""

from typing import Mapping, Optional

import numpy as np
import tensorflow as tf

from components.serving_validator.answers import Output
from schema.task import Task

# Served output -> (name of its dtype, its shape without the batch).
Signature = Mapping[str, tuple[str, tuple[int, ...]]]
# Served output -> float64[rows, ...].
Rows = Mapping[str, np.ndarray]


def served_signature(task: Task) -> Signature:
    """The outputs that a model of the task should serve."""
    outputs = task.served_outputs(tf.zeros([1, task.head_units]))
    return {name: (tensor.dtype.name, tuple(tensor.shape[1:])) for name, tensor in outputs.items()}


def fault(outputs: Mapping[str, Output], batch: int, task: Task) -> Optional[str]:
    """What is wrong with the outputs for a batch, or None.

    Args:
      outputs: as served.
      batch: number of texts that were sent.
      task: whose outputs these should be.
    """
    for name, (dtype, shape) in served_signature(task).items():
        if name not in outputs:
            return f"there is no output {name!r} among {sorted(outputs)}"
        output, wanted = outputs[name], (batch, *shape)
        if output.dtype not in (dtype, "") or output.values.shape != wanted:
            return f"{name} is {output.dtype}{list(output.values.shape)}, should be {dtype}{list(wanted)}"
        if not np.isfinite(output.values).all():
            return f"{name} is not a finite number"
    return _implausible({name: output.values for name, output in outputs.items()}, task)


def difference(ours: Rows, theirs: Rows, task: Task) -> float:
    """The largest difference between two answers to the same rows, 0 where there is none.

    Numbers are compared as they are up to 1 and relative to their size beyond, since a float's precision is
    relative. Integers are compared by the probability that they stand for: a label that turns over differs
    by next to nothing at the boundary, by much elsewhere.
    """
    differences = [
        np.abs(ours[name] - theirs[name]) / np.maximum(1.0, np.abs(theirs[name]))
        for name, (dtype, _) in served_signature(task).items()
        if tf.as_dtype(dtype).is_floating
    ]
    ours_predicted, theirs_predicted = ([p for _, p in task.predictions(rows)] for rows in (ours, theirs))
    differences.append(np.abs(np.subtract(ours_predicted, theirs_predicted)))
    # np.max, not max: a NaN should come through.
    return float(np.max([np.max(difference, initial=0.0) for difference in differences]))


def _implausible(rows: Rows, task: Task) -> Optional[str]:
    try:
        probabilities = [probability for _, probability in task.predictions(rows)]
    except IndexError:
        return "an answer's label is none of the task's"
    if not all(0.0 <= probability <= 1.0 for probability in probabilities):
        return "an answer's probability is outside 0 to 1"
    return None
