"""`import-encoder` from the command line: the pair, what is proved, and errors that leave nothing behind."""

import importlib.util
import json
import os

import numpy as np
import pytest
import tensorflow as tf

import local_runner
from artifacts import encoder as encoder_artifact
from artifacts import saved_model
from components.hub_encoder import handles
from local.encoder_import import proof, run
from schema.task import make_task
from tests.local import encoder_folders
from trainer import export, model, native
from trainer.packing import Packer
from trainer.tokens import MASK, TYPE_IDS, WORD_IDS

TASK = make_task(("document",), {"0": "부정", "1": "긍정"})

# Operations of imported encoders beside those of exported models in general (tests/trainer/export_test.py); TensorFlow
# 2.14 and TF Text 2.12 have them too.
OPERATIONS = {"Erf"}


@pytest.fixture(scope="module", name="imported")
def _imported(tmp_path_factory):
    """Returns the folders of a BERT and of what was made of it."""
    folder = tmp_path_factory.mktemp("imported")
    encoder_folders.write(str(folder / "bert"), "bert")
    target = str(folder / "new" / "encoder")
    assert local_runner.main(["import-encoder", str(folder / "bert"), "--to", target]) == 0
    return str(folder / "bert"), target


def test_the_pair_is_an_encoder_with_a_card_and_a_record(imported):
    source, target = imported
    assert sorted(os.listdir(target)) == ["encoder", "encoder.json", "import.json", "preprocess"]
    assert os.listdir(os.path.dirname(target)) == ["encoder"]
    encoder_artifact.verify(target)
    card = encoder_artifact.read(target)
    assert (card.source, card.handle, card.heads) == ("import", source, encoder_folders.HEADS)
    assert (card.hidden, card.layers) == (encoder_folders.HIDDEN, encoder_folders.LAYERS)
    assert encoder_artifact.read_vocabulary(target) == encoder_folders.VOCABULARY
    assert handles.resolve(target).heads == encoder_folders.HEADS
    with open(os.path.join(target, "import.json")) as stream:
        record = json.load(stream)
    assert record["family"] == "bert" and record["tokens"] and record["unequal"] == []


def test_the_saved_outputs_equal_numpys(imported):
    source, target = imported
    preprocess = tf.saved_model.load(encoder_artifact.preprocess_dir(target))
    inputs = preprocess(tf.constant(["정말 재미있는 영화!", "the film was great"]))
    assert inputs[WORD_IDS].shape == [2, 128]
    short = {name: value[:, :32] for name, value in inputs.items()}
    outputs = tf.saved_model.load(encoder_artifact.encoder_dir(target))(short)
    arrays = (short[name].numpy() for name in (WORD_IDS, MASK, TYPE_IDS))
    _, pooled = encoder_folders.forward("bert", encoder_folders.make_weights("bert"), *arrays)
    np.testing.assert_allclose(outputs["pooled_output"], pooled, atol=1e-5)
    np.testing.assert_array_equal(outputs["default"], outputs["pooled_output"])


def test_it_is_trained_natively_and_exported_for_old_servers(imported, tmp_path):
    from tests.trainer.export_test import KNOWN_OPERATIONS

    preprocess = tf.saved_model.load(encoder_artifact.preprocess_dir(imported[1]))
    network = model.load_encoder(encoder_artifact.encoder_dir(imported[1]))
    assert not isinstance(network, model.SavedEncoder)
    packer = Packer(preprocess, 1, 16)
    assert packer.special is not None, "packed with plain operations"
    classifier = model.Classifier(network, model.Head(TASK, encoder_folders.HIDDEN, 0.1, seed=1))
    export.export(str(tmp_path / "model"), export.ServedClassifier(packer, classifier, TASK))
    assert not saved_model.read_operations(str(tmp_path / "model")) - KNOWN_OPERATIONS - OPERATIONS
    loaded = tf.saved_model.load(str(tmp_path / "model"))
    texts = ["정말 재미있는 영화", "", "the film \x00 [SEP]", "가" * 200]
    assert np.isfinite(loaded(tf.constant(texts))).all()


def test_the_saved_model_drops_out_when_training_only(imported):
    loaded = tf.saved_model.load(encoder_artifact.encoder_dir(imported[1]))
    inputs = {name: tf.ones([2, 5], tf.int32) for name in encoder_artifact.INPUT_NAMES}
    one, two = (loaded(inputs, training=True)["pooled_output"].numpy() for _ in range(2))
    assert not np.allclose(one, two)
    assert native.rebuild_bert(loaded).variant.activation == "gelu"


@pytest.mark.slow
def test_a_tensorflow_checkpoint_equals_tf_models(tmp_path):
    _write_checkpoint(str(tmp_path / "bert"))
    lines = run.import_encoder(str(tmp_path / "bert"), str(tmp_path / "encoder"))
    assert lines[1].startswith("outputs: equal to those of tf-models, the largest difference is ")


def test_a_tensorflow_checkpoint_has_the_same_weights_and_the_approximate_gelu(tmp_path):
    _write_checkpoint(str(tmp_path / "bert"))
    described = run.architecture.read_bert_config(str(tmp_path / "bert"))
    tensors, path = run.weights.read_checkpoint(str(tmp_path / "bert"))
    network = run.weights.convert(tensors, described, path)
    ids = np.array([[2, 7, 9, 3]], np.int32)
    arrays = ids, np.ones_like(ids), np.zeros_like(ids)
    outputs = network.outputs(dict(zip((WORD_IDS, MASK, TYPE_IDS), map(tf.constant, arrays), strict=True)))
    assert network.variant.activation == "gelu_tanh" and path.endswith("bert_model.ckpt.index")
    # The exact GELU is not that far from it.
    _, pooled = encoder_folders.forward("bert", encoder_folders.make_weights("bert"), *arrays)
    np.testing.assert_allclose(outputs["pooled_output"], pooled, atol=2e-3)


