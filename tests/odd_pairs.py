"""Tiny pairs of SavedModels that TF Hub's common text API allows and that differ from tf-models' BERT, for tests."""

import os

import numpy as np
import tensorflow as tf
import tensorflow_text as tf_text

from artifacts import encoder as encoder_artifact
from tests import encoders
from trainer.tokens import MASK, TYPE_IDS, WORD_IDS

HIDDEN = 8
# Ids of [PAD], [UNK], [CLS], [SEP], and of the letters after them.
_FIRST_LETTER = 4
LETTERS = 120


class Bag(tf.train.Checkpoint):
    """An encoder whose sequence output is the sum of word and position embeddings, and that has no layers.

    It outputs the page's three names only: `pooled_output`, `default` and `sequence_output`. Not a `tf.Module`, which
    lists its trainable variables itself.
    """

    def __init__(self, positions: int, training: bool, pooled: bool, trainable: bool, unused_pooler: bool):
        """Makes an encoder.

        Args:
          positions: number of position embeddings.
          training: whether the call has the argument `training`.
          pooled: whether there is a `pooled_output` besides `default`.
          trainable: whether it has trainable variables.
          unused_pooler: whether one of them is a matrix that no output depends on.
        """
        super().__init__()
        draw = np.random.default_rng(0).normal
        self.words = tf.Variable(draw(size=(LETTERS, HIDDEN)).astype(np.float32), name="word_embeddings")
        self.positions = tf.Variable(draw(size=(positions, HIDDEN)).astype(np.float32), name="position_embeddings")
        self.pooler = tf.Variable(tf.eye(HIDDEN), name="kernel")
        self.variables = [self.words, self.positions, self.pooler]
        # First, so that leaving out another variable than the unused one would be noticed.
        trained = [self.pooler, self.words, self.positions] if unused_pooler else [self.words, self.positions]
        self.trainable_variables = trained if trainable else []
        self.regularization_losses: list[tf.Tensor] = []
        self._pooled = pooled
        inputs = {name: tf.TensorSpec([None, None], tf.int32) for name in (WORD_IDS, MASK, TYPE_IDS)}
        if training:
            self.__call__ = tf.function(
                lambda inputs, training: self._encode(inputs), input_signature=[inputs, tf.TensorSpec([], tf.bool)]
            )
        else:
            self.__call__ = tf.function(lambda inputs: self._encode(inputs), input_signature=[inputs])

    def _encode(self, inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        length = tf.shape(inputs[WORD_IDS])[1]
        sequence = tf.gather(self.words, inputs[WORD_IDS]) + self.positions[:length]
        mask = tf.cast(inputs[MASK], tf.float32)[:, :, None]
        default = tf.tanh(tf.reduce_sum(sequence * mask, 1) / (tf.reduce_sum(mask, 1) + 1e-6))
        return {"default": default, "sequence_output": sequence, **({"pooled_output": default} if self._pooled else {})}


class Letters(tf.Module):
    """A preprocess model with a token for each letter, which does not tell its special tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.tokenize = tf.Module()
        texts = tf.TensorSpec([None], tf.string)
        self.tokenize.__call__ = tf.function(self._tokenize, input_signature=[texts])
        rows = tf.RaggedTensorSpec([None, None], tf.int32, 1)
        self.bert_pack_inputs = tf.function(
            lambda inputs, seq_length: self._pack(inputs[0], seq_length),
            input_signature=[[rows], tf.TensorSpec([], tf.int32)],
        )
        self.__call__ = tf.function(lambda texts: self._pack(self._tokenize(texts), 128), input_signature=[texts])

    def _tokenize(self, texts: tf.Tensor) -> tf.RaggedTensor:
        letters = tf.strings.unicode_decode(texts, "UTF-8")
        return tf.ragged.map_flat_values(lambda ids: ids % (LETTERS - _FIRST_LETTER) + _FIRST_LETTER, letters)

    def _pack(self, tokens: tf.RaggedTensor, length: tf.Tensor) -> dict[str, tf.Tensor]:
        word_ids, type_ids = tf_text.combine_segments([tokens[:, : length - 2]], 2, 3)
        padded, mask = tf_text.pad_model_inputs(word_ids, length)
        types, _ = tf_text.pad_model_inputs(type_ids, length)
        return {WORD_IDS: padded, MASK: mask, TYPE_IDS: types}


def save(
    folder: str,
    positions: int = 512,
    training: bool = False,
    pooled: bool = True,
    trainable: bool = True,
    unused_pooler: bool = False,
    letters: bool = False,
) -> str:
    """Writes `preprocess/` and `encoder/` without a card.

    Args:
      folder: a new folder.
      positions: as in `Bag`, as are the next four.
      training: see there.
      pooled: see there.
      trainable: see there.
      unused_pooler: see there.
      letters: whether the preprocess model is `Letters` instead of that of the tiny encoder.

    Returns:
      The folder.
    """
    encoders.save(folder)
    os.remove(os.path.join(folder, encoder_artifact.CARD))
    bag = Bag(positions, training, pooled, trainable, unused_pooler)
    tf.io.gfile.rmtree(encoder_artifact.encoder_dir(folder))
    tf.saved_model.save(bag, encoder_artifact.encoder_dir(folder))
    if letters:
        tf.io.gfile.rmtree(encoder_artifact.preprocess_dir(folder))
        tf.saved_model.save(Letters(), encoder_artifact.preprocess_dir(folder))
    return folder
