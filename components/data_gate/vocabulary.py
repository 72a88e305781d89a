"""Common letters and words of the training rows, and how much of other text they do not hold."""

import collections
from typing import Iterable, Mapping

from components.data_gate.text_counts import TextCounts, script_of
from core.section import Fraction, Section

# Together they keep a profile under 200 KB whatever the text: a word has up to 12 letters, a letter up to 4 bytes.
_MAX_WORDS = 3000
_MAX_LETTERS = 8000


class UnknownShares(Section):
    """How much of a text a vocabulary does not hold, 0 to 1.

    What counts for one share does not for the next, so that one fault shows once: a letter of another script is the
    business of the script's share, and a word with an unknown letter that of the letters'.

    Attributes:
      letters: of the letters in the vocabulary's script, those that are not listed.
      words: of the words in that script, those that are not listed though all of their letters are.
    """

    letters: Fraction
    words: Fraction


class Vocabulary(Section):
    """The most frequent letters and words of some text.

    Attributes:
      script: the one that most letters are of; only its letters and words are listed.
      letters: the most frequent first.
      words: the most frequent first.
      expected: the shares that are unknown in other text of the same source.
    """

    script: str
    letters: str
    words: tuple[str, ...]
    expected: UnknownShares


def make_vocabulary(counts: TextCounts) -> Vocabulary:
    """Lists the most frequent letters and words of a text's main script.

    Its own text flatters a list. So what is expected to be unknown elsewhere is estimated by leaving out, in turn, each
    occurrence from what the list is made of: what occurs just often enough to be listed then is not. It is Good and
    Turing's estimate; for a list of all that was seen it is the share of what was seen once.
    """
    by_script = counts.letters()
    script = max(sorted(by_script), key=by_script.get, default="")
    letters, words = _letters(script, counts), _words(script, counts)
    least_letter, least_word = _least_count(letters, _MAX_LETTERS), _least_count(words, _MAX_WORDS)
    return Vocabulary(
        script=script,
        letters="".join(_listed(letters, least_letter)),
        words=tuple(_listed(words, least_word)),
        expected=_unknown(script, counts, _listed(letters, least_letter + 1), _listed(words, least_word + 1)),
    )


def unknown_shares(counts: TextCounts, vocabulary: Vocabulary) -> UnknownShares:
    """Returns how much of a text a vocabulary does not hold."""
    return _unknown(vocabulary.script, counts, vocabulary.letters, vocabulary.words)


def _unknown(script: str, counts: TextCounts, letters: Iterable[str], words: Iterable[str]) -> UnknownShares:
    """Returns how much of a script's letters and words is not on the lists."""
    known_letters, known_words = set(letters), set(words)
    found_letters, found_words = _letters(script, counts), _words(script, counts)
    unknown_words = (word for word in found_words if word not in known_words and known_letters.issuperset(word))
    return UnknownShares(
        letters=_share(found_letters, found_letters.keys() - known_letters, 0),
        words=_share(found_words, unknown_words, counts.dropped_words[script]),
    )


def _letters(script: str, counts: TextCounts) -> collections.Counter[str]:
    """How often each letter of a script occurs, in lower case as the words are."""
    letters: collections.Counter[str] = collections.Counter()
    for character, count in counts.characters.items():
        if character.isalpha() and script_of(character) == script:
            letters[character.lower()] += count
    return letters


def _words(script: str, counts: TextCounts) -> dict[str, int]:
    """How often each word of a script occurs: one is of the script of its first letter."""
    return {word: count for word, count in counts.words.items() if script_of(word[0]) == script}


def _least_count(counts: Mapping[str, int], limit: int) -> int:
    """The count from which on items are listed: what is equally frequent is on a list together or not at all."""
    ranked = sorted(counts.values(), reverse=True)
    return ranked[limit] + 1 if len(ranked) > limit else 1


def _listed(counts: Mapping[str, int], least: int) -> list[str]:
    return sorted((item for item in counts if counts[item] >= least), key=lambda item: (-counts[item], item))


def _share(counts: Mapping[str, int], items: Iterable[str], dropped: int) -> float:
    """The share of some items' occurrences, and of those that were dropped, of all."""
    total = sum(counts.values()) + dropped
    return (sum(counts[item] for item in items) + dropped) / total if total else 0.0