def test_a_damaged_checkpoint_is_refused_by_name(tmp_path):
    _write_checkpoint(str(tmp_path / "bert"))
    (tmp_path / "bert" / "bert_model.ckpt.index").write_bytes(b"damaged")
    with pytest.raises(run.UserError, match=r"bert_model\.ckpt\.index: the checkpoint can't be read"):
        run.weights.read_checkpoint(str(tmp_path / "bert"))
    os.remove(tmp_path / "bert" / "bert_model.ckpt.index")
    with pytest.raises(run.UserError, match="0 files \\*.index; should be one"):
        run.weights.read_checkpoint(str(tmp_path / "bert"))


def _write_checkpoint(folder):
    """Writes a BERT as google-research/bert does."""
    encoder_folders.write(folder, "bert")
    config = {**encoder_folders.CONFIGS["bert"], "type_vocab_size": 2, "hidden_dropout_prob": 0.1}
    config |= {"attention_probs_dropout_prob": 0.1, "initializer_range": 0.02}
    os.remove(os.path.join(folder, "config.json"))
    with open(os.path.join(folder, "bert_config.json"), "w") as stream:
        json.dump(config, stream)
    variables = {"global_step": tf.Variable(0)}
    for name, value in encoder_folders.make_weights("bert").items():
        path = name.replace(".layer.", ".layer_").replace(".", "/")
        if "embeddings/" in path and "LayerNorm" not in path:
            path, value = path.removesuffix("/weight"), value
        elif "LayerNorm" in path:
            path = path.replace("/weight", "/gamma").replace("/bias", "/beta")
        elif path.endswith("/weight"):
            path, value = path.replace("/weight", "/kernel"), value.T
        variables[f"bert/{path}"] = tf.Variable(value)
    tf.compat.v1.train.Saver(variables).save(None, os.path.join(folder, "bert_model.ckpt"), write_meta_graph=False)


def test_other_outputs_are_an_error(imported, monkeypatch):
    source, target = imported
    described, words = run.architecture.read(source), run.tokenizer.read(source, "bert")

    def compute(batch):
        outputs = encoder_folders.forward("bert", encoder_folders.make_weights("bert"), *batch_of(batch))
        # Larger than rounding, smaller than a wrong activation.
        return dict(zip(("sequence_output", "pooled_output"), (each + shift for each in outputs), strict=True))

    def batch_of(batch):
        return (batch[name] for name in (WORD_IDS, MASK, TYPE_IDS))

    monkeypatch.setattr(proof, "_reference_outputs", lambda *_: ("another framework", compute))
    shift = 0.0
    assert proof.prove(source, target, described, words, pooler=True).difference < 1e-5
    shift = 2e-4
    with pytest.raises(
        run.UserError, match="not imported: the outputs differ from those of another framework by 0.000"
    ):
        proof.prove(source, target, described, words, pooler=True)


def remove(name):
    return lambda folder: os.remove(os.path.join(folder, name))


def replace(name, content):
    def change(folder):
        with open(os.path.join(folder, name), "w") as stream:
            stream.write(content)

    return change


@pytest.mark.parametrize(
    "damage, expected",
    [
        (remove("config.json"), "holds neither config.json nor bert_config.json"),
        (remove("model.safetensors"), "holds no weights; should have one of model.safetensors, "),
        (remove("vocab.txt"), "holds no tokenizer; should have one of "),
        (replace("config.json", "{"), "config.json: not JSON"),
        (replace("model.safetensors", "x"), "model.safetensors: not a complete safetensors file"),
        (replace("vocab.txt", "\n".join(map(str, range(99)))), "vocab.txt: holds no [UNK]"),
        (replace("vocab.txt", "\n".join([*encoder_folders.VOCABULARY, "more"])), "but vocab_size is "),
    ],
    ids=["config", "weights", "tokenizer", "json", "safetensors", "special tokens", "too many pieces"],
)
def test_damage_is_one_sentence_with_status_2_and_leaves_nothing(tmp_path, capfd, damage, expected):
    encoder_folders.write(str(tmp_path / "bert"), "bert")
    damage(str(tmp_path / "bert"))
    assert local_runner.main(["import-encoder", str(tmp_path / "bert"), "--to", str(tmp_path / "encoder")]) == 2
    error = capfd.readouterr().err
    assert expected in error and "Traceback" not in error
    assert os.listdir(tmp_path) == ["bert"]


def test_an_existing_folder_is_not_replaced(tmp_path, capfd):
    encoder_folders.write(str(tmp_path / "bert"), "bert")
    (tmp_path / "encoder").mkdir()
    assert local_runner.main(["import-encoder", str(tmp_path / "bert"), "--to", str(tmp_path / "encoder")]) == 2
    assert "exists already; should be a new folder" in capfd.readouterr().err


INSTALLED = all(importlib.util.find_spec(module) for module in ("torch", "transformers"))


@pytest.mark.skipif(not INSTALLED, reason="torch and transformers are not installed")
@pytest.mark.parametrize("family", encoder_folders.CONFIGS)
def test_outputs_equal_those_of_transformers(tmp_path, family):
    encoder_folders.write(str(tmp_path / "source"), family)
    run.import_encoder(str(tmp_path / "source"), str(tmp_path / "encoder"))
    with open(tmp_path / "encoder" / "import.json") as stream:
        assert json.load(stream)["difference"] < proof.MAX_DIFFERENCE
