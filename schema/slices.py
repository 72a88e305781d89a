"""Which slices of the test rows a text belongs to: by its length, and by the scripts in it."""

import re

LENGTH = "length"
SCRIPT = "script"

# Characters, both ends in the band, each twice as wide as the one before: a review's length is about log-normal.
_LENGTH_BANDS = {"1-9": 9, "10-19": 19, "20-39": 39, "40-79": 79}
_LONGEST_BAND = "80+"

HANGUL, LATIN, EMOTICONS, OTHER = "hangul", "latin", "emoticons", "other"

_EMOTICON = re.compile("[ㅋㅎㅠㅜ]{2}")
_LATIN_LETTER = re.compile("[A-Za-zÀ-ÖØ-öø-ɏＡ-Ｚａ-ｚ]")
# Syllables, the letters of the keyboard, and the ones that decomposed (NFD) text is made of.
_HANGUL = re.compile("[가-힣ㄱ-ㆎ\u1100-\u11ff]")

# Every slice, as verdicts and `gates.slices` name it.
NAMES = tuple(
    [f"{LENGTH}:{band}" for band in (*_LENGTH_BANDS, _LONGEST_BAND)]
    + [f"{SCRIPT}:{script}" for script in (HANGUL, LATIN, EMOTICONS, OTHER)]
)


def length_band(text: str) -> str:
    """Returns the band of a text's length in characters (code points); the bands are disjoint."""
    return next((band for band, most in _LENGTH_BANDS.items() if len(text) <= most), _LONGEST_BAND)


def scripts(text: str) -> list[str]:
    """Returns what a text is written in.

    `latin` (a Latin letter is in it) and `emoticons` (two or more of ㅋㅎㅠㅜ in a row) overlap: "good ㅋㅋ" counts for
    both, since each names something that a model may stumble over. `hangul` is Hangul without either, and `other`
    has none of them: digits, punctuation, emoji, other scripts. So every text has at least one.
    """
    found = [name for name, pattern in ((LATIN, _LATIN_LETTER), (EMOTICONS, _EMOTICON)) if pattern.search(text)]
    return found or [HANGUL if _HANGUL.search(text) else OTHER]
