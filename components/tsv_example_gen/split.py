"""Which split a record is in, and whether a sample takes it: pure functions of the record's own bytes.

A split is chosen by a hash of the texts alone. So it is the same whatever the file, the order of its rows
or the runner; it stays when rows are added; and copies of a text never straddle `train` and `dev`, whatever
their ids and labels. The dev split is the low end of the hash's range and a held-out test split the high
end, so that a record doesn't change sides of `dev` when a test file is added.

A sample of n is the n records with the smallest hash of (seed, id, texts, label), taken before the split.
Only exact copies of the n-th record make it larger: they share its hash and come together.
"""

import dataclasses
import hashlib
import itertools
from typing import Iterable, Optional, Sequence

import numpy as np

from core.errors import UserError
from schema import features

HASHES = 1 << 64
# Hashes gathered before they are cut to the smallest again: 8 MiB, and few cuts.
_CHUNK = 1 << 20


@dataclasses.dataclass(frozen=True)
class Boundaries:
    """Where the range of the hash is cut.

    Attributes:
      dev_end: hashes below it are `dev`, 0 to 2**64.
      test_start: hashes from it on are `test`; 2**64 where no test split is held out.
    """

    dev_end: int
    test_start: int


def make_boundaries(dev_fraction: float, test_fraction: Optional[float]) -> Boundaries:
    """Cuts the hash's range by fractions.

    Args:
      dev_fraction: share of the training file for `dev`, in (0, 1).
      test_fraction: share of it held out as `test`, in (0, 1); None where a test file is given.

    Raises:
      UserError: nothing is left to train on.
    """
    if dev_fraction + (test_fraction or 0.0) >= 1.0:
        raise UserError(
            f"data.dev_fraction = {dev_fraction} and data.test_fraction = {test_fraction}: "
            "together they should be less than 1, for the rest is trained on"
        )
    return Boundaries(int(dev_fraction * HASHES), int((1.0 - (test_fraction or 0.0)) * HASHES))


def assign_split(text_hash_value: int, boundaries: Boundaries) -> str:
    """Returns the split of a record of the training file."""
    if text_hash_value < boundaries.dev_end:
        return features.DEV_SPLIT
    return features.TEST_SPLIT if text_hash_value >= boundaries.test_start else features.TRAIN_SPLIT


def text_hash(texts: Sequence[bytes]) -> int:
    """Returns the 64-bit hash of a record's texts (UTF-8, without NUL)."""
    return _hash64(b"text", texts)


def sample_hash(seed: int, record_id: str, texts: Sequence[str], label: int) -> int:
    """Returns the 64-bit hash that orders records for a sample."""
    return _hash64(b"sample", (part.encode() for part in (str(seed), record_id, *texts, str(label))))


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
    """Merges uint64[n] arrays into the `count` smallest values of all, in no order."""
    merged = np.concatenate(parts)
    return merged if merged.size <= count else np.partition(merged, count - 1)[:count]


def sample_threshold(kept: np.ndarray, count: int) -> int:
    """Returns the largest hash that a sample of `count` takes, given the smallest hashes of all records."""
    return int(kept.max()) if kept.size >= count else HASHES - 1


def _hash64(use: bytes, parts: Iterable[bytes]) -> int:
    """Hashes parts that hold no NUL, hence the separator; `use` makes the two hashes independent."""
    return int.from_bytes(hashlib.blake2b(b"\0".join(parts), digest_size=8, person=use).digest(), "big")
