"""The slices of the test rows that a text belongs to, by its length and by its scripts."""

import re

LENGTH = "length"
SCRIPT = "script"

# Band -> its greatest length in characters. Each band is twice as wide as the one before, because review lengths are
# approximately log-normal.
_LENGTH_BANDS = {"1-9": 9, "10-19": 19, "20-39": 39, "40-79": 79}
_LONGEST_BAND = "80+"

HANGUL, LATIN, EMOTICONS, OTHER = "hangul", "latin", "emoticons", "other"

_EMOTICON = re.compile("[ㅋㅎㅠㅜ]{2}")
_LATIN_LETTER = re.compile("[A-Za-zÀ-ÖØ-öø-ɏＡ-Ｚａ-ｚ]")
# Syllables, compatibility jamo (typed alone, as in ㅋㅋ), and the conjoining jamo of decomposed (NFD) text.
_HANGUL = re.compile("[가-힣ㄱ-ㆎ\u1100-\u11ff]")

# All slices, by their names in verdicts and `gates.slices`.
NAMES = tuple(
    [f"{LENGTH}:{band}" for band in (*_LENGTH_BANDS, _LONGEST_BAND)]
    + [f"{SCRIPT}:{script}" for script in (HANGUL, LATIN, EMOTICONS, OTHER)]
)


def length_band(text: str) -> str:
    """Returns the band of a text's length in characters (code points)."""
    return next((band for band, longest in _LENGTH_BANDS.items() if len(text) <= longest), _LONGEST_BAND)


def scripts(text: str) -> list[str]:
    """Returns the script slices of a text, at least one.

    `latin` (at least one Latin letter) and `emoticons` (two or more of ㅋㅎㅠㅜ in a row) overlap: "good ㅋㅋ" is in
    both, because either may confuse a model. `hangul` is Hangul without either of them, and `other` is everything else:
    digits, punctuation, emoji, other scripts.
    """
    mixed = [name for name, pattern in ((LATIN, _LATIN_LETTER), (EMOTICONS, _EMOTICON)) if pattern.search(text)]
    return mixed or [HANGUL if _HANGUL.search(text) else OTHER]
