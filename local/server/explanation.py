"""Which words pushed an answer: the text is scored without each of them.

The effect of a word is what the answer loses without it: from +1 (all) over 0 (nothing) to -1, if the answer is only
certain without it. Words of Chinese and Japanese, which are written without spaces, are taken by character.
"""

import dataclasses
import re
from typing import Any, Sequence

import numpy as np

# More are joined in groups of equal size, so that a long text is not scored thousands of times.
MAX_WORDS = 100

_IDEOGRAPHS = "\u3040-\u30ff\u3400-\u9fff"
_WORD = re.compile(rf"[{_IDEOGRAPHS}]|[^\s{_IDEOGRAPHS}]+")


@dataclasses.dataclass(frozen=True)
class Word:
    """A word, or a group of words, of a row.

    Attributes:
      input: index of the text.
      start: index of its first character in the text.
      end: index after its last character.
    """

    input: int
    start: int
    end: int


def find_words(texts: Sequence[str]) -> list[Word]:
    """Returns the words of a row's texts, at most `MAX_WORDS`, or one more for a second text."""
    words = [Word(index, *match.span()) for index, text in enumerate(texts) for match in _WORD.finditer(text)]
    size = -(-len(words) // MAX_WORDS) or 1
    grouped = []
    for index in range(len(texts)):
        own = [word for word in words if word.input == index]
        for group in (own[start : start + size] for start in range(0, len(own), size)):
            grouped.append(Word(index, group[0].start, group[-1].end))
    return grouped


def make_rows(texts: Sequence[str], words: Sequence[Word]) -> list[tuple[str, ...]]:
    """Returns the texts, then the texts without each of the words."""
    return [tuple(texts), *(_remove(texts, word) for word in words)]


def describe(texts: Sequence[str], inputs: Sequence[str], words: Sequence[Word], strengths: np.ndarray) -> list[Any]:
    """Returns the words for a response.

    Args:
      texts: the row.
      inputs: names of the texts.
      words: the words.
      strengths: float[1 + words], how far each of `make_rows` supports the answer to the first.
    """
    effects = (strengths[0] - strengths[1:]).tolist()
    return [
        {
            "input": inputs[word.input],
            "word": texts[word.input][word.start : word.end],
            "start": word.start,
            "end": word.end,
            "effect": effect,
        }
        for word, effect in zip(words, effects, strict=True)
    ]


def _remove(texts: Sequence[str], word: Word) -> tuple[str, ...]:
    text = texts[word.input]
    without = text[: word.start] + text[word.end :]
    return (*texts[: word.input], without, *texts[word.input + 1 :])
