import json

import hypothesis
import pytest
from hypothesis import strategies

from cluster import ascii_text


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("plain \\n C:\\users", "plain \\n C:\\users"),
        ("부정", r"\ubd80\uc815"),
        ("a😀", r"a\ud83d\ude00"),
        # Otherwise this text would come back as 부.
        (r"\ubd80", r"\u005cubd80"),
    ],
)
def test_only_other_letters_are_escaped(text, escaped):
    assert ascii_text.escape(text) == escaped
    assert ascii_text.unescape(escaped) == text


def test_json_stays_readable_as_json():
    content = {"labels": {"0": "부정", "1": "긍정 😀"}}
    assert json.loads(ascii_text.escape(json.dumps(content, ensure_ascii=False))) == content


@hypothesis.given(strategies.text(alphabet='\\ua0b부é😀\ud800\udc00\n"'))
@hypothesis.settings(max_examples=200, deadline=None)
def test_every_text_comes_back(text):
    escaped = ascii_text.escape(text)
    assert escaped.isascii()
    if not any("\ud800" <= character <= "\udfff" for character in text):
        assert ascii_text.unescape(escaped) == text


def test_values_of_structures_are_escaped():
    assert ascii_text.escape_values({"a": ["é", 1, None]}) == {"a": [r"\u00e9", 1, None]}
