"""Tokens of reviews, computed once and stored in flat arrays.

Data contract. A review's tokens are the output of the encoder's preprocess model without padding: `input_word_ids` with
[CLS] and [SEP], and `input_type_ids`. Those of a pair of texts are [CLS] first [SEP] second [SEP], with type id 1 from
the second text on; if they are too long together, the longer one is cut first. The rows are concatenated in flat
arrays. Padded rows are filled with 0; `input_mask` is 1 for tokens and 0 for padding.
"""

import dataclasses
import tempfile
from typing import Any, BinaryIO, Mapping, Optional, Sequence

import numpy as np
import tensorflow as tf

from core import progress

WORD_IDS = "input_word_ids"
TYPE_IDS = "input_type_ids"
MASK = "input_mask"

# Row number of a filler row in a batch: no tokens, weight 0.
FILLER = -1

# Rows tokenised at once: enough to keep the op busy, with a padded block of only a few MiB.
CHUNK_ROWS = 4096


@dataclasses.dataclass(frozen=True)
class Tokens:
    """Tokens of n reviews.

    Attributes:
      word_ids: int32[total], ids in the encoder's vocabulary.
      type_ids: uint8[total], segment of each token.
      starts: int64[n], index of row i's first token.
      lengths: int64[n], number of row i's tokens, including [CLS] and [SEP].
    """

    word_ids: np.ndarray
    type_ids: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray

    def padded(self, rows: np.ndarray, width: Optional[int] = None) -> dict[str, np.ndarray]:
        """Returns the encoder's inputs for some rows.

        Args:
          rows: int[batch], row numbers; `FILLER` is a row without tokens.
          width: number of columns; default: the longest row's length.

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
        """Returns rows in the given order; the arrays of tokens are shared, not copied."""
        return dataclasses.replace(self, starts=self.starts[order], lengths=self.lengths[order])


def concatenate(first: Tokens, second: Tokens) -> Tokens:
    """Returns the rows of both, in memory."""
    return Tokens(
        np.concatenate([first.word_ids, second.word_ids]),
        np.concatenate([first.type_ids, second.type_ids]),
        np.concatenate([first.starts, second.starts + len(first.word_ids)]),
        np.concatenate([first.lengths, second.lengths]),
    )


def pack(preprocess: Any, texts: Sequence[tf.Tensor], max_length: int) -> Mapping[str, tf.Tensor]:
    """Tokenises and packs rows with a preprocess model.

    Args:
      preprocess: a loaded preprocess model of TF Hub's common text API.
      texts: string[batch], the text of each row; for pairs, the first texts and the second texts.
      max_length: number of columns; longer rows are cut.

    Returns:
      The encoder's inputs, int32[batch, max_length] by name.
    """
    segments = [preprocess.tokenize(text) for text in texts]
    return preprocess.bert_pack_inputs(segments, seq_length=tf.constant(max_length))


class TokenWriter:
    """Tokenises reviews in chunks into unnamed temporary files, which `tokens` maps into memory.

    The system keeps the files' pages in memory while there is room, so no limit has to be configured. The files are
    deleted when the process ends.
    """

    def __init__(self, preprocess: Any, max_length: int):
        """Starts with no rows.

        Args:
          preprocess: a loaded preprocess model of TF Hub's common text API.
          max_length: maximum number of tokens of a row; longer rows are truncated.
        """
        self._preprocess = preprocess
        self._max_length = max_length
        self._word_ids = tempfile.TemporaryFile()
        self._type_ids = tempfile.TemporaryFile()
        self._lengths: list[np.ndarray] = []

    def add(self, *texts: Sequence[bytes]) -> None:
        """Appends the tokens of rows; pass about `CHUNK_ROWS` at once.

        Args:
          *texts: the UTF-8 text of each row; for pairs, the first texts and the second texts.
        """
        packed = pack(self._preprocess, [tf.constant(text, tf.string) for text in texts], self._max_length)
        mask = packed[MASK].numpy().astype(bool)
        packed[WORD_IDS].numpy()[mask].astype(np.int32).tofile(self._word_ids)
        packed[TYPE_IDS].numpy()[mask].astype(np.uint8).tofile(self._type_ids)
        self._lengths.append(mask.sum(axis=1))

    def tokens(self) -> Tokens:
        """Returns the tokens of all rows in the order in which they were added."""
        lengths = np.concatenate([np.zeros(0, np.int64), *self._lengths])
        starts = np.cumsum(lengths) - lengths
        return Tokens(_map_file(self._word_ids, np.int32), _map_file(self._type_ids, np.uint8), starts, lengths)


def tokenise(preprocess: Any, texts: Sequence[bytes], max_length: int) -> Tokens:
    """Tokenises reviews that are in memory; the arguments are those of `TokenWriter`."""
    writer = TokenWriter(preprocess, max_length)
    for start in range(0, len(texts), CHUNK_ROWS):
        writer.add(texts[start : start + CHUNK_ROWS])
        progress.report("tokenising", min(start + CHUNK_ROWS, len(texts)), len(texts))
    return writer.tokens()


def _map_file(stream: BinaryIO, dtype: type) -> np.ndarray:
    stream.flush()
    # An empty file can't be mapped into memory.
    return np.memmap(stream, dtype, "r") if stream.tell() else np.zeros(0, dtype)
