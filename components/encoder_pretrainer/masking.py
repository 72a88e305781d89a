"""Chooses the pieces to guess and hides them: the corruption of a masked language model (Devlin et al. 2019).

The choice is made for the whole batch at once and depends only on the tokens and a seed, so that a training that
continues from a checkpoint repeats it. Special tokens and padding are never chosen.
"""

import dataclasses
from typing import Sequence

import numpy as np
import tensorflow as tf

from components.encoder_pretrainer.vocabulary import MASK, SPECIAL_TOKENS

# Starts a placeholder in the vocabularies of BERTs.
_UNUSED = "[unused"
# Starts a piece that continues the word of the piece before it.
CONTINUATION = "##"

# More than any random key, so that what can't be chosen comes last.
_NOT_CHOOSABLE = 2.0

# Added to a seed for random numbers that no step and no replica shares.
_OTHER_STREAM = [1 << 51, 0]


@dataclasses.dataclass(frozen=True)
class Shares:
    """How much is hidden.

    Attributes:
      chosen: share of the pieces to guess, 0 to 1.
      masked: share of these that become [MASK].
      random: share of these that become a random piece; the rest stay as they are.
    """

    chosen: float
    masked: float
    random: float


@dataclasses.dataclass(frozen=True)
class Choice:
    """The chosen pieces of a batch, whose tokens are numbered row after row.

    Attributes:
      positions: int32[k], numbers of tokens, all different.
      weights: float32[k], 1 for a chosen token, 0 for one that only fills up to k.
    """

    positions: tf.Tensor
    weights: tf.Tensor


@dataclasses.dataclass(frozen=True)
class Pieces:
    """The pieces of a vocabulary by their ids.

    Attributes:
      continues: bool[vocabulary], whether a piece continues the word of the piece before it.
      choosable: bool[vocabulary], whether it can be chosen: not a special token.
      mask: the id of [MASK].
    """

    continues: np.ndarray
    choosable: np.ndarray
    mask: int

    @property
    def ids(self) -> np.ndarray:
        """The choosable ids int32[n]; [MASK] if there are none."""
        return (
            np.flatnonzero(self.choosable).astype(np.int32) if self.choosable.any() else np.array([self.mask], np.int32)
        )


def describe(pieces: Sequence[str], whole_words: bool = True) -> Pieces:
    """Returns what is to know of the pieces of a vocabulary.

    Args:
      pieces: the pieces in the order of their ids.
      whole_words: whether pieces are chosen together with those that continue their word.
    """
    return Pieces(
        continues=np.array([whole_words and piece.startswith(CONTINUATION) for piece in pieces]),
        choosable=np.array([piece not in SPECIAL_TOKENS and not piece.startswith(_UNUSED) for piece in pieces]),
        mask=pieces.index(MASK),
    )


def choose(word_ids: tf.Tensor, pieces: Pieces, share: float, seed: tf.Tensor) -> Choice:
    """Chooses whole words at random until they are a share of the batch's pieces.

    Args:
      word_ids: int32[batch, seq], padded with a special token.
      pieces: what the ids stand for.
      share: share of the pieces, 0 to 1, rounded to a number of pieces that is at least 1. A word that would exceed it
        is left out, unless it would be the only one.
      seed: int64[2].

    Returns:
      The choice; k is the share of all tokens, so it depends only on the shape of the batch.
    """
    ids = tf.reshape(word_ids, [-1])
    tokens = tf.size(ids)
    is_piece = tf.gather(pieces.choosable, ids)
    # A row begins with [CLS], so no word extends over two rows.
    word = tf.cumsum(tf.cast(is_piece & ~tf.gather(pieces.continues, ids), tf.int32))
    keys = tf.gather(_uniform([tokens + 1], seed), word)
    # Equal keys stay in order, so the pieces of a word stay together.
    order = tf.argsort(tf.where(is_piece, keys, _NOT_CHOOSABLE), stable=True)
    count = _round_up(share * tf.cast(tokens, tf.float32))
    choosable = tf.reduce_sum(tf.cast(is_piece, tf.float32))
    wanted = tf.clip_by_value(tf.cast(tf.round(share * choosable), tf.int32), 1, count)
    # One more, which shows whether the last word is cut.
    shown = tf.gather(word, tf.concat([order, order[-1:]], 0)[: count + 1])
    last = shown[wanted - 1]
    is_cut = tf.equal(shown[wanted], last) & tf.not_equal(shown[0], last)
    positions = order[:count]
    is_chosen = (tf.range(count) < wanted) & tf.gather(is_piece, positions) & ~(is_cut & tf.equal(shown[:-1], last))
    return Choice(positions, tf.cast(is_chosen, tf.float32))


def hide(word_ids: tf.Tensor, choice: Choice, shares: Shares, pieces: Pieces, seed: tf.Tensor) -> tf.Tensor:
    """Replaces the chosen pieces by [MASK], by a random piece, or by themselves.

    Args:
      word_ids: int32[batch, seq].
      choice: the chosen pieces.
      shares: how many are replaced by what.
      pieces: what the ids stand for.
      seed: int64[2], another one than that of the choice.

    Returns:
      int32[batch, seq].
    """
    kept = tf.gather(tf.reshape(word_ids, [-1]), choice.positions)
    draws = _uniform(tf.shape(kept), seed)
    numbers = tf.random.stateless_uniform(
        tf.shape(kept), seed + _OTHER_STREAM, 0, len(pieces.ids), tf.int32, alg="philox"
    )
    random = tf.gather(pieces.ids, numbers)
    replaced = tf.where(
        draws < shares.masked, pieces.mask, tf.where(draws < shares.masked + shares.random, random, kept)
    )
    return put(word_ids, choice, replaced)


def put(word_ids: tf.Tensor, choice: Choice, replacements: tf.Tensor) -> tf.Tensor:
    """Returns a batch int32[batch, seq] with replacements int32[k] of the chosen pieces."""
    flat = tf.reshape(word_ids, [-1])
    kept = tf.gather(flat, choice.positions)
    updates = tf.where(choice.weights > 0, replacements, kept)
    return tf.reshape(tf.tensor_scatter_nd_update(flat, choice.positions[:, None], updates), tf.shape(word_ids))


def _uniform(shape: "tf.Tensor | list[tf.Tensor]", seed: tf.Tensor) -> tf.Tensor:
    # A fixed algorithm gives the same numbers on every device.
    return tf.random.stateless_uniform(shape, seed, alg="philox")


def _round_up(count: tf.Tensor) -> tf.Tensor:
    return tf.maximum(tf.cast(tf.math.ceil(count), tf.int32), 1)
