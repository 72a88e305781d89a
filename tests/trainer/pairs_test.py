"""Pairs of texts: packed as TF Hub's own preprocess models do, in training and in the exported model."""

import json
import os
import random

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_text  # noqa: F401  Registers the ops of preprocess models.

from artifacts import encoder, model_card, model_run
from schema import features
from schema.task import make_task
from tests import encoders
from tests.trainer import tiny_training
from trainer import reviews, run, tokens
from trainer.tokens import MASK, TYPE_IDS, WORD_IDS

LABELS = {"0": "no", "1": "yes"}
WORDS = " ".join(encoders.TEXTS).split()


@pytest.fixture(scope="module", name="encoder_folder")
def _encoder_folder(tmp_path_factory):
    return encoders.save(str(tmp_path_factory.mktemp("encoder") / "e"))


@pytest.fixture(scope="module", name="preprocess")
def _preprocess(encoder_folder):
    return tf.saved_model.load(encoder.preprocess_dir(encoder_folder))


def random_text(chance):
    """From an empty text to one much longer than the model reads."""
    return " ".join(chance.choices(WORDS, k=chance.choice((0, 1, 2, 5, 20))))


def random_pairs(count, seed=0):
    chance = random.Random(seed)
    return [(random_text(chance).encode(), random_text(chance).encode()) for _ in range(count)]


def cut_to(budget, first, second):
    """Cuts the longer of two lists until both fit; of two equally long ones the second."""
    first, second = list(first), list(second)
    while len(first) + len(second) > budget:
        (first if len(first) > len(second) else second).pop()
    return first, second


@pytest.mark.parametrize("max_length", [8, 13, 32])
def test_pairs_are_packed_as_the_preprocess_model_packs_them(preprocess, monkeypatch, max_length):
    monkeypatch.setattr(tokens, "CHUNK_ROWS", 300)
    pairs = random_pairs(1000, seed=max_length)
    writer = tokens.TokenWriter(preprocess, max_length)
    for start in range(0, len(pairs), tokens.CHUNK_ROWS):
        writer.add(*zip(*pairs[start : start + tokens.CHUNK_ROWS], strict=True))
    stored = writer.tokens().padded(np.arange(len(pairs)), max_length)
    segments = [preprocess.tokenize(tf.constant(column)) for column in zip(*pairs, strict=True)]
    packed = preprocess.bert_pack_inputs(segments, seq_length=tf.constant(max_length))
    for name, array in stored.items():
        np.testing.assert_array_equal(array, packed[name])


def test_a_pair_is_both_texts_with_their_separators_and_the_longer_is_cut_first(preprocess):
    special = {name: int(value) for name, value in preprocess.tokenize.get_special_tokens_dict().items()}
    start, end = special["start_of_sequence_id"], special["end_of_segment_id"]
    for pair in random_pairs(200):
        words = [preprocess.tokenize(tf.constant([text])).flat_values.numpy().tolist() for text in pair]
        first, second = cut_to(16 - 3, *words)
        writer = tokens.TokenWriter(preprocess, 16)
        writer.add(*([text] for text in pair))
        row = writer.tokens().padded(np.array([0]))
        assert row[WORD_IDS][0].tolist() == [start, *first, end, *second, end]
        assert row[TYPE_IDS][0].tolist() == [0] * (len(first) + 2) + [1] * (len(second) + 1)
        assert row[MASK].all()


def write_pairs(path, rows):
    with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
        for i, (first, second, label) in enumerate(rows):
            example = tf.train.Example()
            values = {features.ID: str(i), features.DOCUMENT: first, features.DOCUMENT_PAIR: second}
            for name, value in values.items():
                example.features.feature[name].bytes_list.value.append(value.encode())
            example.features.feature[features.LABEL].int64_list.value.append(label)
            writer.write(example.SerializeToString())


