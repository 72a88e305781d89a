"""Slices of a text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schema import slices


@pytest.mark.parametrize(
    ("length", "band"),
    [(1, "1-9"), (9, "1-9"), (10, "10-19"), (19, "10-19"), (20, "20-39"), (40, "40-79"), (80, "80+"), (10_000, "80+")],
)
def test_bands_include_both_ends(length, band):
    assert slices.length_band("가" * length) == band


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("재미있다! 10점", ["hangul"]),
        ("재미있다 ㅋ", ["hangul"]),
        ("재미있다 ㅋㅋ", ["emoticons"]),
        ("ㅠㅜ", ["emoticons"]),
        ("good", ["latin"]),
        ("굿 GOOD ㅎㅎ", ["latin", "emoticons"]),
        ("Ｇ급", ["latin"]),
        ("café", ["latin"]),
        ("\u1112\u1161\u11ab", ["hangul"]),
        ("10/10 !!", ["other"]),
        ("最高 ★", ["other"]),
        ("×÷", ["other"]),
    ],
)
def test_scripts(text, expected):
    assert slices.scripts(text) == expected


@given(st.text(min_size=1))
def test_every_text_has_a_band_and_a_script_with_known_names(text):
    names = [f"length:{slices.length_band(text)}", *(f"script:{script}" for script in slices.scripts(text))]
    assert len(names) >= 2 and set(names) <= set(slices.NAMES)
