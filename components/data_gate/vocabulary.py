"""The frequent letters and words of the training rows, and the share of other text that is not among them."""

import collections
from typing import Iterable, Mapping

from components.data_gate.text_counts import TextCounts, script_of
from core.section import Fraction, Section

# Together they keep any profile under 200 KB: a word has up to 12 letters, a letter up to 4 bytes.
_MAX_WORDS = 3000
_MAX_LETTERS = 8000


class UnknownShares(Section):
    """The shares of a text that are not in a vocabulary, 0 to 1.

    Each problem counts in one share only: letters of another script are counted by the check of scripts, and words with
    an unknown letter by the share of letters.

    Attributes:
      letters: share of the letters of the vocabulary's script that are not listed.
      words: share of the words of that script that are not listed although all their letters are.
    """

    letters: Fraction
    words: Fraction


class Vocabulary(Section):
    """The most frequent letters and words of some text.

    Attributes:
      script: the script of most letters; only its letters and words are listed.
      letters: the most frequent letters, in descending order.
      words: the most frequent words, in descending order.
      expected: the expected unknown shares of other text from the same source.
    """

    script: str
    letters: str
    words: tuple[str, ...]
    expected: UnknownShares


def make_vocabulary(counts: TextCounts) -> Vocabulary:
    """Lists the most frequent letters and words of a text's main script.

    A vocabulary covers the text that it was built from better than other text. The share that is unknown in other text
    is therefore estimated by leaving out each occurrence in turn: items that occur just often enough to be listed then
    no longer are. This is the Good-Turing estimate; for a list of all items it is the share of those that occur once.
    """
    by_script = counts.letters()
    script = max(sorted(by_script), key=by_script.__getitem__, default="")
    letters, words = _letters(script, counts), _words(script, counts)
    least_letter = _least_count(letters, _MAX_LETTERS)
    least_word = max(_least_count(words, _MAX_WORDS), counts.least_count)
    return Vocabulary(
        script=script,
        letters="".join(_listed(letters, least_letter)),
        words=tuple(_listed(words, least_word)),
        expected=_unknown(script, counts, _listed(letters, least_letter + 1), _listed(words, least_word + 1)),
    )


def unknown_shares(counts: TextCounts, vocabulary: Vocabulary) -> UnknownShares:
    """Returns the shares of a text that are not in a vocabulary."""
    return _unknown(vocabulary.script, counts, vocabulary.letters, vocabulary.words)


def _unknown(script: str, counts: TextCounts, letters: Iterable[str], words: Iterable[str]) -> UnknownShares:
    """Returns the shares of a script's letters and words that are not listed."""
    known_letters, known_words = set(letters), set(words)
    all_letters, all_words = _letters(script, counts), _words(script, counts)
    unknown_words = (word for word in all_words if word not in known_words and known_letters.issuperset(word))
    return UnknownShares(
        letters=_share(all_letters, all_letters.keys() - known_letters, 0),
        words=_share(all_words, unknown_words, counts.dropped_words.get(script, 0)),
    )


def _letters(script: str, counts: TextCounts) -> collections.Counter[str]:
    """Returns how often each letter of a script occurs, in lower case like the words."""
    letters: collections.Counter[str] = collections.Counter()
    for character, count in counts.characters.items():
        if character.isalpha() and script_of(character) == script:
            letters[character.lower()] += count
    return letters


def _words(script: str, counts: TextCounts) -> dict[str, int]:
    """Returns how often each word of a script occurs; the first letter of a word decides its script."""
    return {word: count for word, count in counts.words.items() if script_of(word[0]) == script}


def _least_count(counts: Mapping[str, int], limit: int) -> int:
    """Returns the smallest count of a listed item; equally frequent items are either all listed or all left out."""
    ranked = sorted(counts.values(), reverse=True)
    return ranked[limit] + 1 if len(ranked) > limit else 1


def _listed(counts: Mapping[str, int], least: int) -> list[str]:
    return sorted((item for item in counts if counts[item] >= least), key=lambda item: (-counts[item], item))


def _share(counts: Mapping[str, int], items: Iterable[str], dropped: int) -> float:
    """Returns the share of all occurrences that are of some items or were dropped."""
    total = sum(counts.values()) + dropped
    return (sum(counts[item] for item in items) + dropped) / total if total else 0.0
