"""Classes of characters that a BERT's tokenizer treats alike, for regular expressions of TensorFlow (RE2).

The library `tokenizers`, which transformers uses, has the tables of an old Unicode, and RE2 those of a newer one. So
the classes are found by asking the library about each character that could belong to them.
"""

import functools
import sys
import unicodedata
from typing import Callable, Iterable

from tokenizers import normalizers, pre_tokenizers

# As the library has them; one range differs from BERT's own code, which starts it at 2B820.
CHINESE = (
    r"[\x{4E00}-\x{9FFF}\x{3400}-\x{4DBF}\x{20000}-\x{2A6DF}\x{2A700}-\x{2B73F}\x{2B740}-\x{2B81F}\x{2B920}-\x{2CEAF}"
    r"\x{F900}-\x{FAFF}\x{2F800}-\x{2FA1F}]"
)


@functools.cache
def removed() -> str:
    """Returns the class of characters that cleaning removes: control, format and private-use characters."""
    clean = normalizers.BertNormalizer(True, False, False, False)
    return _character_class(_select("C\N{REPLACEMENT CHARACTER}", lambda char: clean.normalize_str(char) == ""))


@functools.cache
def whitespace() -> str:
    """Returns the class of characters between words."""
    split = pre_tokenizers.WhitespaceSplit()
    return _character_class(_select("ZC", lambda char: not split.pre_tokenize_str(char)))


@functools.cache
def punctuation() -> str:
    """Returns the class of characters that are words of their own."""
    split = pre_tokenizers.BertPreTokenizer()
    # Unicode has since made a mark of one of them.
    return _character_class(_select("PSMN", lambda char: len(split.pre_tokenize_str(f"a{char}a")) == 3))


@functools.cache
def accents() -> str:
    """Returns the class of characters that are removed with the accents, after decomposition."""
    strip = normalizers.BertNormalizer(False, False, True, False)
    return _character_class(_select("M", lambda char: strip.normalize_str(char) == ""))


@functools.cache
def marks() -> str:
    """Returns the class of characters that SentencePiece tokenizers remove with the accents."""
    strip = normalizers.StripAccents()
    return _character_class(_select("M", lambda char: strip.normalize_str(char) == ""))


def _select(kinds: str, belongs: Callable[[str], bool]) -> list[int]:
    """Returns the code points that belong, of those that are named or whose category starts with a named letter."""
    candidates = (chr(point) for point in range(sys.maxunicode + 1) if not 0xD800 <= point < 0xE000)
    return [
        ord(char)
        for char in candidates
        if (unicodedata.category(char)[0] in kinds and unicodedata.category(char) != "Cn" or char in kinds)
        and belongs(char)
    ]


def _character_class(points: Iterable[int]) -> str:
    ranges: list[tuple[int, int]] = []
    for point in points:
        if ranges and ranges[-1][1] == point - 1:
            ranges[-1] = (ranges[-1][0], point)
        else:
            ranges.append((point, point))
    return "[" + "".join(rf"\x{{{first:X}}}-\x{{{last:X}}}" for first, last in ranges) + "]"
