"""Assigns records to splits and samples, by pure functions of the record's own bytes.

The split depends on a hash of the seed and the texts alone, not on the file, the order of its rows or the runner. It
stays the same when rows are added, and copies of a text never land in both `train` and `dev`, even if their ids or
labels differ. `dev` is the low end of the hash's range and a held-out test split the high end, so that adding a test
file moves no record into or out of `dev`.

A sample of n is the n records with the smallest hash of (seed, id, texts, label), taken before the split. Only exact
copies of the n-th record, which share its hash, make it larger.
"""

import dataclasses
import hashlib
import itertools
import json
from typing import Iterable, Mapping, Optional, Sequence

import numpy as np

from core.errors import UserError
from schema import features
from schema.hashing import hash64, hash128, text_hash
from schema.task import Label

HASHES = 1 << 64
# Of `row_hash`.
_WORD_BITS, HASH_WORDS = 32, 4
# Hashes to collect between cuts: 8 MiB, and few cuts.
_CHUNK = 1 << 20


@dataclasses.dataclass(frozen=True)
class Boundaries:
    """How the range of the text hash is divided.

    Attributes:
      dev_end: smaller hashes are `dev`; 0 to 2**64, 0 without a held-out dev split.
      test_start: equal or larger hashes are `test`; 2**64 without a held-out test split.
      seed: another seed hashes, and so splits, differently.
    """

    dev_end: int
    test_start: int
    seed: int = 0


def make_boundaries(dev_fraction: Optional[float], test_fraction: Optional[float], seed: int = 0) -> Boundaries:
    """Divides the hash's range by fractions.

    Args:
      dev_fraction: share of the training file for `dev`, in (0, 1); None with a dev file.
      test_fraction: share held out as `test`, in (0, 1); None with a test file.
      seed: seed of the split.

    Raises:
      UserError: the fractions leave nothing to train on.
    """
    if (dev_fraction or 0.0) + (test_fraction or 0.0) >= 1.0:
        raise UserError(
            f"data.dev_fraction = {dev_fraction} and data.test_fraction = {test_fraction}: "
            "their sum should be less than 1, because the rest is the training split"
        )
    return Boundaries(int((dev_fraction or 0.0) * HASHES), int((1.0 - (test_fraction or 0.0)) * HASHES), seed)


def assign_split(texts: Sequence[bytes], boundaries: Boundaries) -> str:
    """Returns the split of a record of the training file, given its texts (UTF-8)."""
    value = text_hash(texts) if not boundaries.seed else hash64(b"split", (str(boundaries.seed).encode(), *texts))
    if value < boundaries.dev_end:
        return features.DEV_SPLIT
    return features.TEST_SPLIT if value >= boundaries.test_start else features.TRAIN_SPLIT


def sample_hash(seed: int, record_id: str, texts: Sequence[str], label: Label) -> int:
    """Returns the 64-bit hash that orders records for a sample."""
    return hash64(b"sample", (part.encode() for part in (str(seed), record_id, *texts, str(label))))


def row_hash(record_id: str, texts: Sequence[str], label: Label) -> tuple[int, ...]:
    """Returns the 128-bit hash of a row as `HASH_WORDS` words of 32 bits, the lowest first.

    Beam's integers have 64 bits, so it can add up the words of two billion rows.
    """
    value = hash128(b"row", (part.encode() for part in (record_id, *texts, str(label))))
    return tuple(value >> (_WORD_BITS * word) & ((1 << _WORD_BITS) - 1) for word in range(HASH_WORDS))


def rows_digest(hash_sums: Mapping[str, Sequence[int]]) -> str:
    """Returns a digest of the rows of all splits, which depends neither on their order nor on the shards.

    Equal rows count each, which an exclusive or of the hashes would not see (AdHash: Bellare and Micciancio, "A New
    Paradigm for Collision-Free Hashing", 1997).

    Args:
      hash_sums: split -> for each word of `row_hash`, its sum over the rows.
    """
    totals = {
        name: sum(total << (_WORD_BITS * word) for word, total in enumerate(words)) for name, words in hash_sums.items()
    }
    sums = {name: f"{total % (1 << 128):032x}" for name, total in totals.items()}
    return hashlib.sha256(json.dumps(sums, sort_keys=True).encode()).hexdigest()


def smallest(hashes: Iterable[int], count: int) -> np.ndarray:
    """Returns the `count` smallest hashes, uint64[<= count], copies included; memory is O(count)."""
    hashes = iter(hashes)
    kept = np.empty(0, np.uint64)
    while True:
        chunk = np.fromiter(itertools.islice(hashes, _CHUNK), np.uint64)
        if not chunk.size:
            return kept
        kept = cut_to_smallest([kept, chunk], count)


def cut_to_smallest(parts: Sequence[np.ndarray], count: int) -> np.ndarray:
    """Merges uint64[n] arrays into the `count` smallest values, unordered."""
    merged = np.concatenate(parts)
    return merged if merged.size <= count else np.partition(merged, count - 1)[:count]


def sample_threshold(kept: np.ndarray, count: int) -> int:
    """Returns the largest hash in a sample of `count`, given the smallest hashes of all records."""
    return int(kept.max()) if kept.size >= count else HASHES - 1
