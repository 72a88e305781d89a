"""Finds texts that occur several times, by their hashes.

The hashes of all shards are divided into buckets, so that several workers can compare them: all hashes of one text are
in the same bucket.
"""

import dataclasses
from typing import Iterable, Iterator, NamedTuple

import numpy as np

from schema import features

# Enough for some dozens of workers; of 200 million rows, each holds 30 MB.
_BUCKET_BITS = 6


class TextHashes(NamedTuple):
    """The texts of some rows.

    Attributes:
      hashes: uint64[n].
      own: bool[n], whether the text is so long that it is its writer's own.
      groups: int[n], index of the label in `Task.label_groups`; -1 for none.
    """

    hashes: np.ndarray
    own: np.ndarray
    groups: np.ndarray


class ShardHashes(NamedTuple):
    """The texts of a shard in one bucket, with the name of its split and its number."""

    split: str
    shard: int
    texts: TextHashes


class Copies:
    """Tells rows of a shard that are read from those that are left out as copies, with nine bytes per repeated text."""

    def __init__(self, hashes: np.ndarray, seen: np.ndarray) -> None:
        """Takes the hashes of repeated texts, and whether all their rows are left out, or all but the first."""
        order = np.argsort(hashes)
        self._repeated, self._seen = hashes[order], seen[order]

    def first(self, hashes: np.ndarray) -> np.ndarray:
        """Returns bool[n], whether each of the next rows is read."""
        result = np.ones(hashes.size, bool)
        rows = np.flatnonzero(np.isin(hashes, self._repeated))
        places = np.searchsorted(self._repeated, hashes[rows])
        result[rows] = False
        result[rows[np.unique(hashes[rows], return_index=True)[1]]] = True
        result[rows] &= ~self._seen[places]
        self._seen[places] = True
        return result


@dataclasses.dataclass
class Duplicates:
    """What was found in some buckets, or in all of them.

    Attributes:
      own_rows: split -> rows with a long text.
      in_train: split -> those of them whose text is also in train.
      has_copies: whether a split has a text twice.
      first_labels: split -> int64[groups], rows of each label if each text counts once; copies with several labels
        count as the first of them in `Task.label_groups`.
      copies: shard -> its texts of which rows are left out if each text counts once, the arguments of `Copies`; the
        shard with the smallest number keeps the first row.
    """

    own_rows: dict[str, int] = dataclasses.field(default_factory=dict)
    in_train: dict[str, int] = dataclasses.field(default_factory=dict)
    has_copies: bool = False
    first_labels: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    copies: dict[int, tuple[np.ndarray, np.ndarray]] = dataclasses.field(default_factory=dict)

    def merge(self, other: "Duplicates") -> None:
        """Adds what was found in other buckets, but for `copies`."""
        for mine, more in ((self.own_rows, other.own_rows), (self.in_train, other.in_train)):
            for split, count in more.items():
                mine[split] = mine.get(split, 0) + count
        for split, labels in other.first_labels.items():
            self.first_labels[split] = self.first_labels.get(split, 0) + labels
        self.has_copies |= other.has_copies


def divide(texts: TextHashes) -> Iterator[tuple[int, TextHashes]]:
    """Yields the number of each bucket, and the texts in it."""
    buckets = (texts.hashes >> np.uint64(64 - _BUCKET_BITS)).astype(np.int64)
    order = np.argsort(buckets, kind="stable")
    starts = np.searchsorted(buckets[order], np.arange((1 << _BUCKET_BITS) + 1))
    for bucket, (start, end) in enumerate(zip(starts, starts[1:], strict=False)):
        if end > start:
            rows = order[start:end]
            yield bucket, TextHashes(*(column[rows] for column in texts))


def compare(parts: Iterable[ShardHashes], label_groups: int) -> Duplicates:
    """Compares the texts of a bucket.

    Args:
      parts: the texts of all shards.
      label_groups: number of groups of labels.
    """
    by_split: dict[str, list[ShardHashes]] = {}
    for part in parts:
        by_split.setdefault(part.split, []).append(part)
    found = Duplicates()
    hashes = {}
    for split, members in by_split.items():
        texts = TextHashes(*(np.concatenate(column) for column in zip(*(part.texts for part in members), strict=True)))
        shards = np.repeat([part.shard for part in members], [part.texts.hashes.size for part in members])
        hashes[split] = texts.hashes, texts.own
        _find_copies(found, split, texts, shards, label_groups)
    train = hashes.get(features.TRAIN_SPLIT, (np.empty(0, np.uint64),))[0]
    for split, (of_split, own) in hashes.items():
        found.own_rows[split] = int(own.sum())
        found.in_train[split] = int(np.isin(of_split[own], train).sum())
    return found


def _find_copies(found: Duplicates, split: str, texts: TextHashes, shards: np.ndarray, label_groups: int) -> None:
    """Fills the fields about the texts of a split that occur several times."""
    order = np.lexsort((shards, texts.hashes))
    hashes, shards = texts.hashes[order], shards[order]
    is_first = np.append(True, hashes[1:] != hashes[:-1])
    # Of labels that are in no group, -1, the copies' one is a label only if they are all.
    groups = np.where(texts.groups < 0, label_groups, texts.groups.astype(np.int64))[order]
    labels = np.minimum.reduceat(groups, np.flatnonzero(is_first))
    found.first_labels[split] = np.bincount(labels, minlength=label_groups + 1)[:label_groups]
    found.has_copies |= not is_first.all()
    # Rows of one text in one shard: left out are all but those of the first shard, and all but the first row of that.
    starts = np.flatnonzero(np.append(True, (hashes[1:] != hashes[:-1]) | (shards[1:] != shards[:-1])))
    sizes = np.diff(np.append(starts, hashes.size))
    chosen = starts[(sizes > 1) | ~is_first[starts]]
    for shard in np.unique(shards[chosen]):
        rows = chosen[shards[chosen] == shard]
        found.copies[int(shard)] = hashes[rows], ~is_first[rows]


def join_copies(parts: Iterable[tuple[np.ndarray, np.ndarray]]) -> Copies:
    """Joins a shard's `Duplicates.copies` of all buckets."""
    hashes, seen = zip(*parts, strict=True)
    return Copies(np.concatenate(hashes), np.concatenate(seen))
