"""A model that a pipeline exported, loaded to answer on this machine."""

import dataclasses
from typing import Any, Optional, Sequence, Union

import numpy as np
import tensorflow as tf
import tensorflow_text  # noqa: F401  Registers the ops inside the model.

from artifacts import model_card
from core.errors import UserError, first_line
from local import engines, predictions, serving
from local.engines import choice

_BATCH_ROWS = 128
# Of 32 or 64 reviews that arrive together, batches of 16 of similar length take two thirds of the time of one that is
# padded to the longest; smaller ones do not pay. Neighbours in a sorted file differ less and stay together.
_SMALL_BATCH_ROWS, _SIMILAR = 16, 1.25
SIGNATURE = "serving_default"
# [CLS], [SEP], and the start of a text for SentencePiece; for each text of a pair, one more than needed.
_ADDED_TOKENS = 3

# The texts of a row: one, or the two of a pair.
Texts = tuple[str, ...]

# The values of a signature's inputs.
Row = Union[Texts, tuple[bytes, ...]]


@dataclasses.dataclass(frozen=True)
class Model:
    """A served model with its card."""

    folder: str
    # Kept, because a signature has only weak references to the variables of its SavedModel.
    loaded: Any
    card: model_card.ModelCard
    # Computes `SIGNATURE`; None for TensorFlow.
    engine: Optional[choice.Engine] = None

    def predict(self, rows: Sequence[Texts]) -> list[predictions.Prediction]:
        """Returns the prediction of each row, in order."""
        return predictions.read_outputs(self.card.task, self.compute(rows)) if rows else []

    def compute(self, rows: Sequence[Row], signature: str = SIGNATURE) -> dict[str, np.ndarray]:
        """Returns the outputs of a signature by name, [rows, ...] each, in the order of the rows.

        Args:
          rows: the values of the signature's inputs, in the order of `inputs`; at least one row.
          signature: name of the signature.
        """
        batches = group([sum(map(len, row)) for row in rows])
        outputs = [self._compute_batch([rows[index] for index in batch], signature) for batch in batches]
        original = np.argsort(np.concatenate(batches))
        return {name: np.concatenate([batch[name] for batch in outputs])[original] for name in outputs[0]}

    def inputs(self, signature: str = SIGNATURE) -> tuple[str, ...]:
        """Returns the names of a signature's inputs, of which a pair's are in the order of its texts."""
        names = self.loaded.signatures[signature].structured_input_signature[1]
        return tuple(sorted(names, key=[*self.card.task.text_inputs, *names].index))

    def count_tokens(self, rows: Sequence[Row]) -> Optional[list[int]]:
        """Returns the number of tokens of each row before any cut; None for a model of an earlier release."""
        if self.card.max_length is None or not rows:
            return None
        return self.loaded.count_tokens(*_columns(rows)).numpy().tolist()

    def count_cut(self, rows: Sequence[Texts]) -> int:
        """Returns how many rows have more tokens than the model reads; 0 for a model of an earlier release."""
        limit = self.card.max_length
        if limit is None:
            return 0
        # A token has at least one byte (but for rare ligatures that ALBERT's tokeniser spells out), so most reviews
        # need not be tokenised a second time.
        long = [row for row in rows if sum(len(text.encode()) + _ADDED_TOKENS for text in row) > limit]
        return sum(count > limit for count in self.count_tokens(long) or ())

    def _compute_batch(self, rows: Sequence[Row], signature: str) -> dict[str, np.ndarray]:
        if self.engine is not None and signature == SIGNATURE:
            return self.engine.compute(_columns(rows))
        inputs = dict(zip(self.inputs(signature), _columns(rows), strict=True))
        return {name: tensor.numpy() for name, tensor in self.loaded.signatures[signature](**inputs).items()}


def group(lengths: Sequence[int]) -> list[list[int]]:
    """Divides rows into batches of similar length, which need little padding.

    Args:
      lengths: of each row; at least one.

    Returns:
      Indices of the rows, each in one batch, the shortest first.
    """
    batches: list[list[int]] = [[]]
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        batch = batches[-1]
        is_longer = len(batch) >= _SMALL_BATCH_ROWS and lengths[index] > _SIMILAR * lengths[batch[0]]
        if is_longer or len(batch) == _BATCH_ROWS:
            batches.append(batch := [])
        batch.append(index)
    return batches


def _columns(rows: Sequence[Row]) -> list[tf.Tensor]:
    """Returns the first texts of rows string[batch], and the second ones of pairs."""
    return [tf.constant(column) for column in zip(*rows, strict=True)]


def load(folder: Optional[str], root: str, engine: str = engines.TENSORFLOW) -> Model:
    """Loads a model that a pipeline exported.

    Args:
      folder: the model's folder; None for the newest model pushed under the run root.
      root: the run root.
      engine: what computes its answers, one of `engines.NAMES`.

    Raises:
      UserError: the model is missing or damaged, or the engine can't compute it.
    """
    folder = folder or serving.newest_model(root)
    card = model_card.read(folder)
    try:
        model = Model(folder, tf.saved_model.load(folder), card)
        model.predict([("a",) * len(card.task.text_inputs)])
    except Exception as error:  # A damaged SavedModel can raise any error.
        raise UserError(
            f"--model {folder}: can't be loaded, its files are damaged or incomplete ({first_line(error)}); set "
            "--model to another version, or push the model again"
        ) from error
    made = choice.make_engine(engine, folder, model.loaded, card.task, model.compute)
    return dataclasses.replace(model, engine=made)
