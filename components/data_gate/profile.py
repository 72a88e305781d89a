"""The profile of a run's data: what stays known of it once it is gone.

It travels with the pushed model, as `model_files.DATA_PROFILE`, so that later data can be held against it. It holds
counts and common words, no review. Shares are taken by whoever compares, over the counts.
"""

import os
from typing import Annotated, Literal, Mapping

import pydantic

from components.data_gate.text_counts import LENGTH_EDGES, TextCounts
from components.data_gate.vocabulary import Vocabulary
from core.section import Section
from schema import features

PROFILE_FILE = "profile.json"
FORMAT = 1

# Nothing of ours is larger; a pushed folder is data that anyone may have changed.
_MAX_BYTES = 1 << 20

_BINS = len(LENGTH_EDGES) + 1


class SplitProfile(Section):
    """Counts over a split.

    Attributes:
      rows: how many.
      labels: rows of each label, by its name; empty where labels are no classes.
      lengths: rows by length in characters, in the bins of `text_counts.LENGTH_EDGES`.
      letters: letters by script.
      characters: how many, letters and others.
      unreadable: control, private use and replacement characters.
    """

    rows: pydantic.NonNegativeInt
    labels: Mapping[str, pydantic.NonNegativeInt]
    lengths: Annotated[tuple[pydantic.NonNegativeInt, ...], pydantic.Field(min_length=_BINS, max_length=_BINS)]
    letters: Mapping[str, pydantic.NonNegativeInt]
    characters: pydantic.NonNegativeInt
    unreadable: Mapping[str, pydantic.NonNegativeInt]


class Profile(Section):
    """The profile of a run's data.

    Attributes:
      format: of the file; another one can't be read.
      fingerprint: of the files that were read (`Ingest.fingerprint`).
      examples_sha256: of the examples made of them: the same files read by other settings are other data.
      reference: `reference.Reference.fingerprint` of what the data was held against.
      splits: by name.
      vocabulary: of the training rows.
    """

    format: Literal[1] = FORMAT
    fingerprint: str
    examples_sha256: str
    reference: str
    splits: Mapping[str, SplitProfile]
    vocabulary: Vocabulary

    @pydantic.field_validator("splits")
    @classmethod
    def _with_train(cls, value: Mapping[str, SplitProfile]) -> Mapping[str, SplitProfile]:
        if features.TRAIN_SPLIT not in value:
            raise ValueError(f"lacks the split {features.TRAIN_SPLIT}")
        return value


def make_split_profile(labels: Mapping[str, int], counts: TextCounts) -> SplitProfile:
    """Makes the profile of a split.

    Args:
      labels: rows of each label, by its name.
      counts: of the split's texts.
    """
    return SplitProfile(
        rows=int(counts.lengths.sum()),
        labels=labels,
        lengths=tuple(counts.lengths.tolist()),
        letters=counts.letters(),
        characters=counts.characters.total(),
        unreadable=counts.unreadable(),
    )


def write(folder: str, profile: Profile) -> None:
    """Writes `profile.json` into an artifact's folder, whole or not at all."""
    path = os.path.join(folder, PROFILE_FILE)
    with open(path + ".tmp", "w", encoding="utf-8") as stream:
        stream.write(profile.model_dump_json())
    os.replace(path + ".tmp", path)


def read(path: str) -> Profile:
    """Reads a profile's file.

    Raises:
      OSError: there is none, or it can't be read.
      ValueError: it is no profile of this format; the text says why in a few words.
    """
    if os.path.getsize(path) > _MAX_BYTES:
        raise ValueError(f"it has more than {_MAX_BYTES:,} bytes")
    with open(path, "rb") as stream:
        content = stream.read()
    try:
        return Profile.model_validate_json(content)
    except pydantic.ValidationError as error:
        fault = error.errors()[0]
        raise ValueError(" ".join((".".join(map(str, fault["loc"])), fault["msg"])).strip()) from error


def share_of(name: str, counts: Mapping[str, int]) -> float:
    """Returns a name's share of all counts, 0 where there are none."""
    return counts.get(name, 0) / max(sum(counts.values()), 1)
