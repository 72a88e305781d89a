"""DataGate's counts with more words than are counted exactly: the same from any shards and any order of the rows."""

import os
import random

import apache_beam as beam
import pytest
import tensorflow as tf

from components.data_gate import counting, profile, text_counts, vocabulary
from components.tsv_example_gen import executor as example_gen
from components.tsv_example_gen import parse
from core.config import DataConfig

pytestmark = pytest.mark.slow

ROWS = 60_000
WORDS = 250_000
SPLITS = ("train", "test")


def letters_of(number):
    """Returns a word of its own for each number."""
    return "".join(chr(ord("a") + int(digit)) for digit in str(number))


def make_texts(seed):
    """Returns texts with 250,000 different words, of which 4,000 are frequent, and some texts several times."""
    chance = random.Random(seed)
    rare = [letters_of(number) for number in range(WORDS)]
    chance.shuffle(rare)
    texts = [
        " ".join([*rare[5 * i : 5 * i + 5], *(letters_of(int(4000 * chance.random() ** 3)) for _ in range(5))])
        for i in range(ROWS)
    ]
    return [*texts, *texts[:500], *texts[:100]]


def count(folder, texts_by_split, shards):
    task = DataConfig(train="any").make_task()
    for split, texts in texts_by_split.items():
        os.makedirs(folder / split)
        for shard in range(shards):
            path = str(folder / split / f"{shard}.gz")
            with tf.io.TFRecordWriter(path, "GZIP") as writer:
                for number, text in enumerate(texts[shard::shards]):
                    writer.write(example_gen.to_example(parse.Row("", (text,), len(text) % 2), str(number)))
    folders = {split: str(folder / split) for split in texts_by_split}
    with beam.Pipeline() as pipeline:
        counting.add_counting(pipeline, counting.list_shards(folders), task, True, str(folder))
    return counting.take_results(str(folder), SPLITS, task, True)


def described(counted):
    """Returns everything that checks and profile read."""
    return [
        (
            split,
            profile.make_split_profile(content.labels, content.texts).model_dump_json(),
            vocabulary.make_vocabulary(content.texts).model_dump_json(),
            content.texts.least_count,
            dict(content.texts.words),
            dict(content.texts.dropped_words),
            content.sample,
        )
        for contents in (counted.contents, counted.first_copies)
        for split, content in contents.items()
    ] + [counted.duplicates.own_rows, counted.duplicates.in_train]


def test_a_quarter_of_a_million_words_in_any_shards_and_any_order(tmp_path):
    texts = {"train": make_texts(0), "test": make_texts(1)}
    assert WORDS > text_counts.WORD_LIMIT
    results = []
    for shards, step in ((1, 1), (2, -1), (7, 1)):
        ordered = {split: each[::step] for split, each in texts.items()}
        counted = count(tmp_path / str(shards), ordered, shards)
        results.append(described(counted))
        train = counted.contents["train"].texts
        assert train.sketch is not None and len(vocabulary.make_vocabulary(train).words) > 1000
        assert counted.first_copies["train"].texts.lengths.sum() == ROWS
    assert results[0] == results[1] == results[2]
