"""Compares two models on the same test rows. Imports TensorFlow."""

import dataclasses
import heapq
import os
from typing import Any, Optional, Sequence

from artifacts import examples
from core import intervals
from core.errors import UserError
from local import comparison, prediction, served_model
from local.history import Run
from schema import features

# Rows of each side that are shown; all are counted.
SHOWN_ROWS = 20

# A label name and its probability.
Score = tuple[str, float]


@dataclasses.dataclass(frozen=True)
class DifferentRow:
    """A test row that one model gets right and the other wrong."""

    id: str
    text: str
    label: str
    a: Score
    b: Score


def compare_rows(a: Run, b: Run, root: str) -> dict[str, Any]:
    """Predicts the test rows of the second run with the models of both.

    Args:
      a: the first run.
      b: the second run; `comparison.describe_obstacle` returns None for both.
      root: the run root.

    Returns:
      `rows`, the number of test rows; `fixed_count` and `fixed`, those that only the second model gets right, at most
      `SHOWN_ROWS`, the most certain mistake first; `broken_count` and `broken`, those that only the first gets right;
      `interval`, the 95 % confidence interval of the difference in accuracy.

    Raises:
      UserError: a model can't be loaded, or their inputs or label names differ.
    """
    models = [served_model.load(comparison.model_folder(run), root) for run in (a, b)]
    inputs, other_inputs = (model.card.task.text_inputs for model in models)
    if inputs != other_inputs:
        raise UserError(f"the models take other inputs: {', '.join(inputs)}; {', '.join(other_inputs)}")
    names, other_names = (model.card.task.label_names for model in models)
    if names != other_names:
        raise UserError(f"the models predict other labels: {', '.join(names)}; {', '.join(other_names)}")
    pattern = os.path.join(comparison.test_examples(b) or "", "*")
    count = 0
    fixed: list[DifferentRow] = []
    broken: list[DifferentRow] = []
    for ids, texts, labels in examples.read_rows([pattern], prediction.CHUNK_ROWS):
        count += len(ids)
        decoded = [tuple(text.decode("utf-8") for text in row) for row in texts]
        scores = [[(each.label, each.probability) for each in model.predict(decoded)] for model in models]
        for row in zip(ids, decoded, labels, *scores, strict=True):
            different = _different_row(names, *row)
            if different is not None:
                (fixed if different.b[0] == different.label else broken).append(different)
    return {
        "rows": count,
        **_side("fixed", fixed, [row.a[1] for row in fixed]),
        **_side("broken", broken, [row.b[1] for row in broken]),
        "interval": intervals.paired_difference(len(fixed), len(broken), count) if count else None,
    }


def _different_row(
    names: Sequence[str], row_id: bytes, texts: Sequence[str], label: int, a: Score, b: Score
) -> Optional[DifferentRow]:
    name = names[label]
    if (a[0] == name) == (b[0] == name):
        return None
    return DifferentRow(row_id.decode("utf-8", "replace"), features.show_texts(texts), name, a, b)


def _side(name: str, rows: Sequence[DifferentRow], mistakes: Sequence[float]) -> dict[str, Any]:
    """Returns the count and the rows with the most certain mistakes."""
    order = heapq.nlargest(SHOWN_ROWS, range(len(rows)), key=mistakes.__getitem__)
    return {f"{name}_count": len(rows), name: [dataclasses.asdict(rows[index]) for index in order]}
