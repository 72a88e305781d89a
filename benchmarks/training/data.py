"""The rows that every contender trains on."""

import dataclasses
from typing import Optional

import numpy as np

from components.tsv_example_gen import file_head, parse, reader, sources, split
from core import files
from core.config import DataConfig
from schema import features
from trainer.tokens import Tokens

DEV_FRACTION = 0.1

# Name in the benchmarks -> settings of the task. All of them train on NSMC's labels 0 and 1.
TASKS = {
    "binary": {},
    "classes": {"labels": {str(value): str(value) for value in range(10)}},
    "ordinal": {"labels": {str(value): str(value) for value in range(10)}, "task": "ordinal"},
    "score": {"labels": {}, "task": "regression", "score_range": (0, 1)},
}


@dataclasses.dataclass(frozen=True)
class Rows:
    """Reviews and their labels.

    Attributes:
      texts: UTF-8 reviews.
      labels: int64[n], 0 or 1.
    """

    texts: list[bytes]
    labels: np.ndarray


def read_rows(file: str, count: Optional[int] = None) -> Rows:
    """Reads the rows of a TSV in NSMC's format as TsvExampleGen does; rejected rows are skipped.

    Args:
      file: the TSV.
      count: number of rows, from the start; None for all.
    """
    config = DataConfig(train=file)
    task = config.make_task()
    source = sources.SourceFile(sources.TRAIN, file, file)
    head = file_head.read_head(source, config)
    layout = parse.make_layout(head.columns, config, task)
    records = reader.read_records(reader.whole_file(source, head), config, task)
    parsed = (parse.parse_row(record.content, layout, task) for record in records)
    rows = [row for row in parsed if isinstance(row, parse.Row)][:count]
    return Rows([row.texts[0].encode() for row in rows], np.array([row.label for row in rows], np.int64))


def whole_batches(rows: Rows, batch_size: int) -> Rows:
    """Drops the rows after the last full batch."""
    whole = len(rows.texts) // batch_size * batch_size
    return Rows(rows.texts[:whole], rows.labels[:whole])


def split_rows(rows: Rows) -> tuple[Rows, Rows]:
    """Splits rows into (train, dev) by the hash of their text, as TsvExampleGen does."""
    boundaries = split.make_boundaries(DEV_FRACTION, None)
    names = np.array([split.assign_split([text], boundaries) for text in rows.texts])
    train, dev = (np.flatnonzero(names == name) for name in (features.TRAIN_SPLIT, features.DEV_SPLIT))
    return tuple(Rows([rows.texts[i] for i in chosen], rows.labels[chosen]) for chosen in (train, dev))


def train_and_dev(train: str, count: Optional[int], dev: str, dev_count: Optional[int]) -> tuple[Rows, Rows]:
    """Reads rows to train on and rows to evaluate on.

    Args:
      train: the TSV to train on.
      count: number of its rows, from the start; None for all.
      dev: the TSV to evaluate on; if empty, a tenth of the training rows is held out.
      dev_count: number of its rows, from the start; None for all.
    """
    rows = read_rows(train, count)
    return (rows, read_rows(dev, dev_count)) if dev else split_rows(rows)


def write_tokens(file: str, tokens: Tokens, labels: np.ndarray) -> None:
    """Writes tokens for contenders that do not use our tokeniser.

    Args:
      file: the .npz, with `word_ids`, `starts` and `lengths` as in `Tokens`, and `labels`.
      tokens: tokens of n rows.
      labels: int64[n].
    """
    with files.atomic_write(file, "wb") as stream:
        np.savez(stream, word_ids=tokens.word_ids, starts=tokens.starts, lengths=tokens.lengths, labels=labels)
