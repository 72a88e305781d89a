"""What the outputs of a model mean."""

import dataclasses
from typing import Any, Mapping

import numpy as np

from schema.task import Task


@dataclasses.dataclass(frozen=True)
class Prediction:
    """The answer to one row.

    Attributes:
      values: `Task.answer_columns` -> value, such as the name of the predicted class and its probability.
      class_probabilities: probability of every class, in the order of the task's label names; empty for a score.
    """

    values: Mapping[str, Any]
    class_probabilities: tuple[float, ...]


def read_outputs(task: Task, outputs: Mapping[str, np.ndarray]) -> list[Prediction]:
    """Returns the predictions that the outputs of a signature mean, [rows, ...] each."""
    answers = zip(task.answers(outputs), task.class_probabilities(outputs).tolist(), strict=True)
    return [Prediction(values, tuple(classes)) for values, classes in answers]
