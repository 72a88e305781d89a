"""Counts the lengths, characters and words of a split's texts while they stream by.

Counts of parts of the texts can be merged. Memory is bounded for any number of rows, and the result depends neither on
the order of the texts nor on the parts: up to `WORD_LIMIT` distinct words all are counted; above, only a sketch of them
is left (`word_sketch`), with which the frequent words can be counted in a second pass over the texts.
"""

import collections
import functools
import re
import typing
import unicodedata
from typing import Mapping, Optional, Sequence

import numpy as np

from components.data_gate.word_sketch import WordSketch
from core.config import Script

# Bins of a text's length in characters: two per octave, to distinguish lengths 41 % apart, from one word to the longest
# essay. The last bin is open.
LENGTH_EDGES = np.unique(np.round(2.0 ** (np.arange(29) / 2)).astype(np.int64))

# Distinct words to count exactly: about 25 MB.
WORD_LIMIT = 200_000

# A run of letters. A longer one, as in text without spaces, is cut, which bounds the size of a profile.
_WORD = re.compile(r"[^\W\d_]{1,12}")

OTHER = "Other"
# A character's Unicode name starts with the name of its script, except for these.
_SCRIPT_BY_NAME = {name.upper(): name for name in typing.get_args(Script)} | {
    "CJK": "Han",
    "HIRAGANA": "Kana",
    "KATAKANA": "Kana",
}
# Hangul decomposed into combining letters (NFD), as some file systems and PDFs produce it. It looks the same, but a
# vocabulary of syllables does not contain it, so for a model it is another script.
_COMBINING_JAMO = ("HANGUL CHOSEONG", "HANGUL JUNGSEONG", "HANGUL JONGSEONG")

_UNREADABLE = {"Cc": "control", "Co": "private use"}
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class TextCounts:
    """Counts over texts.

    Attributes:
      lengths: int64[bins], number of texts in each bin of `LENGTH_EDGES`.
      characters: number of occurrences of each character.
      sketch: sketch of all words, if there are more than `WORD_LIMIT`; else None.
      least_count: a word that is counted occurs at least this often; 1 if all words are counted.
    """

    def __init__(self, texts: Sequence[str] = ()) -> None:
        self.lengths = np.zeros(len(LENGTH_EDGES) + 1, np.int64)
        self.characters: collections.Counter[str] = collections.Counter()
        self.sketch: Optional[WordSketch] = None
        self.least_count = 1
        # All words, or those that are not in the sketch yet.
        self._words: collections.Counter[str] = collections.Counter()
        self._frequent: collections.Counter[str] = collections.Counter()
        # Occurrences of the words of the sketch by their script.
        self._sketched: collections.Counter[str] = collections.Counter()
        self.add(texts)

    def add(self, texts: Sequence[str]) -> None:
        """Adds texts to the counts."""
        bins = np.searchsorted(LENGTH_EDGES, [len(text) for text in texts], side="right")
        self.lengths += np.bincount(bins, minlength=self.lengths.size)
        self.characters.update("".join(texts))
        self._words.update(find_words(texts))
        self._limit_words()

    def merge(self, other: "TextCounts") -> None:
        """Adds the counts of other texts."""
        self.lengths += other.lengths
        self.characters.update(other.characters)
        self._words.update(other._words)
        self._sketched.update(other._sketched)
        if other.sketch is not None:
            self.sketch = self.sketch or WordSketch()
            self.sketch.merge(other.sketch)
        self._limit_words()

    @property
    def words(self) -> Mapping[str, int]:
        """Number of occurrences of each run of letters, in lower case; the frequent ones if there is a sketch."""
        return self._words if self.sketch is None else self._frequent

    @property
    def dropped_words(self) -> Mapping[str, int]:
        """Script -> number of occurrences of words that are not in `words`."""
        if self.sketch is None:
            return {}
        self.sketch_words()
        kept: collections.Counter[str] = collections.Counter()
        for word, count in self._frequent.items():
            kept[script_of(word[0])] += count
        return self._sketched - kept

    def sketch_words(self) -> None:
        """Completes the sketch, if there is one."""
        if self.sketch is not None:
            self.sketch.add(self._words)
            for word, count in self._words.items():
                self._sketched[script_of(word[0])] += count
            self._words = collections.Counter()

    def keep_frequent(self, counts: Mapping[str, int]) -> None:
        """Adds the counts of frequent words to counts that have a sketch.

        Args:
          counts: number of occurrences of all words that are frequent by the sketch, and of any others.
        """
        assert self.sketch is not None
        self.sketch_words()
        self.least_count = least_count = self.sketch.least_frequent()
        self._frequent = collections.Counter({word: count for word, count in counts.items() if count >= least_count})

    def estimate_words(self, words: Sequence[str]) -> None:
        """Estimates the counts of some words instead of counting them in a second pass, if there is a sketch."""
        if self.sketch is not None:
            self.sketch_words()
            self._frequent = collections.Counter(dict(zip(words, self.sketch.estimate(words).tolist(), strict=True)))

    def _limit_words(self) -> None:
        if len(self._words) > WORD_LIMIT:
            self.sketch = self.sketch or WordSketch()
            self.sketch_words()

    def letters(self) -> dict[str, int]:
        """Returns script -> number of letters."""
        letters: collections.Counter[str] = collections.Counter()
        for character, count in self.characters.items():
            if character.isalpha():
                letters[script_of(character)] += count
        return dict(sorted(letters.items()))

    def unreadable(self) -> dict[str, int]:
        """Returns kind -> number of unreadable characters, which are frequent in wrongly decoded text."""
        kinds: collections.Counter[str] = collections.Counter()
        for character, count in self.characters.items():
            if kind := _unreadable_kind(character):
                kinds[kind] += count
        return dict(sorted(kinds.items()))


class FrequentWords:
    """Counts the words that are frequent by a sketch of all words, in bounded memory."""

    def __init__(self, sketch: WordSketch) -> None:
        self._sketch, self._least = sketch, sketch.least_frequent()
        self._words: collections.Counter[str] = collections.Counter()
        self._counts: collections.Counter[str] = collections.Counter()

    def add(self, texts: Sequence[str]) -> None:
        """Adds texts."""
        self._words.update(find_words(texts))
        if len(self._words) > WORD_LIMIT:
            self._keep_frequent()

    def counts(self) -> collections.Counter[str]:
        """Returns the number of occurrences of each frequent word, and of some others."""
        self._keep_frequent()
        return self._counts

    def _keep_frequent(self) -> None:
        words = list(self._words)
        for place in np.flatnonzero(self._sketch.estimate(words) >= self._least):
            self._counts[words[place]] += self._words[words[place]]
        self._words = collections.Counter()


def find_words(texts: Sequence[str]) -> list[str]:
    """Returns all runs of letters of some texts, in lower case."""
    return _WORD.findall("\n".join(texts).lower())


@functools.cache
def script_of(letter: str) -> str:
    """Returns one of `core.config.Script`, or `Other`."""
    name = unicodedata.name(letter, "")
    if name.startswith(_COMBINING_JAMO):
        return "Jamo"
    first = re.split("[ -]", name.removeprefix("FULLWIDTH ").removeprefix("HALFWIDTH "), maxsplit=1)[0]
    return _SCRIPT_BY_NAME.get(first, OTHER)


def _unreadable_kind(character: str) -> str:
    if character == _REPLACEMENT:
        return "replacement"
    # A tab or a line break inside quotes is text.
    return "" if character in "\t\n\r" else _UNREADABLE.get(unicodedata.category(character), "")
