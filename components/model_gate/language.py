"""The language of a run's data, to choose sentence pairs that a model of it can be asked about."""

import os
from typing import Optional

from components.data_gate.profile import Profile
from components.data_gate.quality import main_script
from components.data_gate.text_counts import TextCounts
from core import installation
from schema import features

# Words that are frequent in English and rare in other languages with Latin letters.
_ENGLISH = {"the", "and", "is", "this", "was", "not", "it", "with", "you", "that", "are", "have", "but", "my", "very"}
# Data is English if at least 5 of its 50 most frequent words are in the set.
_FREQUENT, _ENGLISH_WORDS = 50, 5


def bundled_pairs(profile: Profile) -> Optional[str]:
    """Returns the bundled sentence pairs for the language of the data; None for a language without any."""
    script = script_of_data(profile)
    english_words = _ENGLISH.intersection(profile.vocabulary.words[:_FREQUENT])
    is_english = script == "Latin" and len(english_words) >= _ENGLISH_WORDS
    language = "korean" if script == "Hangul" else "english" if is_english else None
    return language and os.path.join(installation.ROOT, "data", "invariance", f"{language}.tsv")


def script_of_data(profile: Profile) -> Optional[str]:
    """Returns the script of most letters of the training split; None if none prevails."""
    return main_script(profile.splits[features.TRAIN_SPLIT].letters)


def script_of_texts(texts: list[str]) -> Optional[str]:
    """Returns the script of most letters of some texts; None if none prevails."""
    return main_script(TextCounts(texts).letters())
