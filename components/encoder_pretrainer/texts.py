"""Collects the texts of a pre-training: the training split's and those of further tables, without dev and test texts.

Labels are not read. A text that occurs several times counts once, with the mean of its scores.
"""

import collections
import dataclasses
import hashlib
import math
import os
from typing import Iterable, Iterator, Mapping, Sequence

import numpy as np

from artifacts import examples
from components import text_tables
from components.encoder_pretrainer.packed_texts import PackedTexts
from core.config import TextsConfig
from schema.hashing import hash64
from trainer import tokens

# The setting, which messages about a table name.
SETTING = "encoder.pretrain.texts"

# Texts for measuring: enough for an accuracy of some hundred thousand tokens.
MAX_HELD_OUT = 5000


@dataclasses.dataclass(frozen=True)
class Corpus:
    """Different texts in the order of their bytes.

    Attributes:
      texts: UTF-8.
      scores: float32[n], 0 to 1, nan for none.
      is_held_out: bool[n], whether a text is for measuring only.
      left_out: split -> number of texts left out because they are in it.
      rejected: rejected rows of the tables by reason; `bad_score` counts rows that are used without their score.
    """

    texts: Sequence[bytes]
    scores: np.ndarray
    is_held_out: np.ndarray
    left_out: Mapping[str, int]
    rejected: Mapping[str, int]

    @property
    def digest(self) -> str:
        """SHA-256 of texts, scores and choice."""
        digest = hashlib.sha256(self.scores.tobytes() + self.is_held_out.tobytes())
        for text in self.texts:
            digest.update(len(text).to_bytes(8, "big") + text)
        return digest.hexdigest()


def read_split(folder: str) -> Iterator[bytes]:
    """Yields the texts of a split of an Examples artifact, both texts of pairs."""
    for _, rows, _ in examples.read_rows([os.path.join(folder, "*")], tokens.CHUNK_ROWS):
        for row in rows:
            yield from row


def collect(
    train: Iterable[bytes],
    tables: Sequence[TextsConfig],
    held_back: Mapping[str, Iterable[bytes]],
    held_out_fraction: float,
) -> Corpus:
    """Collects the texts.

    Args:
      train: texts of the training split.
      tables: further tables.
      held_back: split -> texts that must not be used.
      held_out_fraction: share of the texts for measuring, at most `MAX_HELD_OUT`; chosen by a hash of the text.

    Raises:
      UserError: a table can't be used.
    """
    different = set(train)
    # Only of texts that have one.
    totals: dict[bytes, list[float]] = {}
    rejected: collections.Counter[str] = collections.Counter()
    for table in tables:
        for row, score in text_tables.read_table(table, SETTING, rejected):
            different.update(row)
            if score is not None:
                for text in row:
                    total = totals.setdefault(text, [0.0, 0.0])
                    total[0] += score
                    total[1] += 1
    left_out = {}
    for split, texts in held_back.items():
        before = len(different)
        different.difference_update(texts)
        left_out[split] = before - len(different)
    ordered = sorted(different)
    scores = [totals[text][0] / totals[text][1] if text in totals else math.nan for text in ordered]
    is_held_out = np.zeros(len(ordered), bool)
    count = min(MAX_HELD_OUT, round(held_out_fraction * len(ordered)))
    hashes = np.array([hash64(b"held-out", [text]) for text in ordered] if count else [], np.uint64)
    is_held_out[np.argsort(hashes, kind="stable")[:count]] = True
    return Corpus(PackedTexts(ordered), np.array(scores, np.float32), is_held_out, left_out, dict(rejected))
