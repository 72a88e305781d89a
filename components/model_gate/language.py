"""The language of a run's data, to choose sentence pairs that a model of it can be asked about."""

import os
from typing import Mapping, Optional

from components.data_gate.profile import Profile
from components.data_gate.quality import MAIN_SCRIPT_SHARE
from components.data_gate.text_counts import TextCounts
from core import installation
from schema import features

# Words that are frequent in English and rare in other languages with Latin letters.
_ENGLISH = {"the", "and", "is", "this", "was", "not", "it", "with", "you", "that", "are", "have", "but", "my", "very"}
# Of the most frequent words of English reviews, more than these are in the set.
_FREQUENT_WORDS, _ENGLISH_WORDS = 50, 5


def bundled_pairs(profile: Profile) -> Optional[str]:
    """Returns the bundled sentence pairs for the language of the data; None for a language without any."""
    language = "korean" if main_script(profile) == "Hangul" else "english" if _is_english(profile) else None
    return language and os.path.join(installation.ROOT, "data", "invariance", f"{language}.tsv")


def main_script(profile: Profile) -> str:
    """Returns the script of most letters of the training split; empty if none prevails."""
    return _prevailing(profile.splits[features.TRAIN_SPLIT].letters)


def script_of_texts(texts: list[str]) -> str:
    """Returns the script of most letters of some texts; empty if none prevails."""
    return _prevailing(TextCounts(texts).letters())


def _prevailing(letters: Mapping[str, int]) -> str:
    script = max(sorted(letters), key=letters.__getitem__, default="")
    return script if script and letters[script] >= MAIN_SCRIPT_SHARE * sum(letters.values()) else ""


def _is_english(profile: Profile) -> bool:
    frequent = profile.vocabulary.words[:_FREQUENT_WORDS]
    return main_script(profile) == "Latin" and len(_ENGLISH.intersection(frequent)) >= _ENGLISH_WORDS
