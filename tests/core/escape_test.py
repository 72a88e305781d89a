"""What is shown of the input: a terminal obeys none of it, and what can be read stays as it is."""

import unicodedata

import hypothesis
import pytest
from hypothesis import strategies as st

from core import escape
from core.errors import UserError


@pytest.mark.parametrize(
    "text, shown",
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
def test_only_what_hides_something_is_written_out(text, shown):
    assert escape.shown(text) == shown


@hypothesis.given(st.text(st.characters(categories=None, exclude_categories=[])))
def test_whatever_the_text_no_control_is_left_and_it_can_be_printed(text):
    shown = escape.shown(text)
    assert not any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in shown)
    assert not any(
        unicodedata.bidirectional(c) in ("LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI") for c in shown
    )
    assert shown.encode() and escape.shown(shown) == shown if text else shown == ""


def test_lines_stay_lines():
    assert escape.shown_lines("a\x1b\n\nb\r") == "a\\x1b\n\nb\\r"


def test_a_quoted_value_is_cut():
    assert escape.quoted("x" * 61) == f"'{'x' * 60}...'" and escape.quoted("\x1b'") == '"\\x1b\'"'


def test_the_text_of_a_user_error_may_go_to_any_terminal():
    assert str(UserError("data.train = \x1b[2J.tsv: no such file")) == r"data.train = \x1b[2J.tsv: no such file"
