"""Words are found, left out one by one, and described with what the answer loses without them."""

import numpy as np
import pytest

from local.server import explanation
from local.server.explanation import Word


def shown(texts):
    return [(word.input, texts[word.input][word.start : word.end]) for word in explanation.find_words(texts)]


def test_words_are_between_spaces_and_ideographs_alone():
    assert shown(["정말  좋다!\n(굿)"]) == [(0, "정말"), (0, "좋다!"), (0, "(굿)")]
    assert shown(["面白い film", "b"]) == [(0, "面"), (0, "白"), (0, "い"), (0, "film"), (1, "b")]
    assert shown([" \n"]) == []


def test_many_words_are_joined_in_groups():
    texts = [" ".join(["word"] * 250), "pair"]
    found = explanation.find_words(texts)
    assert len(found) <= explanation.MAX_WORDS and found[-1] == Word(1, 0, 4)
    # Every character between the first and the last word is in one group or in a space.
    assert [(a.end + 1) == b.start for a, b in zip(found[:-2], found[1:-1], strict=True)] == [True] * (len(found) - 2)


def test_each_row_lacks_one_word():
    texts = ("a b", "c")
    assert explanation.make_rows(texts, explanation.find_words(texts)) == [
        ("a b", "c"),
        (" b", "c"),
        ("a ", "c"),
        ("a b", ""),
    ]


def test_the_effect_is_what_the_answer_loses():
    words = explanation.find_words(["a b"])
    described = explanation.describe(["a b"], ["text"], words, np.array([0.75, 0.25, 1.0]))
    assert described == [
        {"input": "text", "word": "a", "start": 0, "end": 1, "effect": 0.5},
        {"input": "text", "word": "b", "start": 2, "end": 3, "effect": pytest.approx(-0.25)},
    ]
