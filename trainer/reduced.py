"""Trains a BERT with a large vocabulary on a smaller table: the embeddings of the word pieces that the rows contain.

AdamW and clipping read and write every weight in each step, and a checkpoint has each weight three times. Of the
119,547 pieces of multilingual BERT, reviews in one language contain some thousands; the others never get a gradient.
Without them the training is the same except for the last digits: the norm of the gradients is a sum in another order.
The embeddings of the other pieces keep their values, which AdamW's weight decay would move a little.

LazyAdam, which updates only the rows of a batch, is not equivalent: a piece loses the updates that its momentum makes
in the steps after one that contains it. On NSMC (14,000 reviews, 2 layers of 128, 8,000 pieces, 3 seeds) it cost 2.3
points of dev accuracy after one epoch and 0.4 in the best of four.
"""

from typing import Mapping, Optional, Sequence

import numpy as np
import tensorflow as tf

from trainer import bert, model
from trainer.tokens import WORD_IDS, Tokens

# Tables with more weights are reduced. AdamW and clipping of 10 million weights take about 25 ms on two cores; of all
# smaller tables, such as those of 8,000 pieces of width 768 or 32,000 of width 256, a step has them to spare.
LARGE_TABLE = 10_000_000

# Tokens that are read at once.
_CHUNK = 1 << 20


class ReducedEncoder(tf.Module):
    """A BERT on a table of some pieces' embeddings; its inputs are those of the BERT."""

    def __init__(self, network: bert.Bert, pieces: np.ndarray):
        """Makes the smaller table; all other variables are the network's.

        Args:
          network: the BERT.
          pieces: int64[n], ascending, the word ids that inputs will contain.
        """
        super().__init__("encoder")
        self._full_table = network.word_embeddings
        self._pieces = pieces
        name = self._full_table.name.removesuffix(":0")
        self._table = tf.Variable(tf.gather(self._full_table.read_value(), pieces), name=name)
        self._network = network.with_word_embeddings(self._table)
        rows = np.zeros(self._full_table.shape[0], np.int64)
        rows[pieces] = np.arange(len(pieces))
        # int64, since TensorFlow has no look-up of int32 on a GPU.
        self._row_of_piece = tf.constant(rows)

    @property
    def weights(self) -> list[tf.Variable]:
        """The trainable variables."""
        return self._network.weights

    def __call__(
        self, inputs: Mapping[str, tf.Tensor], seed: Optional[tf.Tensor] = None, dtype: tf.DType = tf.float32
    ) -> tf.Tensor:
        """Computes the vector of each row; arguments as in `model.Encoder`."""
        return self._network({**inputs, WORD_IDS: tf.gather(self._row_of_piece, inputs[WORD_IDS])}, seed, dtype)

    def update_network(self) -> None:
        """Writes the smaller table into the network's own."""
        table = self._full_table.numpy().copy()
        table[self._pieces] = self._table.numpy()
        self._full_table.assign(table)


def reduce_table(classifier: model.Classifier, *splits: Tokens) -> model.Classifier:
    """Returns the classifier on a smaller table if its encoder is a BERT with a large one, else the same classifier.

    Args:
      classifier: its variables are used, except for the table.
      splits: the rows for which it is going to be called.
    """
    network = classifier.encoder
    if not isinstance(network, bert.Bert) or network.word_embeddings.shape.num_elements() <= LARGE_TABLE:
        return classifier
    pieces = _contained_pieces(splits, network.word_embeddings.shape[0])
    return model.Classifier(ReducedEncoder(network, pieces), classifier.head)


def _contained_pieces(splits: Sequence[Tokens], vocabulary: int) -> np.ndarray:
    """Returns the word ids in rows and padding, int64[n], ascending."""
    contained = np.zeros(vocabulary, bool)
    contained[0] = True  # Padding.
    for split in splits:
        # The ids are in a file, which may be larger than the memory.
        for start in range(0, len(split.word_ids), _CHUNK):
            contained[split.word_ids[start : start + _CHUNK]] = True
    return np.flatnonzero(contained)