def make_rows(count):
    """The label is whether both texts are the same."""
    chance, texts = random.Random(0), encoders.TEXTS[:4]
    return [
        (text := chance.choice(texts), text if i % 2 else chance.choice([t for t in texts if t != text]), i % 2)
        for i in range(count)
    ]


def test_the_split_of_a_pair_keeps_both_texts_and_their_order(preprocess, tmp_path):
    for name, rows in (("a", [("x", "yz", 0)]), ("b", [("xy", "z", 0)]), ("c", [("yz", "x", 0)])):
        write_pairs(tmp_path / name, rows)
    splits = [reviews.read_split([str(tmp_path / name)], preprocess, 16, "train") for name in "abc"]
    assert [split.first_texts for split in splits] == [[(b"x", b"yz")], [(b"xy", b"z")], [(b"yz", b"x")]]
    assert len({split.digest for split in splits}) == 3


@pytest.fixture(scope="module", name="trained")
def _trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    for split in ("train", "dev"):
        write_pairs(folder / f"{split}.gz", make_rows(40))
    encoders.save(str(folder / "encoder"))
    job = tiny_training.job(folder, folder / "model", folder / "run", folder / "checkpoints", epochs=1)
    job.custom_config["task"] = {"text_columns": ["question", "sentence"], "labels": LABELS}
    run.run_fn(job)
    return str(folder / "model"), str(folder / "run")


def serve(model, **inputs):
    return {name: tensor.numpy() for name, tensor in model.signatures["serving_default"](**inputs).items()}


def test_the_exported_model_of_pairs_agrees_with_the_training_process(trained):
    golden, model = model_run.read_golden(trained[1]), tf.saved_model.load(trained[0])
    first, second = (tf.constant(column) for column in (golden.text, golden.text_pair))
    assert golden.rows == list(zip(golden.text, golden.text_pair, strict=True)) and len(golden.rows) == 40
    served = serve(model, text=first, text_pair=second)
    for name, values in golden.outputs.items():
        np.testing.assert_allclose(served[name], values, atol=1e-5)
    assert not np.allclose(serve(model, text=second, text_pair=first)["logit"], served["logit"], atol=1e-7)


def test_serving_examples_reads_both_texts(trained):
    model = tf.saved_model.load(trained[0])
    example = tf.train.Example()
    for name, value in ((features.DOCUMENT, "great movie"), (features.DOCUMENT_PAIR, "굿")):
        example.features.feature[name].bytes_list.value.append(value.encode())
    by_example = model.signatures["serving_examples"](examples=tf.constant([example.SerializeToString()]))
    by_text = serve(model, text=tf.constant(["great movie"]), text_pair=tf.constant(["굿"]))
    assert float(by_example["logit"][0]) == pytest.approx(float(by_text["logit"][0]), abs=1e-6)


def test_different_numbers_of_first_and_second_texts_are_an_error(trained):
    model = tf.saved_model.load(trained[0])
    with pytest.raises(tf.errors.InvalidArgumentError, match="[Ss]hape"):
        serve(model, text=tf.constant(["a", "b"]), text_pair=tf.constant(["c"]))


def test_tokens_of_a_pair_are_counted_before_any_cut(trained, preprocess):
    model = tf.saved_model.load(trained[0])
    texts = [text.encode() for text in ("정말 재미있는 영화 " * 10, "굿")]
    words = sum(len(preprocess.tokenize(tf.constant([text])).flat_values) for text in texts)
    assert model.count_tokens(*(tf.constant([text]) for text in texts)).numpy().tolist() == [words + 3]


def test_the_card_of_a_model_of_pairs_names_its_inputs(trained):
    assert model_card.read(trained[0]).task == make_task(("question", "sentence"), LABELS)
    assert model_card.read(trained[0]).task.text_inputs == ("text", "text_pair")
    content = json.load(open(os.path.join(trained[0], model_card.CARD_FILE), encoding="utf-8"))
    assert content["task"]["text_columns"] == ["question", "sentence"]
