"""The task to learn, and everything that depends on what is predicted.

| `data.task`      | labels                     | module          | head                                            |
|------------------|----------------------------|-----------------|-------------------------------------------------|
| `classification` | two classes                | `binary.py`     | one logit, sigmoid                              |
| `classification` | more classes               | `multiclass.py` | a logit per class, softmax                      |
| `ordinal`        | classes in order           | `ordinal.py`    | a logit per step from a class to the next       |
| `regression`     | a number in a range        | `score.py`      | one logit, sigmoid, scaled to the range         |

A `Task` owns label values and their type, head size, loss, metrics with the defaults of their bounds, served outputs,
the columns of `predict`, and the names of the report's plots. Other modules take these from it and never ask which task
it is. What needs Beam or matplotlib is named by the task and implemented in `components.model_gate` (metrics) and
`components.run_report` (plots).

TensorFlow is imported inside the methods that need it, so that reading a configuration stays fast.
"""

import dataclasses
import os
from typing import Any, Mapping, Optional, Sequence

from schema import features
from schema.labels import Case, Labels
from schema.task.base import EvaluationMetric, Label, Task
from schema.task.binary import BinaryTask
from schema.task.multiclass import MulticlassTask
from schema.task.ordinal import OrdinalTask
from schema.task.score import ScoreTask

__all__ = [
    "KINDS",
    "BinaryTask",
    "EvaluationMetric",
    "Label",
    "MulticlassTask",
    "OrdinalTask",
    "ScoreTask",
    "Task",
    "curated_schema",
    "make_task",
    "task_from_json",
    "task_to_json",
]

CLASSIFICATION, ORDINAL, REGRESSION = "classification", "ordinal", "regression"

# Values of `data.task`.
KINDS = (CLASSIFICATION, ORDINAL, REGRESSION)

# Curated schemas beside this package, which differ in the type of the label.
_SCHEMAS = {REGRESSION: "score_schema.pbtxt"}

_CLASSES = {task.kind: task for task in (BinaryTask, MulticlassTask, OrdinalTask, ScoreTask)}


def make_task(
    text_columns: Sequence[str],
    labels: Mapping[str, str],
    kind: str = CLASSIFICATION,
    score_range: Optional[Sequence[float]] = None,
    ignore_labels: Sequence[str] = (),
    label_case: Case = "exact",
) -> Task:
    """Chooses the task for the columns and labels of a configuration.

    Args:
      text_columns: names of the text columns, in the encoder's order.
      labels: value in the file -> class name, in class order; ignored by `regression`.
      kind: one of `KINDS`.
      score_range: smallest and largest label of `regression`.
      ignore_labels: values in the file whose rows are left out; not for `regression`.
      label_case: as in `schema.labels.Labels`; not for `regression`.

    Raises:
      ValueError: the combination is not supported.
    """
    if not 1 <= len(text_columns) <= len(features.TEXTS):
        raise ValueError(f"{len(text_columns)} text columns: should be one, or two for pairs of texts")
    if len(set(text_columns)) != len(text_columns):
        raise ValueError(f"text: {text_columns[0]!r} is named twice; a pair has two columns")
    columns = tuple(text_columns)
    if kind == REGRESSION:
        if ignore_labels or label_case != "exact":
            raise ValueError("ignore_labels, label_case: have no effect with task = regression; remove them")
        if score_range is None:
            raise ValueError("score_range: is missing; set it to the smallest and the largest label, such as [0, 5]")
        return ScoreTask(columns, *score_range)
    if score_range is not None:
        raise ValueError(f"score_range: has no effect with task = {kind}; set task: regression, or remove it")
    values = Labels(dict(labels), tuple(ignore_labels), label_case)
    classes = len(values.classes)
    if classes < 2:
        raise ValueError(f"labels: {classes} class; at least two are needed")
    task = OrdinalTask if kind == ORDINAL else BinaryTask if classes == 2 else MulticlassTask
    return task(columns, values.names, values.ignored, values.case)


def curated_schema(kind: str) -> str:
    """Returns the path of the curated schema for a value of `data.task`."""
    return os.path.join(os.path.dirname(os.path.dirname(__file__)), _SCHEMAS.get(kind, "schema.pbtxt"))


def task_to_json(task: Task) -> dict[str, Any]:
    """Returns a task as JSON values, for `task_from_json`.

    Labels become pairs: their order is that of the classes, and TFX sorts the keys of a Trainer's configuration.
    """
    fields = dataclasses.asdict(task)
    if "labels" in fields:
        fields["labels"] = list(fields["labels"].items())
    return fields


def task_from_json(spec: Mapping[str, Any]) -> Task:
    """Rebuilds a task from the result of `task_to_json` or `dataclasses.asdict`.

    Models of earlier releases have no `kind` in their card; all of them are binary.
    """
    fields = dict(spec)
    task = _CLASSES[fields.pop("kind", BinaryTask.kind)]
    if "labels" in fields:
        fields["labels"] = dict(fields["labels"])
    if "ignore_labels" in fields:
        fields["ignore_labels"] = tuple(fields["ignore_labels"])
    return task(tuple(fields.pop("text_columns")), **fields)
