"""Tokens of reviews and batches of them with almost no padding.

Data contract. A review's tokens are what the encoder's own preprocess model makes, padding stripped:
`input_word_ids` with [CLS] and [SEP], and `input_type_ids`. They lie one behind the other in flat int32
arrays. In a batch the rows are padded with 0 to the longest row; `input_mask` is 1 on tokens, 0 on padding.
"""

import dataclasses
from typing import Any, Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from pipeline import progress

WORD_IDS = "input_word_ids"
TYPE_IDS = "input_type_ids"
MASK = "input_mask"

# Rows tokenised at once: large enough to keep the op busy, small enough that the padded block is a few MiB.
TOKENISER_ROWS = 4096

# Batches whose rows are sorted together. With NSMC's lengths 100 batches of 32 leave 4 % of padding, 20 leave 10 %;
# more would make every batch the same length and order.
WINDOW_BATCHES = 100


@dataclasses.dataclass(frozen=True)
class Tokens:
    """Tokens of n reviews.

    Attributes:
      word_ids: int32[total], ids in the encoder's vocabulary.
      type_ids: int32[total], segment of each token.
      starts: int64[n + 1], row i holds the tokens from `starts[i]` up to `starts[i + 1]`.
    """

    word_ids: np.ndarray
    type_ids: np.ndarray
    starts: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """int64[n], tokens of each row, [CLS] and [SEP] included."""
        return np.diff(self.starts)

    def padded(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the encoder's inputs for some rows, int32[len(rows), longest of them]."""
        lengths = self.lengths[rows]
        mask = np.arange(lengths.max(initial=0)) < lengths[:, None]
        positions = np.concatenate([np.arange(self.starts[r], self.starts[r + 1]) for r in rows])
        padded = {MASK: mask.astype(np.int32)}
        for name, flat in ((WORD_IDS, self.word_ids), (TYPE_IDS, self.type_ids)):
            padded[name] = np.zeros(mask.shape, np.int32)
            padded[name][mask] = flat[positions]
        return padded


def tokenise(preprocess: Any, texts: Sequence[bytes], max_length: int) -> Tokens:
    """Tokenises reviews once, with the encoder's own preprocess model.

    Args:
      preprocess: a loaded preprocess model of TF Hub's common text API.
      texts: UTF-8 reviews.
      max_length: longest row in tokens; what lies past it is cut.

    Returns:
      The tokens, in the order of `texts`.
    """
    chunks = []
    for start in range(0, len(texts), TOKENISER_ROWS):
        chunk = tf.constant(texts[start : start + TOKENISER_ROWS])
        packed = preprocess.bert_pack_inputs([preprocess.tokenize(chunk)], seq_length=tf.constant(max_length))
        mask = packed[MASK].numpy().astype(bool)
        chunks.append((packed[WORD_IDS].numpy()[mask], packed[TYPE_IDS].numpy()[mask], mask.sum(axis=1)))
        progress.report("tokenising", min(start + TOKENISER_ROWS, len(texts)), len(texts))
    word_ids, type_ids, lengths = (np.concatenate(parts) for parts in zip(*chunks, strict=True))
    return Tokens(word_ids, type_ids, np.concatenate([[0], np.cumsum(lengths)]))


def epoch_batches(lengths: np.ndarray, batch_size: int, seed: int, epoch: int) -> list[np.ndarray]:
    """Splits an epoch's rows into batches of like length, in random order.

    The rows are shuffled, cut into windows of `WINDOW_BATCHES` batches, sorted by length inside a window and
    cut into batches, and the batches of the whole epoch are shuffled. With a window of two batches of two,
    lengths [9, 2, 3, 8] become batches with lengths (2, 3) and (8, 9), in either order.

    Args:
      lengths: int[n], tokens of each row.
      batch_size: rows of a batch; one batch of an epoch may be smaller.
      seed: a run's seed.
      epoch: the epoch's number, 0 for the first; each has another order.

    Returns:
      Arrays of row numbers; every row occurs in exactly one.
    """
    generator = np.random.default_rng([seed, epoch])
    order = generator.permutation(len(lengths))
    window = batch_size * WINDOW_BATCHES
    batches = []
    for start in range(0, len(order), window):
        rows = order[start : start + window]
        rows = rows[np.argsort(lengths[rows], kind="stable")]
        batches += [rows[i : i + batch_size] for i in range(0, len(rows), batch_size)]
    return [batches[i] for i in generator.permutation(len(batches))]


def sorted_batches(lengths: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Returns every row once, shortest first: the batches with the least padding, for evaluation."""
    order = np.argsort(lengths, kind="stable")
    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]


def padding_share(lengths: np.ndarray, batches: Sequence[np.ndarray]) -> float:
    """Returns the share of padding among the tokens that batches compute, 0 to 1."""
    computed = sum(int(lengths[rows].max()) * len(rows) for rows in batches)
    real = sum(int(lengths[rows].sum()) for rows in batches)
    return 1.0 - real / computed if computed else 0.0


def token_dataset(tokens: Tokens, labels: np.ndarray, batches: Sequence[Sequence[np.ndarray]]) -> tf.data.Dataset:
    """Makes the dataset of (encoder inputs by name, labels int64[batch, 1]) for some epochs' batches."""
    inputs = {name: tf.TensorSpec([None, None], tf.int32, name) for name in (WORD_IDS, MASK, TYPE_IDS)}
    return _dataset(tokens.padded, inputs, labels, batches)


def feature_dataset(
    features: np.ndarray, labels: np.ndarray, batches: Sequence[Sequence[np.ndarray]]
) -> tf.data.Dataset:
    """Makes the dataset of (features float32[batch, hidden], labels int64[batch, 1]) for some epochs' batches."""
    return _dataset(features.__getitem__, tf.TensorSpec([None, features.shape[1]], tf.float32), labels, batches)


def _dataset(
    inputs_of: Callable[[np.ndarray], Any], inputs: Any, labels: np.ndarray, batches: Sequence[Sequence[np.ndarray]]
) -> tf.data.Dataset:
    def generate() -> Iterator[tuple[Any, np.ndarray]]:
        for epoch in batches:
            for rows in epoch:
                yield inputs_of(rows), labels[rows, None]

    signature = (inputs, tf.TensorSpec([None, 1], tf.int64, "label"))
    return tf.data.Dataset.from_generator(generate, output_signature=signature).prefetch(tf.data.AUTOTUNE)
