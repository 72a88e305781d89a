"""Counts the lengths, characters and words of a split's texts while they stream by.

Memory is bounded for any number of rows: characters by Unicode, lengths by their bins, words by dropping the rarest. Up
to `WORD_LIMIT` distinct words the counts are exact and do not depend on the order of the texts.
"""

import collections
import functools
import re
import typing
import unicodedata
from typing import Sequence

import numpy as np

from core.config import Script

# Bins of a text's length in characters: two per octave, to distinguish lengths 41 % apart, from one word to the longest
# essay. The last bin is open.
LENGTH_EDGES = np.unique(np.round(2.0 ** (np.arange(29) / 2)).astype(np.int64))

# Distinct words to keep; the others are dropped when there are twice as many, about 25 MB.
WORD_LIMIT = 100_000

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
      words: number of occurrences of each run of letters, in lower case.
      dropped_words: script -> number of occurrences of words that were too rare to keep.
    """

    def __init__(self, texts: Sequence[str] = ()) -> None:
        self.lengths = np.zeros(len(LENGTH_EDGES) + 1, np.int64)
        self.characters: collections.Counter[str] = collections.Counter()
        self.words: collections.Counter[str] = collections.Counter()
        self.dropped_words: collections.Counter[str] = collections.Counter()
        self.add(texts)

    def add(self, texts: Sequence[str]) -> None:
        """Adds texts to the counts."""
        bins = np.searchsorted(LENGTH_EDGES, [len(text) for text in texts], side="right")
        self.lengths += np.bincount(bins, minlength=self.lengths.size)
        self.characters.update("".join(texts))
        self.words.update(_WORD.findall("\n".join(texts).lower()))
        if len(self.words) > 2 * WORD_LIMIT:
            self._drop_rare_words()

    def letters(self) -> dict[str, int]:
        """Returns script -> number of letters."""
        letters: collections.Counter[str] = collections.Counter()
        for character, count in self.characters.items():
            if character.isalpha():
                letters[script_of(character)] += count
        return dict(letters)

    def unreadable(self) -> dict[str, int]:
        """Returns kind -> number of unreadable characters, which are frequent in wrongly decoded text."""
        kinds: collections.Counter[str] = collections.Counter()
        for character, count in self.characters.items():
            if kind := _unreadable_kind(character):
                kinds[kind] += count
        return dict(kinds)

    def _drop_rare_words(self) -> None:
        ranked = self.words.most_common()
        for word, count in ranked[WORD_LIMIT:]:
            self.dropped_words[script_of(word[0])] += count
        self.words = collections.Counter(dict(ranked[:WORD_LIMIT]))


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
