"""Escaping of untrusted text: control characters are replaced, everything printable stays."""

import unicodedata

import hypothesis
import pytest
from hypothesis import strategies as st

from core import escape
from core.errors import UserError


@pytest.mark.parametrize(
    "text, escaped",
    [
        ("재미있다 ㅋㅋ <b>[red]", "재미있다 ㅋㅋ <b>[red]"),
        ("👩‍👩‍👧 और שלום\u200f", "👩‍👩‍👧 और שלום\u200f"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("a\nb\tc\rd\0", r"a\nb\tc\rd\x00"),
        ("\x7f\x9b31m", r"\x7f\x9b31m"),
        ("exe.\u202etxt\u2066", r"exe.\u202etxt\u2066"),
        ("a\u2028b\u2029", r"a\u2028b\u2029"),
        ("bad\udcff.tsv", r"bad\udcff.tsv"),
    ],
)
def test_only_control_characters_are_escaped(text, escaped):
    assert escape.line(text) == escaped


@hypothesis.given(st.text(st.characters(categories=None, exclude_categories=[])))
def test_any_text_becomes_printable(text):
    escaped = escape.line(text)
    assert not any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in escaped)
    assert not any(
        unicodedata.bidirectional(c) in ("LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI") for c in escaped
    )
    assert escaped.encode() and escape.line(escaped) == escaped if text else escaped == ""


def test_newlines_between_lines_stay():
    assert escape.lines("a\x1b\n\nb\r") == "a\\x1b\n\nb\\r"


def test_long_value_is_cut_in_quotes():
    assert escape.quote("x" * 61) == f"'{'x' * 60}...'" and escape.quote("\x1b'") == '"\\x1b\'"'


def test_user_error_is_escaped():
    assert str(UserError("data.train = \x1b[2J.tsv: no such file")) == r"data.train = \x1b[2J.tsv: no such file"
