"""The profile of a run's data: counts and frequent words, but no reviews.

It is pushed with the model, as `model_files.DATA_PROFILE`, so that the data of later runs can be compared with it.
"""

import os
from typing import Annotated, Literal, Mapping

import pydantic

from artifacts.examples import PROFILE_FILE
from components.data_gate.text_counts import LENGTH_EDGES, TextCounts
from components.data_gate.vocabulary import Vocabulary
from core.files import atomic_write
from core.section import Section
from schema import features

# Our profiles are smaller, but anyone may have changed a pushed folder.
_MAX_BYTES = 1 << 20

_BINS = len(LENGTH_EDGES) + 1


class SplitProfile(Section):
    """Counts over a split.

    Attributes:
      rows: number of rows.
      labels: rows of each label, by its name; empty if labels are not classes.
      lengths: rows by length in characters, in the bins of `text_counts.LENGTH_EDGES`.
      letters: number of letters by script.
      characters: number of all characters.
      unreadable: number of control, private use and replacement characters.
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
      format: version of the file format.
      fingerprint: fingerprint of the input files (`Ingest.fingerprint`).
      examples_sha256: `artifacts.examples.data_digest`, which differs if the same files are read with other settings.
      reference: `Reference.fingerprint` of the reference that the data was compared with.
      splits: the profile of each split, by name.
      vocabulary: vocabulary of the training rows.
    """

    format: Literal[1] = 1
    fingerprint: str
    examples_sha256: str
    reference: str
    splits: Mapping[str, SplitProfile]
    vocabulary: Vocabulary

    @pydantic.field_validator("splits")
    @classmethod
    def _with_train(cls, value: Mapping[str, SplitProfile]) -> Mapping[str, SplitProfile]:
        if features.TRAIN_SPLIT not in value:
            raise ValueError(f"the split {features.TRAIN_SPLIT} is missing")
        return value


def make_split_profile(labels: Mapping[str, int], counts: TextCounts) -> SplitProfile:
    """Builds the profile of a split.

    Args:
      labels: rows of each label, by its name.
      counts: counts over the split's texts.
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
    """Writes `profile.json` into an artifact's folder."""
    with atomic_write(os.path.join(folder, PROFILE_FILE)) as stream:
        stream.write(profile.model_dump_json())


def read(path: str) -> Profile:
    """Reads a profile.

    Raises:
      OSError: the file is missing or can't be read.
      ValueError: it is not a profile in this format; the message is a short reason.
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
    """Returns a name's share of all counts, or 0 if there are no counts."""
    return counts.get(name, 0) / max(sum(counts.values()), 1)
