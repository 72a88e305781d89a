"""Recognises texts that were read in a wrong codec: read in the right one, they have the letters that are expected."""

from typing import Optional, Sequence

from components.data_gate.profile import share_of
from components.data_gate.quality import MAIN_SCRIPT_SHARE
from components.data_gate.text_counts import TextCounts

# Codecs that read any bytes, or almost any, so that programs fall back to them.
_FALLBACKS = ("latin-1", "cp1252")
_CODECS = ("utf-8", "cp949", "cp932", "gb18030", "big5", "cp1251", "cp1253", "cp1256")


def find_codec(texts: Sequence[str], script: str) -> Optional[tuple[str, str]]:
    """Finds the codec that texts should have been read in.

    Args:
      texts: the texts.
      script: the script that most letters should have, as in `text_counts.script_of`.

    Returns:
      The codec that they were probably read in, and the one that makes most letters of most texts those of the script;
      None if they have that script already, or no codec does.
    """
    if share_of(script, TextCounts(texts).letters()) >= MAIN_SCRIPT_SHARE:
        return None
    for wrong in _FALLBACKS:
        for right in _CODECS:
            decoded = [text for text in (_recode(text, wrong, right) for text in texts) if text is not None]
            if 2 * len(decoded) > len(texts) and share_of(script, TextCounts(decoded).letters()) >= MAIN_SCRIPT_SHARE:
                return wrong, right
    return None


def _recode(text: str, wrong: str, right: str) -> Optional[str]:
    try:
        return text.encode(wrong).decode(right)
    except UnicodeError:
        return None
