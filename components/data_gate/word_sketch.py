"""A count-min sketch: approximate counts of any number of words in a fixed size (Cormode and Muthukrishnan, 2005).

Its counts are sums of whole numbers, so a sketch depends neither on the order of the words nor on how they are divided
among workers.
"""

from typing import Mapping, Sequence

import numpy as np

from schema.hashing import hash64

# A word that is not frequent is only taken for a frequent one if it shares a column with one in each of the rows: with
# the numbers below one word of 4,000.
_ROWS = 3
# 12 MB. A power of two, as a column is a part of a 64-bit hash.
_COLUMN_BITS = 19
# Columns of a row that may have a frequent word: ten times as many as a profile lists words.
_FREQUENT = 1 << 15


class WordSketch:
    """Approximate numbers of occurrences of words."""

    def __init__(self) -> None:
        self._counts = np.zeros((_ROWS, 1 << _COLUMN_BITS), np.int64)

    def add(self, words: Mapping[str, int]) -> None:
        """Adds the number of occurrences of each word."""
        occurrences = np.fromiter(words.values(), np.int64, len(words))
        for row, columns in zip(self._counts, _columns(list(words)), strict=True):
            np.add.at(row, columns, occurrences)

    def merge(self, other: "WordSketch") -> None:
        """Adds the words of another sketch."""
        self._counts += other._counts

    def estimate(self, words: Sequence[str]) -> np.ndarray:
        """Returns int64[words], the number of occurrences of each word or, by a small part of all words, more."""
        found = [row[columns] for row, columns in zip(self._counts, _columns(words), strict=True)]
        return np.minimum.reduce(found)

    def least_frequent(self) -> int:
        """Returns how often a frequent word occurs at least; there are at most about `_FREQUENT` such words."""
        return int(np.partition(self._counts, -_FREQUENT - 1, axis=1)[:, -_FREQUENT - 1].max()) + 1


def _columns(words: Sequence[str]) -> np.ndarray:
    """Returns int64[rows, words], the column of each word in each row."""
    hashes = np.fromiter((hash64(b"word", [word.encode()]) for word in words), np.uint64, len(words))
    shifts = np.arange(_ROWS, dtype=np.uint64)[:, np.newaxis] * np.uint64(_COLUMN_BITS)
    return ((hashes >> shifts) & np.uint64((1 << _COLUMN_BITS) - 1)).astype(np.int64)
