"""Reads and tokenises a split of reviews, in an order that does not depend on its shards."""

import dataclasses
import hashlib
import heapq
from typing import Any, Optional, Sequence

import numpy as np

from artifacts import examples
from core import progress
from trainer import tokens

# Number of dev rows for which ServingValidator compares the served model with the training process.
GOLDEN_ROWS = 64


@dataclasses.dataclass(frozen=True)
class Split:
    """A tokenised split, without its texts.

    Attributes:
      tokens: tokens of its n rows.
      labels: int64[n], class of each row, or float32[n], its score.
      first_texts: the texts of the first rows, at most `GOLDEN_ROWS`.
      digest: SHA-256 of all ids, texts and labels, and of teachers' logits.
      teacher_logits: float32[n, head_units], nan for rows with a label of their own; None without teachers.
    """

    tokens: tokens.Tokens
    labels: np.ndarray
    first_texts: Sequence[examples.Texts]
    digest: str
    teacher_logits: Optional[np.ndarray] = None


def read_split(patterns: Sequence[str], preprocess: Any, max_length: int, name: str) -> Split:
    """Reads and tokenises a split in chunks.

    The rows are sorted by a hash of id and texts, since the number and order of the shards may vary.

    Args:
      patterns: file patterns of the split's shards.
      preprocess: a loaded preprocess model of TF Hub's common text API.
      max_length: maximum number of tokens of a row.
      name: name of the split, for the progress.
    """
    writer = tokens.TokenWriter(preprocess, max_length)
    keys = [np.zeros(0, np.uint64)]
    labels: list[np.ndarray] = []
    first: list[tuple[int, int, examples.Texts]] = []
    for ids, texts, chunk_labels in examples.read_rows(patterns, tokens.CHUNK_ROWS):
        writer.add(*zip(*texts, strict=True))
        chunk_keys = [_key(*row) for row in zip(ids, texts, strict=True)]
        keys.append(np.array(chunk_keys, np.uint64))
        labels.append(chunk_labels)
        rows = zip(chunk_keys, chunk_labels.tolist(), texts, strict=True)
        first = heapq.nsmallest(GOLDEN_ROWS, [*first, *rows])
        progress.report(f"tokenising {name}", sum(map(len, labels)), 0)
    all_keys, all_labels = np.concatenate(keys), np.concatenate(labels or [np.zeros(0, np.int64)])
    # By key, then by label: rows that are equal in both are duplicates.
    order = np.lexsort((all_labels, all_keys))
    digest = hashlib.sha256(all_keys[order].tobytes() + all_labels[order].tobytes()).hexdigest()
    return Split(writer.tokens().ordered(order), all_labels[order], [texts for *_, texts in first], digest)


def _key(row_id: bytes, texts: examples.Texts) -> int:
    # The length distinguishes ("a", "bc") from ("ab", "c"); texts have no NUL.
    content = len(row_id).to_bytes(8, "big") + row_id + b"\0".join(texts)
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big")
