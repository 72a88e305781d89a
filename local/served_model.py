"""A model that a pipeline exported, loaded to answer on this machine."""

import dataclasses
from typing import Any, Mapping, Optional, Sequence

import numpy as np
import tensorflow as tf
import tensorflow_text  # noqa: F401  Registers the ops inside the model.

from artifacts import model_card
from core.errors import UserError
from local import serving

_BATCH_ROWS = 128
_SIGNATURE = "serving_default"
# [CLS], [SEP], and the start of a text for SentencePiece; for each text of a pair, one more than needed.
_ADDED_TOKENS = 3
# Of an error of TensorFlow: the others describe its graph.
_SHOWN_CHARACTERS = 200

# The texts of a row: one, or the two of a pair.
Texts = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Prediction:
    """The answer to one row.

    Attributes:
      values: `Task.answer_columns` -> value, such as the name of the predicted class and its probability.
      class_probabilities: probability of every class, in the order of the task's label names; empty for a score.
    """

    values: Mapping[str, Any]
    class_probabilities: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Model:
    """A served model with its card."""

    folder: str
    # Kept, because a signature has only weak references to the variables of its SavedModel.
    loaded: Any
    card: model_card.ModelCard

    def predict(self, rows: Sequence[Texts]) -> list[Prediction]:
        """Returns the prediction of each row, in order."""
        # Batches of similar length need little padding.
        order = np.argsort([sum(map(len, row)) for row in rows], kind="stable")
        predictions: dict[int, Prediction] = {}
        for start in range(0, len(order), _BATCH_ROWS):
            batch = order[start : start + _BATCH_ROWS]
            predictions.update(zip(batch, self._predict_batch([rows[index] for index in batch]), strict=True))
        return [predictions[index] for index in range(len(rows))]

    def count_cut(self, rows: Sequence[Texts]) -> int:
        """Returns how many rows have more tokens than the model reads; 0 for a model of an earlier release."""
        limit = self.card.max_length
        if limit is None:
            return 0
        # A token has at least one byte (but for rare ligatures that ALBERT's tokeniser spells out), so most reviews
        # need not be tokenised a second time.
        long = [row for row in rows if sum(len(text.encode()) + _ADDED_TOKENS for text in row) > limit]
        return int(np.sum(self.loaded.count_tokens(*_columns(long)).numpy() > limit)) if long else 0

    def _predict_batch(self, rows: Sequence[Texts]) -> list[Prediction]:
        inputs = dict(zip(self.card.task.text_inputs, _columns(rows), strict=True))
        tensors = self.loaded.signatures[_SIGNATURE](**inputs)
        outputs = {name: tensor.numpy() for name, tensor in tensors.items()}
        task = self.card.task
        answers = zip(task.answers(outputs), task.class_probabilities(outputs).tolist(), strict=True)
        return [Prediction(values, tuple(classes)) for values, classes in answers]


def _columns(rows: Sequence[Texts]) -> list[tf.Tensor]:
    """Returns the first texts of rows string[batch], and the second ones of pairs."""
    return [tf.constant(column) for column in zip(*rows, strict=True)]


def load(folder: Optional[str], root: str) -> Model:
    """Loads a model that a pipeline exported.

    Args:
      folder: the model's folder; None for the newest model pushed under the run root.
      root: the run root.

    Raises:
      UserError: there is no model, or it can't be loaded.
    """
    folder = folder or serving.newest_model(root)
    card = model_card.read(folder)
    try:
        model = Model(folder, tf.saved_model.load(folder), card)
        model.predict([("a",) * len(card.task.text_inputs)])
    except Exception as error:  # A damaged SavedModel can raise any error.
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:_SHOWN_CHARACTERS]
        raise UserError(
            f"--model {folder}: can't be loaded, its files are damaged or incomplete ({reason}); set --model to "
            "another version, or push the model again"
        ) from error
    return model
