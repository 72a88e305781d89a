"""Two real tiny models on the same rows."""

import json
import os

import pytest
import tensorflow as tf

import local_runner
from artifacts import model_card
from core import intervals
from local import row_comparison
from local.history import Run
from schema import features
from tests import saved_models
from tests.local.runs import write_run

LAYOUT = {"label": "label", "quoting": "minimal", "header": True, "encoding": "utf-8"}


def save_model(folder, certain, names=("부정", "긍정")):
    """A model that says positive if a text has the letter `certain`, and is more certain of longer texts."""

    def change(text, _):
        length = tf.cast(tf.strings.length(text), tf.float32) / 5  # float32 tells these probabilities apart.
        return tf.where(tf.strings.regex_full_match(text, rf".*[{certain}].*"), length, -length)

    saved_models.save(str(folder), change=change)
    task = saved_models.BinaryTask(("document",), dict(zip("01", names, strict=True)))
    model_card.write(str(folder), model_card.ModelCard(task, LAYOUT))
    return str(folder)


def write_examples(folder, rows):
    """Writes (text, label) rows as a test split of two shards."""
    os.makedirs(folder / "Split-test")
    for shard in (0, 1):
        with tf.io.TFRecordWriter(str(folder / "Split-test" / f"data-{shard}.gz"), "GZIP") as writer:
            for number, (text, label) in list(enumerate(rows))[shard::2]:
                values = {
                    features.ID: tf.train.Feature(bytes_list=tf.train.BytesList(value=[str(number).encode()])),
                    features.DOCUMENT: tf.train.Feature(bytes_list=tf.train.BytesList(value=[text.encode()])),
                    features.LABEL: tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
                }
                writer.write(tf.train.Example(features=tf.train.Features(feature=values)).SerializeToString())
    return str(folder)


def write_runs(root, models, examples):
    data = {"files": {}, "fingerprint": "f", "examples": examples}
    return [
        Run(write_run(root / "job", name, "pushed", accuracy=0.5, model_path=model, data=data))
        for name, model in zip(("1", "2"), models, strict=True)
    ]


def test_rows_that_one_model_gets_right_are_counted_and_the_worst_mistakes_shown(tmp_path, capfd):
    # The first model knows "a", the second "b". 25 rows are right only with the second, two only with the first.
    rows = [("b" * (number + 1), 1) for number in range(25)] + [("a", 1), ("b [bold]", 0), ("ab", 1), ("x", 1)]
    examples = write_examples(tmp_path / "examples", rows)
    runs = write_runs(tmp_path, [save_model(tmp_path / name, name) for name in "ab"], examples)
    result = row_comparison.compare_rows(*runs, str(tmp_path))
    assert (result["rows"], result["fixed_count"], result["broken_count"]) == (29, 25, 2)
    assert [row["text"] for row in result["fixed"]] == ["b" * length for length in range(25, 5, -1)]
    sure = pytest.approx(0.9933, abs=1e-4)
    worst = {"id": "24", "text": "b" * 25, "label": "긍정", "a": ("부정", sure), "b": ("긍정", sure)}
    assert result["fixed"][0] == worst
    assert [(row["text"], row["label"], row["a"][0], row["b"][0]) for row in result["broken"]] == [
        ("b [bold]", "부정", "부정", "긍정"),
        ("a", "긍정", "긍정", "부정"),
    ]
    assert result["interval"] == intervals.paired_difference(25, 2, 29)

    assert local_runner.main(["compare", "1", "2", "--root", str(tmp_path)]) == 0
    text = capfd.readouterr().out
    assert "rows: of 29 test rows of B, 25 are right only with B and 2 only with A" in text
    assert "right only with B: 20 of 25" in text and "right only with A: 2 of 2" in text and "b [bold]" in text
    assert "+0.0000 [+0.593, +0.993]" in text


def test_models_of_other_labels_are_not_compared_by_rows(tmp_path, capfd):
    models = [save_model(tmp_path / "a", "a"), save_model(tmp_path / "b", "b", ("bad", "good"))]
    write_runs(tmp_path, models, write_examples(tmp_path / "examples", [("a", 1)]))
    assert local_runner.main(["compare", "1", "2", "--root", str(tmp_path), "--json"]) == 0
    result = json.loads(capfd.readouterr().out)
    assert result["rows"] is None
    assert result["rows_note"] == "the models predict other labels: 부정, 긍정; bad, good"


def test_no_rows_skips_the_models(tmp_path, capfd):
    write_runs(tmp_path, [str(tmp_path / "a"), str(tmp_path / "b")], str(tmp_path))
    assert local_runner.main(["compare", "1", "2", "--root", str(tmp_path), "--no-rows"]) == 0
    assert "rows: not compared: --no-rows" in capfd.readouterr().out
