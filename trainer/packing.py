"""Packs single texts into the encoder's inputs with operations that every TensorFlow has.

The preprocess models that tf-models exports pack with `RoundRobinTrim` of TF Text, which TensorFlow Serving up to 2.19
does not know. For one text a row, all that it does is to cut the tokens, which plain operations do too. Whether a
preprocess model packs like that is found out by comparing; any other one keeps its own packing, as pairs do.
"""

import dataclasses
from typing import Any, Mapping, Optional, Sequence

import numpy as np
import tensorflow as tf

from trainer.tokens import MASK, TYPE_IDS, WORD_IDS, pack

# Tokens around those of a text: [CLS] and [SEP].
_ADDED = 2
# Rows of each length that are compared.
_COMPARED_ROWS = 4
# Packing does not look ids up; these include those of special tokens, as a text may.
_COMPARED_IDS = 100


@dataclasses.dataclass(frozen=True)
class SpecialTokens:
    """Ids in the vocabulary of [CLS], [SEP] and [PAD]."""

    start: int
    end: int
    padding: int


def pack_text(tokens: tf.RaggedTensor, special: SpecialTokens, max_length: int) -> dict[str, tf.Tensor]:
    """Packs rows of one text: [CLS] tokens [SEP], then padding.

    Args:
      tokens: integers [batch, (tokens)]; of each row the first `max_length - 2` are kept.
      special: ids of the tokens around them.
      max_length: number of columns.

    Returns:
      The encoder's inputs, int32[batch, max_length] by name.
    """
    room = max_length - _ADDED
    # Cuts longer rows, and fills shorter ones.
    texts = tf.cast(tokens.to_tensor(special.padding, shape=[None, room]), tf.int32)
    ends = tf.minimum(tokens.row_lengths(), room)[:, tf.newaxis] + 1
    columns = tf.range(max_length, dtype=ends.dtype)
    around = tf.pad(texts, [[0, 0], [1, 1]], constant_values=special.padding)
    word_ids = tf.where(columns == 0, special.start, tf.where(columns == ends, special.end, around))
    return {WORD_IDS: word_ids, MASK: tf.cast(columns <= ends, tf.int32), TYPE_IDS: tf.zeros_like(word_ids)}


def find_special_tokens(preprocess: Any, max_length: int) -> Optional[SpecialTokens]:
    """Finds out whether a preprocess model packs single texts as `pack_text` does.

    Args:
      preprocess: a loaded preprocess model of TF Hub's common text API.
      max_length: number of columns.

    Returns:
      The ids of its special tokens; None if it has no list of them, or if its `bert_pack_inputs` differs.
    """
    try:
        ids = preprocess.tokenize.get_special_tokens_dict()
        special = SpecialTokens(int(ids["start_of_sequence_id"]), int(ids["end_of_segment_id"]), int(ids["padding_id"]))
        tokens = _rows_to_compare(max_length)
        theirs = preprocess.bert_pack_inputs([tokens], seq_length=tf.constant(max_length))
    # A SavedModel that has neither, or takes other arguments, may raise any of them.
    except (AttributeError, KeyError, TypeError, ValueError, tf.errors.OpError):
        return None
    ours = pack_text(tokens, special, max_length)
    same = theirs.keys() == ours.keys() and all(np.array_equal(ours[name], theirs[name]) for name in ours)
    return special if same else None


def _rows_to_compare(max_length: int) -> tf.RaggedTensor:
    """Returns rows int32[batch, (tokens)] of all lengths around the one at which rows are cut, with any ids."""
    room = max_length - _ADDED
    lengths = np.repeat([0, 1, room - 1, room, room + 1, 2 * max_length], _COMPARED_ROWS)
    ids = np.random.default_rng(0).integers(0, _COMPARED_IDS, lengths.sum(), dtype=np.int32)
    return tf.RaggedTensor.from_row_lengths(ids, lengths)


class Packer:
    """Tokenises and packs texts inside the exported model; not a `tf.Module`, so that nothing else is exported.

    Attributes:
      resources: the tables and files of the preprocess model, which the exported model has to keep.
      special: None if the packing is the preprocess model's own.
    """

    def __init__(self, preprocess: Any, texts: int, max_length: int):
        """Chooses the packing.

        Args:
          preprocess: a loaded preprocess model of TF Hub's common text API.
          texts: number of texts of a row: 1, or 2 for pairs.
          max_length: number of columns; longer rows are cut.
        """
        self._preprocess = preprocess
        self._max_length = max_length
        self.special = find_special_tokens(preprocess, max_length) if texts == 1 else None
        kinds = (tf.saved_model.experimental.TrackableResource, tf.saved_model.Asset)
        children = tf.train.TrackableView(preprocess).descendants()
        self.resources = [each for each in children if isinstance(each, kinds)]

    def tokenize(self, text: tf.Tensor) -> tf.RaggedTensor:
        """Returns the tokens [batch, (tokens)] of texts string[batch], before any cut."""
        # Words and their pieces, if the tokeniser divides texts into words first.
        return self._preprocess.tokenize(text).merge_dims(1, -1)

    def pack(self, texts: Sequence[tf.Tensor]) -> Mapping[str, tf.Tensor]:
        """Returns the encoder's inputs, int32[batch, max_length] by name, of texts string[batch] each."""
        if self.special is None:
            return pack(self._preprocess, texts, self._max_length)
        return pack_text(self.tokenize(texts[0]), self.special, self._max_length)
