import numpy as np

from benchmarks.training import data
from trainer import tokens

TSV = 'id\tdocument\tlabel\n1\t"좋은 ""영화"""\t1\n2\t\t0\n3\t별로\t0\n4\t굿\t1\n'


def test_rows_are_those_that_the_pipeline_accepts(tmp_path):
    file = tmp_path / "ratings.txt"
    file.write_text(TSV, encoding="utf-8")
    rows = data.read_rows(str(file))
    assert [text.decode() for text in rows.texts] == ['좋은 "영화"', "별로", "굿"]
    assert rows.labels.tolist() == [1, 0, 1]
    assert data.read_rows(str(file), 2).labels.tolist() == [1, 0]


def test_a_tenth_of_the_rows_is_dev_and_none_is_lost():
    rows = data.Rows([str(i).encode() for i in range(1000)], np.arange(1000))
    train, dev = data.split_rows(rows)
    assert 60 < len(dev.texts) < 140
    assert sorted([*train.labels, *dev.labels]) == list(range(1000))
    assert dev.texts == [str(label).encode() for label in dev.labels]


def test_only_full_batches_are_kept():
    assert data.whole_batches(data.Rows([b"a", b"b", b"c"], np.arange(3)), 2).texts == [b"a", b"b"]


def test_tokens_are_read_as_they_were_written(tmp_path):
    written = tokens.Tokens(
        np.array([2, 5, 3, 2, 3], np.int32), np.zeros(5, np.uint8), np.array([0, 3]), np.array([3, 2])
    )
    data.write_tokens(str(tmp_path / "tokens.npz"), written, np.array([1, 0]))
    read = np.load(tmp_path / "tokens.npz")
    assert {name: read[name].tolist() for name in read.files} == {
        "word_ids": [2, 5, 3, 2, 3],
        "starts": [0, 3],
        "lengths": [3, 2],
        "labels": [1, 0],
    }
    assert [file.name for file in tmp_path.iterdir()] == ["tokens.npz"]
