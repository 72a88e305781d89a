"""Models are loaded, answer with the probability of every class, and damaged ones are named in one sentence."""

import glob
import json
import os
import pathlib

import numpy as np
import pytest
import tensorflow as tf

import local_runner
from artifacts import encoder, model_card
from core.errors import UserError
from local import served_model
from tests import encoders, saved_models
from trainer import export, model

LAYOUT = {"label": "label", "quoting": "minimal", "header": True, "encoding": "utf-8", "max_line_bytes": 1 << 20}
MAX_LENGTH = 8


@pytest.fixture(name="folder")
def _folder(tmp_path):
    folder = saved_models.save(str(tmp_path / "1"))
    model_card.write(folder, model_card.ModelCard(saved_models.TASK, LAYOUT))
    return pathlib.Path(folder)


@pytest.fixture(scope="module", name="exported")
def _exported(tmp_path_factory):
    """A classifier on the tiny encoder, untrained, exported as the Trainer does."""
    folder = tmp_path_factory.mktemp("exported")
    parts = encoders.save(str(folder / "encoder"))
    head = model.Head(saved_models.TASK, encoder.read(parts).hidden, 0.1, seed=0)
    classifier = model.Classifier(model.load_encoder(encoder.encoder_dir(parts)), head)
    preprocess = tf.saved_model.load(encoder.preprocess_dir(parts))
    served = export.ServedClassifier(preprocess, classifier, saved_models.TASK, MAX_LENGTH)
    export.export(str(folder / "1"), served)
    model_card.write(str(folder / "1"), model_card.ModelCard(saved_models.TASK, LAYOUT, MAX_LENGTH))
    return str(folder / "1"), preprocess


def test_every_class_has_a_probability(folder):
    texts = ["정말 재미있다", "b", "정말 재미있다", "a long text " * 20]
    loaded = served_model.load(str(folder), "runs")
    outputs = saved_models.predict(str(folder), [text.encode() for text in texts])
    predictions = loaded.predict([(text,) for text in texts])
    np.testing.assert_allclose([p.class_probabilities[1] for p in predictions], outputs["probability"], atol=1e-6)
    assert all(sum(p.class_probabilities) == pytest.approx(1) for p in predictions)
    assert [p.values["label_name"] for p in predictions] == [("부정", "긍정")[label] for label in outputs["label"]]
    assert all(p.values["probability"] == max(p.class_probabilities) for p in predictions)


def test_rows_of_similar_length_are_computed_together():
    short, long = [5] * 20, [50, 60, 61, 90]
    batches = served_model.group([*long, *short])
    assert [len(batch) for batch in batches] == [20, 4] and batches[1] == [0, 1, 2, 3]
    assert sorted(sum(batches, [])) == list(range(24))
    # Few rows are one batch, whatever their lengths; equal ones stay together as far as memory allows.
    assert [len(batch) for batch in served_model.group([1, 1000] * 8)] == [16]
    assert [len(batch) for batch in served_model.group([7] * 300)] == [128, 128, 44]


def test_texts_that_the_model_cuts_are_counted(exported):
    folder, preprocess = exported
    loaded = served_model.load(folder, "runs")
    texts = ["굿", "", "정말 재미있는 영화 " * 10, "굿 " * (MAX_LENGTH - 2), "굿 " * (MAX_LENGTH - 1)]
    assert [loaded.count_cut([(text,)]) for text in texts] == [0, 0, 1, 0, 1]
    assert loaded.count_cut([(text,) for text in texts]) == 2 and loaded.count_cut([]) == 0
    # The packer agrees: with room for one token more, exactly those texts become longer.
    tokens = preprocess.tokenize(tf.constant(texts))
    kept, more = (
        preprocess.bert_pack_inputs([tokens], seq_length=tf.constant(length))["input_mask"].numpy().sum(axis=1)
        for length in (MAX_LENGTH, MAX_LENGTH + 1)
    )
    assert (more > kept).tolist() == [False, False, True, False, True]


def test_a_model_of_an_earlier_release_counts_nothing(folder):
    assert served_model.load(str(folder), "runs").count_cut([("굿 " * 1000,)]) == 0


DAMAGES = {
    "no saved_model.pb": lambda folder: (folder / "saved_model.pb").unlink(),
    "half of saved_model.pb": lambda folder: cut(folder / "saved_model.pb"),
    "empty saved_model.pb": lambda folder: (folder / "saved_model.pb").write_bytes(b""),
    "no variables.data": lambda folder: data_file(folder).unlink(),
    "half of variables.data": lambda folder: cut(data_file(folder)),
    "empty variables.data": lambda folder: data_file(folder).write_bytes(b""),
    "changed variables.data": lambda folder: data_file(folder).write_bytes(b"x" * data_file(folder).stat().st_size),
    "no variables.index": lambda folder: (folder / "variables" / "variables.index").unlink(),
    "half of variables.index": lambda folder: cut(folder / "variables" / "variables.index"),
    "empty variables.index": lambda folder: (folder / "variables" / "variables.index").write_bytes(b""),
    "no card": lambda folder: (folder / model_card.CARD_FILE).unlink(),
    "half of the card": lambda folder: cut(folder / model_card.CARD_FILE),
    "a list as card": lambda folder: (folder / model_card.CARD_FILE).write_text("[1]"),
    "a card without a task": lambda folder: (folder / model_card.CARD_FILE).write_text('{"data": {}}'),
    "a binary card": lambda folder: (folder / model_card.CARD_FILE).write_bytes(b"\xff\x00"),
    "a folder as card": lambda folder: replace_by_folder(folder / model_card.CARD_FILE),
}


def data_file(folder):
    (path,) = glob.glob(str(folder / "variables" / "variables.data-*"))
    return pathlib.Path(path)


def cut(path):
    os.truncate(path, path.stat().st_size // 2)


def replace_by_folder(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_model_is_one_sentence(folder, damage, capfd):
    DAMAGES[damage](folder)
    assert local_runner.main(["predict", "--model", str(folder), "굿"]) == 2
    captured = capfd.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1, captured.err
    assert str(folder) in captured.err and "Traceback" not in captured.err


def test_a_damaged_card_is_named():
    with pytest.raises(UserError, match="nowhere/assets.extra/reviews.json: No such file or directory; should be"):
        model_card.read("nowhere")


def test_a_card_of_an_earlier_release_is_read(folder):
    path = folder / model_card.CARD_FILE
    content = json.loads(path.read_text())
    del content["max_length"], content["data"]["max_line_bytes"]
    path.write_text(json.dumps(content))
    card = model_card.read(str(folder))
    assert card.max_length is None and card.task == saved_models.TASK
