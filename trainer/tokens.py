"""Tokens of reviews: made once, kept in flat arrays.

Data contract. A review's tokens are what the encoder's own preprocess model makes, padding stripped:
`input_word_ids` with [CLS] and [SEP], and `input_type_ids`. They lie one behind the other in flat arrays.
Padded rows are filled with 0; `input_mask` is 1 on tokens, 0 on padding.
"""

import dataclasses
import tempfile
from typing import Any, BinaryIO, Optional, Sequence

import numpy as np
import tensorflow as tf

from core import progress

WORD_IDS = "input_word_ids"
TYPE_IDS = "input_type_ids"
MASK = "input_mask"

# Stands for a row that only fills a batch up: no tokens, no weight.
FILLER = -1

# Rows tokenised at once: large enough to keep the op busy, small enough that the padded block is a few MiB.
CHUNK_ROWS = 4096


@dataclasses.dataclass(frozen=True)
class Tokens:
    """Tokens of n reviews.

    Attributes:
      word_ids: int32[total], ids in the encoder's vocabulary.
      type_ids: uint8[total], segment of each token.
      starts: int64[n], where row i's tokens begin.
      lengths: int64[n], how many there are, [CLS] and [SEP] included.
    """

    word_ids: np.ndarray
    type_ids: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray

    def padded(self, rows: np.ndarray, width: Optional[int] = None) -> dict[str, np.ndarray]:
        """Returns the encoder's inputs for some rows.

        Args:
          rows: int[batch], row numbers; `FILLER` is a row without a token.
          width: columns; default: the longest row's.

        Returns:
          int32[batch, width] by input name.
        """
        lengths = np.where(rows == FILLER, 0, self.lengths[rows])
        columns = np.arange(max(lengths.max(initial=0), 1) if width is None else width)
        mask = columns < lengths[:, None]
        positions = (self.starts[rows][:, None] + columns)[mask]
        padded = {MASK: mask.astype(np.int32)}
        for name, flat in ((WORD_IDS, self.word_ids), (TYPE_IDS, self.type_ids)):
            padded[name] = np.zeros(mask.shape, np.int32)
            padded[name][mask] = flat[positions]
        return padded

    def ordered(self, order: np.ndarray) -> "Tokens":
        """Returns the same rows in another order; the tokens stay where they are."""
        return dataclasses.replace(self, starts=self.starts[order], lengths=self.lengths[order])


class TokenWriter:
    """Tokenises reviews chunk by chunk into files without a name, which `tokens` maps into memory.

    The system keeps the files' pages in memory while there is room and reads them again where there is none, so
    that neither a size nor a place has to be chosen. They vanish with the process.
    """

    def __init__(self, preprocess: Any, max_length: int):
        """Starts with no rows.

        Args:
          preprocess: a loaded preprocess model of TF Hub's common text API.
          max_length: longest row in tokens; what lies past it is cut.
        """
        self._preprocess = preprocess
        self._max_length = max_length
        self._word_ids = tempfile.TemporaryFile()
        self._type_ids = tempfile.TemporaryFile()
        self._lengths: list[np.ndarray] = []

    def add(self, texts: Sequence[bytes]) -> None:
        """Appends the tokens of UTF-8 reviews; `CHUNK_ROWS` at once is a good number."""
        tokens = self._preprocess.tokenize(tf.constant(texts, tf.string))
        packed = self._preprocess.bert_pack_inputs([tokens], seq_length=tf.constant(self._max_length))
        mask = packed[MASK].numpy().astype(bool)
        packed[WORD_IDS].numpy()[mask].astype(np.int32).tofile(self._word_ids)
        packed[TYPE_IDS].numpy()[mask].astype(np.uint8).tofile(self._type_ids)
        self._lengths.append(mask.sum(axis=1))

    def tokens(self) -> Tokens:
        """Returns the tokens of all rows, in the order in which they were added."""
        lengths = np.concatenate([np.zeros(0, np.int64), *self._lengths])
        starts = np.cumsum(lengths) - lengths
        return Tokens(_mapped(self._word_ids, np.int32), _mapped(self._type_ids, np.uint8), starts, lengths)


def tokenise(preprocess: Any, texts: Sequence[bytes], max_length: int) -> Tokens:
    """Tokenises reviews that are in memory, in their order; the arguments are `TokenWriter`'s."""
    writer = TokenWriter(preprocess, max_length)
    for start in range(0, len(texts), CHUNK_ROWS):
        writer.add(texts[start : start + CHUNK_ROWS])
        progress.report("tokenising", min(start + CHUNK_ROWS, len(texts)), len(texts))
    return writer.tokens()


def _mapped(stream: BinaryIO, dtype: type) -> np.ndarray:
    stream.flush()
    # An empty file can't be mapped.
    return np.memmap(stream, dtype, "r") if stream.tell() else np.zeros(0, dtype)
