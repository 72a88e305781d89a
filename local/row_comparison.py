"""Compares two models on the same test rows. Imports TensorFlow."""

import dataclasses
import heapq
import os
from typing import Any, Sequence

from artifacts import examples
from core import intervals
from core.errors import UserError
from local import comparison, prediction, served_model
from local.history import Run
from schema import features
from schema.task import Task

# Rows of each side that are shown; all are counted.
SHOWN_ROWS = 20


@dataclasses.dataclass(frozen=True)
class DifferentRow:
    """A test row that one model gets right and the other wrong; `a` and `b` are the values of the answers."""

    id: str
    text: str
    label: str
    a: tuple[Any, ...]
    b: tuple[Any, ...]


def compare_rows(a: Run, b: Run, root: str) -> dict[str, Any]:
    """Predicts the test rows of the second run with the models of both.

    Args:
      a: the first run.
      b: the second run; `comparison.describe_obstacle` returns None for both.
      root: the run root.

    Returns:
      `rows`, the number of test rows; `fixed_count` and `fixed`, those that only the second model gets right, at most
      `SHOWN_ROWS`, the worst mistake first; `broken_count` and `broken`, those that only the first gets right;
      `interval`, the 95 % confidence interval of the difference in accuracy.

    Raises:
      UserError: a model can't be loaded, or they take other inputs or predict other labels.
    """
    models = [served_model.load(comparison.model_folder(run), root) for run in (a, b)]
    task, other = (model.card.task for model in models)
    check_comparable(task, other)
    pattern = os.path.join(comparison.test_examples(b) or "", "*")
    count = 0
    fixed: list[tuple[float, DifferentRow]] = []
    broken: list[tuple[float, DifferentRow]] = []
    for ids, texts, labels in examples.read_rows([pattern], prediction.CHUNK_ROWS):
        count += len(ids)
        decoded = [tuple(text.decode("utf-8") for text in row) for row in texts]
        answers = [[each.values for each in model.predict(decoded)] for model in models]
        for row_id, row_texts, label, first, second in zip(ids, decoded, labels.tolist(), *answers, strict=True):
            if task.is_right(label, first) != task.is_right(label, second):
                side, wrong = (fixed, first) if task.is_right(label, second) else (broken, second)
                shown = task.format_label(label), tuple(first.values()), tuple(second.values())
                row = DifferentRow(row_id.decode("utf-8", "replace"), features.show_texts(row_texts), *shown)
                side.append((task.rate_mistake(label, wrong), row))
    return {
        "rows": count,
        **_side("fixed", fixed),
        **_side("broken", broken),
        "interval": intervals.paired_difference(len(fixed), len(broken), count) if count else None,
    }


def check_comparable(task: Task, other: Task) -> None:
    """Checks that models of two tasks can answer the same rows, and their answers be compared.

    Raises:
      UserError: they take other inputs or predict other labels.
    """
    if task.text_inputs != other.text_inputs:
        raise UserError(f"the models take other inputs: {', '.join(task.text_inputs)}; {', '.join(other.text_inputs)}")
    if not task.is_comparable(other):
        raise UserError(f"the models predict other labels: {task.describe_labels()}; {other.describe_labels()}")


def _side(name: str, rows: Sequence[tuple[float, DifferentRow]]) -> dict[str, Any]:
    """Returns the count and the rows with the worst mistakes."""
    worst = heapq.nlargest(SHOWN_ROWS, range(len(rows)), key=lambda index: rows[index][0])
    return {f"{name}_count": len(rows), name: [dataclasses.asdict(rows[index][1]) for index in worst]}
