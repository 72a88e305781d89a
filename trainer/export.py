"""The exported model, from text to prediction, with the encoder's own tokenisation inside.

| signature          | input                                                       | output                    |
|--------------------|-------------------------------------------------------------|---------------------------|
| `serving_default`  | `text` string[batch]; for pairs also `text_pair`, the same  | the task's served outputs |
| `serving_examples` | `examples` string[batch], `tf.Example`                      | the same                  |

The loaded model is itself callable: texts -> logits float32[batch, head_units]. Its `tokenize` returns the tokens of
texts, its `count_tokens` says which ones are longer than the model reads, and its `pack` returns the encoder's inputs,
for those who compute the rest elsewhere; none of them is a signature.
"""

from typing import Mapping, Optional

import tensorflow as tf

from schema.task import Task
from trainer import bert, inference
from trainer.model import Classifier
from trainer.packing import Packer
from trainer.tokens import MASK

# Changes with what is exported, so that TFX's cache returns no model of an earlier release.
FORMAT = 3


class ServedClassifier(tf.Module):
    """A classifier behind text signatures, with only those parts of the preprocess model that these use."""

    def __init__(self, packer: Packer, classifier: Classifier, task: Task):
        super().__init__()
        self._packer = packer
        self._resources = packer.resources
        self._classifier = _for_inference(classifier)
        self._task = task
        texts = [tf.TensorSpec([None], tf.string, name) for name in task.text_inputs]
        # An attribute, and not a method: the signature depends on the task.
        self.__call__ = tf.function(self._logits, input_signature=texts)
        self.predict_text = tf.function(self._predict, input_signature=texts)
        self.pack = tf.function(self._pack, input_signature=texts)
        self.tokenize = tf.function(self._tokenize, input_signature=texts[:1])
        self.count_tokens = tf.function(self._count, input_signature=texts)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "examples")])
    def predict_examples(self, examples: tf.Tensor) -> Mapping[str, tf.Tensor]:
        """Predicts from serialised `tf.Example`s string[batch]."""
        spec = {name: tf.io.FixedLenFeature([], tf.string) for name in self._task.text_features}
        parsed = tf.io.parse_example(examples, spec)
        return self._predict(*(parsed[name] for name in self._task.text_features))

    def _predict(self, text: tf.Tensor, text_pair: Optional[tf.Tensor] = None) -> Mapping[str, tf.Tensor]:
        """Computes the served outputs; arguments as in `_logits`."""
        return self._task.served_outputs(self._logits(text, text_pair))

    def _logits(self, text: tf.Tensor, text_pair: Optional[tf.Tensor] = None) -> tf.Tensor:
        """Computes logits from texts string[batch], or both texts of pairs; invalid UTF-8 is read as U+FFFD."""
        return self._classifier(self._pack(text, text_pair))

    def _pack(self, text: tf.Tensor, text_pair: Optional[tf.Tensor] = None) -> Mapping[str, tf.Tensor]:
        """Returns the encoder's inputs int32[batch, longest row] by name; arguments as in `_logits`."""
        return _trim(self._packer.pack(_readable(text, text_pair)))

    def _tokenize(self, text: tf.Tensor) -> tf.RaggedTensor:
        """Returns the tokens int[batch, (tokens)] of texts string[batch], without [CLS] and [SEP], before any cut."""
        return self._packer.tokenize(*_readable(text, None))

    def _count(self, text: tf.Tensor, text_pair: Optional[tf.Tensor] = None) -> tf.Tensor:
        """Counts the tokens int64[batch] of rows, [CLS] and [SEP] included, before any cut."""
        texts = _readable(text, text_pair)
        lengths = [self._packer.tokenize(each).row_lengths() for each in texts]
        # A [SEP] after each text, and [CLS].
        return tf.add_n(lengths) + len(texts) + 1


def _for_inference(classifier: Classifier) -> Classifier:
    """Returns the same classifier for less work, if its encoder is a BERT."""
    if not isinstance(classifier.encoder, bert.Bert):
        return classifier
    return Classifier(inference.FoldedBert(classifier.encoder), classifier.head)


def _readable(text: tf.Tensor, text_pair: Optional[tf.Tensor]) -> list[tf.Tensor]:
    """Replaces invalid UTF-8 by U+FFFD; fails if the two inputs of pairs have different numbers of rows."""
    texts = [text] if text_pair is None else [text, text_pair]
    return tf.unstack(tf.strings.unicode_transcode(tf.stack(texts), "UTF-8", "UTF-8", errors="replace"))


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
