"""Collects the texts of a pre-training: the training split's and those of further tables, without dev and test texts.

Labels are not read. A text that occurs several times counts once, with the mean of its scores.
"""

import collections
import dataclasses
import hashlib
import math
import os
from typing import Iterable, Iterator, Mapping, Optional, Sequence, Union

import numpy as np

from artifacts import examples
from components.encoder_pretrainer.packed_texts import PackedTexts
from components.tsv_example_gen import file_head, parse, reader, sources
from components.tsv_example_gen.dialect import make_dialect
from core import progress
from core.config import DataConfig, TextsConfig
from schema import rejections
from schema.hashing import hash64
from trainer import tokens

# The setting, which messages about a table name.
SETTING = "encoder.pretrain.texts"
BAD_SCORE = "bad_score"

# Texts for measuring: enough for an accuracy of some hundred thousand tokens.
MAX_HELD_OUT = 5000
_REPORT_ROWS = 100_000


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
        for text, score in read_table(table, rejected):
            different.add(text)
            if score is not None:
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


def read_table(table: TextsConfig, rejected: "collections.Counter[str]") -> Iterator[tuple[bytes, Optional[float]]]:
    """Yields the texts of a table, each with its score from 0 to 1, None for none.

    Args:
      table: the table.
      rejected: is increased by the rejected rows by reason.

    Raises:
      UserError: a file can't be used.
    """
    data = table.data
    for file, head in locate(table):
        text_columns = [parse.find_column(head.columns, f"{SETTING}.text", name) for name in data.texts]
        score_column = parse.find_column(head.columns, f"{SETTING}.score", table.score) if table.score else None
        for fields in _read_fields(file, head, data):
            if isinstance(fields, parse.Rejection):
                rejected[fields.reason] += 1
                continue
            texts = parse.pick_texts(fields, len(head.columns), text_columns)
            if isinstance(texts, parse.Rejection):
                rejected[texts.reason] += 1
                continue
            score = None
            if score_column is not None and fields[score_column].strip():
                score = parse_score(fields[score_column], table.score_range)
                if score is None:
                    rejected[BAD_SCORE] += 1
            for text in texts:
                yield text.encode(), score


def _read_fields(
    file: sources.SourceFile, head: file_head.FileHead, data: DataConfig
) -> Iterator[Union[list[str], parse.Rejection]]:
    """Yields the fields of each record of a file, or why it is rejected."""
    dialect = make_dialect(data, head.keys)
    records = reader.read_records(reader.whole_file(file, head), data, data.make_task())
    for count, record in enumerate(records, start=1):
        if count % _REPORT_ROWS == 0:
            progress.report(f"reading {os.path.basename(file.name)}", count, 0)
        if record.too_long:
            yield parse.Rejection(rejections.LINE_TOO_LONG, "")
        else:
            yield parse.parse_fields(record.content, dialect)


def locate(table: TextsConfig) -> Iterator[tuple[sources.SourceFile, file_head.FileHead]]:
    """Yields the files of a table that have records, with their heads.

    Raises:
      UserError: a file can't be used, or lacks a column.
    """
    data = table.data
    files = sources.resolve_location(SETTING, table.file, None, None)[0]
    for file, head in zip(files, file_head.read_heads(files, data), strict=True):
        if head.has_records:
            wanted = [*data.texts, *([table.score] if table.score else [])]
            for name in wanted:
                if name.strip() not in [column.strip() for column in head.columns]:
                    raise file.error(f"column {name!r} is missing from the columns {', '.join(head.columns)}")
            yield file, head


def check(tables: Sequence[TextsConfig]) -> None:
    """Checks the start of the tables' files.

    Raises:
      UserError: a file can't be used, or lacks a column.
    """
    for table in tables:
        collections.deque(locate(table), maxlen=0)


def fingerprint(tables: Sequence[TextsConfig]) -> str:
    """Returns a digest of the files' content, empty without tables.

    Raises:
      UserError: a file can't be used.
    """
    digests = []
    for table in tables:
        for file, head in locate(table):
            progress.report("fingerprint", 0, 0, file=file.name)
            sha256, _ = reader.survey(file, head, table.data, table.data.make_task())
            digests.append((table.model_dump_json(exclude={"file"}), sha256))
    return sources.fingerprint(digests) if digests else ""


def parse_score(value: str, score_range: tuple[float, float]) -> Optional[float]:
    """Returns a score scaled to 0 to 1; None if the value is not a number in the range."""
    low, high = score_range
    try:
        number = float(value)
    except ValueError:
        return None
    return (number - low) / (high - low) if low <= number <= high else None
