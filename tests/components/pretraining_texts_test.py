"""The texts of a pre-training: further tables, scores, what is left out and held out."""

import gzip
import math

import numpy as np
import pydantic
import pytest
from tfx.orchestration.portable import data_types

from components.encoder_pretrainer import driver, executor, texts
from core.config import PretrainConfig, TextsConfig
from core.errors import UserError

TABLE = 'id\tdocument\trating\n1\t굿\t10\n2\t"a ""b"""\t1\n3\t\t5\n4\tc\t\n5\td\t11\n6\te\n'


@pytest.fixture(name="table")
def _table(tmp_path):
    file = tmp_path / "more.tsv.gz"
    file.write_bytes(gzip.compress(TABLE.encode()))
    return TextsConfig(file=str(file), score="rating")


def collect(train=(), tables=(), held_back=None, fraction=0.0):
    return texts.collect(train, tables, held_back or {}, fraction)


def scores_of(corpus):
    pairs = zip(corpus.texts, corpus.scores, strict=True)
    return {text.decode(): None if math.isnan(score) else score for text, score in pairs}


def test_a_table_is_read_with_scores_from_0_to_1_and_its_rejected_rows_are_counted(table):
    corpus = collect([b"e"], [table])
    assert scores_of(corpus) == {"굿": 1.0, 'a "b"': 0.0, "c": None, "d": None, "e": None}
    assert corpus.rejected == {"empty_text": 1, "bad_score": 1, "wrong_column_count": 1}


def test_a_text_counts_once_with_its_mean_score(tmp_path):
    (tmp_path / "a.tsv").write_text("document\tstars\nx\t1\nx\t5\ny\t2\n")
    table = TextsConfig(file=str(tmp_path / "a.tsv"), score="stars", score_range=(1, 5))
    corpus = collect([b"y", b"x", b"x"], [table])
    assert list(corpus.texts) == [b"x", b"y"]
    np.testing.assert_array_equal(corpus.scores, np.float32([0.5, 0.25]))


def test_texts_of_the_dev_and_test_splits_are_left_out_and_counted(table):
    held_back = {"dev": [b"z"], "test": ["굿".encode(), "굿".encode(), b"c", b"other"]}
    corpus = collect([b"c", b"z"], [table], held_back)
    assert list(corpus.texts) == [b'a "b"', b"d"]
    assert corpus.left_out == {"dev": 1, "test": 2}


def test_tables_have_their_own_columns_and_dialect(tmp_path):
    file = tmp_path / "pairs.csv"
    file.write_text("first,second\na,b\n")
    assert list(collect(tables=[TextsConfig(file=str(file), text=("first", "second"), delimiter="comma")]).texts) == [
        b"a",
        b"b",
    ]
    lines = tmp_path / "x.jsonl"
    lines.write_text('{"document": "j", "s": 0.5}\n')
    corpus = collect(tables=[TextsConfig(file=str(lines), score="s", score_range=(0, 1))])
    assert scores_of(corpus) == {"j": 0.5}


def test_a_hash_holds_out_a_share_whatever_else_is_there():
    many = [str(i).encode() for i in range(1000)]
    first, second = collect(many, fraction=0.01), collect([*many[::-1], b"another"], fraction=0.01)
    held_out = [{text for text, out in zip(c.texts, c.is_held_out, strict=True) if out} for c in (first, second)]
    assert len(held_out[0]) == 10 and len(held_out[0] - held_out[1]) <= 1
    assert first.digest == collect(many[::-1], fraction=0.01).digest != second.digest


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"file": "/missing.tsv"}, "^encoder.pretrain.texts = /missing.tsv: No such file"),
        (
            {"text": "review"},
            "^encoder.pretrain.texts = .*more.tsv.gz: column 'review' is missing from .* id,",
        ),
        ({"score": "stars"}, "^encoder.pretrain.texts = .*more.tsv.gz: column 'stars' is missing"),
    ],
)
def test_a_table_that_cannot_be_used_is_named(table, changes, message):
    with pytest.raises(UserError, match=message):
        collect(tables=[table.model_copy(update=changes)])


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"score_range": (5, 1)}, "5.0 should be less than 1.0"), ({"delimiter": "tabs"}, "one ASCII character")],
)
def test_settings_of_a_table_are_checked(changes, message):
    with pytest.raises(pydantic.ValidationError, match=message):
        TextsConfig(file="x", **changes)


def test_the_cache_key_has_the_content_of_the_tables(table):
    def fingerprint(*tables):
        info = data_types.ExecutionInfo(
            exec_properties={executor.CONFIG: PretrainConfig(texts=tables).model_dump_json()}
        )
        return driver.Driver(None).run(info).exec_properties[executor.FINGERPRINT].string_value

    before = fingerprint(table)
    assert fingerprint() == "" != before
    with open(table.file, "wb") as stream:
        stream.write(gzip.compress(TABLE.encode(), mtime=1))
    assert fingerprint(table) == before
    with open(table.file, "wb") as stream:
        stream.write(gzip.compress(TABLE.replace("굿", "굳").encode()))
    assert fingerprint(table) != before
