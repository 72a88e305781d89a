"""Inputs of a masked language model (Devlin et al. 2019)."""

import dataclasses

import numpy as np

from components.encoder_pretrainer.vocabulary import MASK, SPECIAL_TOKENS

MASK_ID = SPECIAL_TOKENS.index(MASK)

_CHOSEN_SHARE = 0.15
# Of the chosen tokens 80 % become [MASK] and 10 % a random piece; the rest stay.
_MASKED_SHARE, _RANDOM_SHARE = 0.8, 0.1


@dataclasses.dataclass(frozen=True)
class MaskedBatch:
    """A batch with some tokens masked.

    Attributes:
      word_ids: int32[batch, seq], the input of the encoder.
      positions: int32[batch, predictions], positions of the chosen tokens, padded with 0.
      labels: int32[batch, predictions], the original tokens there.
      weights: float32[batch, predictions], 1 for a chosen token, 0 for padding.
    """

    word_ids: np.ndarray
    positions: np.ndarray
    labels: np.ndarray
    weights: np.ndarray


def mask_tokens(word_ids: np.ndarray, vocabulary: int, generator: np.random.Generator) -> MaskedBatch:
    """Chooses and masks 15 % of the tokens of each row, at least one; never special tokens or padding.

    Args:
      word_ids: int32[batch, seq], ids of pieces from `vocabulary.learn`.
      vocabulary: number of pieces.
      generator: source of the random choices.

    Returns:
      The batch; `predictions` is the maximum over the rows, at least 1.
    """
    pieces = word_ids >= len(SPECIAL_TOKENS)
    counts = pieces.sum(axis=1)
    chosen = np.minimum(counts, np.maximum(1, np.rint(_CHOSEN_SHARE * counts).astype(int)))
    # Pieces have random keys below 1, so after sorting they come first, in random order.
    shuffled = np.argsort(np.where(pieces, generator.random(word_ids.shape), 1.0), axis=1)
    predictions = max(1, int(chosen.max(initial=0)))
    is_chosen = np.arange(predictions) < chosen[:, None]
    positions = np.where(is_chosen, shuffled[:, :predictions], 0)
    labels = np.take_along_axis(word_ids, positions, axis=1)
    masked = word_ids.copy()
    rows, columns = np.nonzero(is_chosen)
    masked[rows, positions[rows, columns]] = _replacements(labels[rows, columns], vocabulary, generator)
    return MaskedBatch(masked, positions.astype(np.int32), labels, is_chosen.astype(np.float32))


def _replacements(labels: np.ndarray, vocabulary: int, generator: np.random.Generator) -> np.ndarray:
    """Returns the replacements int32[n] of chosen tokens."""
    draws = generator.random(labels.shape)
    random = generator.integers(len(SPECIAL_TOKENS), max(vocabulary, len(SPECIAL_TOKENS) + 1), labels.shape)
    kept_or_random = np.where(draws < _MASKED_SHARE + _RANDOM_SHARE, random, labels)
    return np.where(draws < _MASKED_SHARE, MASK_ID, kept_or_random).astype(labels.dtype)
