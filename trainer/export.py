"""The exported model, from text to prediction, with the encoder's own tokenisation inside.

| signature          | input                                    | output                        |
|--------------------|------------------------------------------|-------------------------------|
| `serving_default`  | `text` string[batch]                     | the task's served outputs     |
| `serving_examples` | `examples` string[batch], `tf.Example`   | the same                      |

`count_tokens` of the loaded model, which is not a signature, says which texts are longer than the model reads.
"""

from typing import Any, Mapping

import tensorflow as tf

from schema import features
from schema.task import Task
from trainer.model import Classifier
from trainer.tokens import MASK

# [CLS] and [SEP], which the packer adds.
_SPECIAL_TOKENS = 2


class ServedClassifier(tf.Module):
    """A classifier behind text signatures."""

    def __init__(self, preprocess: Any, classifier: Classifier, task: Task, max_length: int):
        super().__init__()
        self._preprocess = preprocess
        self._classifier = classifier
        self._task = task
        self._max_length = max_length

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
    def predict_text(self, text: tf.Tensor) -> Mapping[str, tf.Tensor]:
        """Predicts from texts string[batch]; invalid UTF-8 is read as U+FFFD."""
        tokens = self._tokenize(text)
        packed = self._preprocess.bert_pack_inputs([tokens], seq_length=tf.constant(self._max_length))
        return self._task.served_outputs(self._classifier(_trim(packed)))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "examples")])
    def predict_examples(self, examples: tf.Tensor) -> Mapping[str, tf.Tensor]:
        """Predicts from serialised `tf.Example`s string[batch]."""
        spec = {features.DOCUMENT: tf.io.FixedLenFeature([], tf.string)}
        return self.predict_text(tf.io.parse_example(examples, spec)[features.DOCUMENT])

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
    def count_tokens(self, text: tf.Tensor) -> tf.Tensor:
        """Counts the tokens int64[batch] of texts string[batch], [CLS] and [SEP] included, before any cut."""
        words = self._tokenize(text)
        return words.merge_dims(1, -1).row_lengths() + _SPECIAL_TOKENS

    def _tokenize(self, text: tf.Tensor) -> tf.RaggedTensor:
        """Returns the word pieces int32[batch, (words), (pieces)] of texts string[batch]."""
        return self._preprocess.tokenize(tf.strings.unicode_transcode(text, "UTF-8", "UTF-8", errors="replace"))


def _trim(packed: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Trims int32[batch, max_length] inputs to the batch's longest row; an empty batch keeps one column."""
    longest = tf.maximum(tf.reduce_max(tf.reduce_sum(packed[MASK], axis=1)), 1)
    return {name: tensor[:, :longest] for name, tensor in packed.items()}


def export(folder: str, served: ServedClassifier) -> None:
    """Writes the SavedModel."""
    tf.saved_model.save(
        served,
        folder,
        signatures={"serving_default": served.predict_text, "serving_examples": served.predict_examples},
    )
