"""Pairs that TF Hub's common text API allows: fetched, trained, exported, or refused with a sentence."""

import logging
import os
import tarfile

import numpy as np
import pytest
import rich.console
import tensorflow as tf
import tensorflow_text  # noqa: F401  Registers the exported model's ops.
from tfx.types import standard_artifacts
from tfx.utils import path_utils

from artifacts import encoder as encoder_artifact
from artifacts import model_run
from artifacts.model_files import tree_sha256
from components.hub_encoder import executor, handles
from core.config import load_config
from core.errors import UserError
from local import inspection
from local import run as local_run
from tests import encoders, odd_pairs
from tests.trainer import tiny_training
from trainer import bert, model, run
from trainer.tokens import MASK, TYPE_IDS, WORD_IDS


def fetch(uri, handle, preprocess="", mode="fine_tune", max_length=128):
    """Runs HubEncoder's executor; returns the folder of the pair."""
    artifact = standard_artifacts.Model()
    artifact.uri = str(uri)
    os.makedirs(artifact.uri)
    properties = {"handle": handle, "preprocess": preprocess, "mode": mode, "max_length": max_length}
    executor.Executor().Do({}, {executor.ENCODER: [artifact]}, properties)
    return path_utils.serving_model_dir(artifact.uri)


def train(folder, pair, **settings):
    """Trains on a pair; returns (model folder, figures)."""
    inputs = tiny_training.write_inputs(folder)
    tf.io.gfile.rmtree(str(inputs / "encoder"))
    os.rename(pair, inputs / "encoder")
    job = tiny_training.job(inputs, folder / "model", folder / "run", folder / "checkpoints", epochs=2, **settings)
    run.run_fn(job)
    return str(folder / "model"), str(folder / "run")


def assert_served_as_trained(exported, figures):
    golden = model_run.read_golden(figures)
    outputs = tf.saved_model.load(exported).signatures["serving_default"](text=tf.constant(golden.text))
    np.testing.assert_allclose(outputs["logit"], golden.outputs["logit"], atol=1e-5)


@pytest.mark.parametrize(
    "odd, pooling",
    [
        ({}, "first"),
        ({"training": True, "unused_pooler": True}, "mean"),
        ({"pooled": False, "letters": True}, "pooler"),
    ],
    ids=str,
)
def test_a_pair_of_the_common_api_is_fetched_trained_and_exported(odd, pooling, tmp_path, caplog):
    pair = fetch(tmp_path / "out", odd_pairs.save(str(tmp_path / "pair"), **odd))
    card = encoder_artifact.read(pair)
    assert (card.hidden, card.layers) == (odd_pairs.HIDDEN, None)
    assert card.vocabulary == (odd_pairs.LETTERS if odd.get("letters") else 109)
    with caplog.at_level(logging.WARNING):
        exported, figures = train(tmp_path, pair, pooling=pooling)
    assert_served_as_trained(exported, figures)
    history = model_run.read_training(figures).history
    # The first token is the same in all texts.
    assert pooling == "first" or history[-1]["dev_accuracy"] > 0.9
    left_out = [record.getMessage() for record in caplog.records if "not trained" in record.getMessage()]
    assert len(left_out) == ("unused_pooler" in odd)
    assert all(message.endswith("does not use them: kernel:0") for message in left_out)


def test_vectors_of_a_saved_model_are_pooled(tmp_path):
    folder = encoder_artifact.encoder_dir(odd_pairs.save(str(tmp_path / "pair")))
    ids, mask = np.array([[2, 9, 7, 3], [2, 3, 0, 0]], np.int32), np.array([[1, 1, 1, 1], [1, 1, 0, 0]], np.int32)
    inputs = {WORD_IDS: tf.constant(ids), MASK: tf.constant(mask), TYPE_IDS: tf.zeros_like(ids)}
    sequence = tf.saved_model.load(folder)(inputs)["sequence_output"].numpy()
    means = [sequence[0].mean(axis=0), sequence[1, :2].mean(axis=0)]
    np.testing.assert_allclose(model.load_encoder(folder, pooling="mean")(inputs), means, atol=1e-6)
    np.testing.assert_allclose(model.load_encoder(folder, pooling="first")(inputs), sequence[:, 0], atol=1e-6)


def test_only_the_variables_that_the_vector_depends_on_are_trained(tmp_path):
    folder = encoder_artifact.encoder_dir(odd_pairs.save(str(tmp_path / "pair"), unused_pooler=True))
    assert [weight.name for weight in model.load_encoder(folder).weights] == [
        "word_embeddings:0",
        "position_embeddings:0",
    ]


def test_a_bert_without_a_training_argument_is_rebuilt(tmp_path):
    loaded = tf.saved_model.load(encoders.save(str(tmp_path / "pair")) + "/encoder")
    # Of the loaded model only the variables, since it would be saved with its own calls.
    bare = tf.train.Checkpoint(variables=loaded.variables, trainable_variables=loaded.trainable_variables, used=loaded)
    inputs = {name: tf.TensorSpec([None, None], tf.int32, name) for name in (WORD_IDS, MASK, TYPE_IDS)}
    bare.__call__ = tf.function(
        lambda inputs: {"default": loaded(inputs)["pooled_output"]}, input_signature=[inputs], autograph=False
    )
    tf.saved_model.save(bare, str(tmp_path / "bare"))
    assert isinstance(model.load_encoder(str(tmp_path / "bare")), bert.Bert)


def test_inspect_shows_a_pair_without_the_outputs_of_the_layers(tmp_path):
    outputs = inspection.describe_sentence(["영화"], odd_pairs.save(str(tmp_path / "pair"), pooled=False))["outputs"]
    assert set(outputs) == {"pooled_output", "sequence_output"}
    assert outputs["pooled_output"]["shape"] == [1, odd_pairs.HIDDEN]


# Positions.


def test_too_few_positions_are_an_error_of_max_length_before_anything_is_copied(tmp_path):
    pair = odd_pairs.save(str(tmp_path / "pair"), positions=64)
    fault = f"trainer.max_length = 128: {pair}/encoder takes at most 64 tokens; set trainer.max_length=64"
    (tmp_path / "job.yaml").write_text(f"name: job\ndata: {{train: a.tsv}}\nencoder: {{source: hub, handle: {pair}}}\n")
    with pytest.raises(UserError) as error:
        local_run.run(load_config(str(tmp_path / "job.yaml")), str(tmp_path), str(tmp_path), rich.console.Console())
    assert str(error.value) == fault
    with pytest.raises(UserError) as error:
        fetch(tmp_path / "out", pair)
    assert str(error.value) == fault and os.listdir(tmp_path / "out") == []
    handles.check_use(handles.resolve(pair), "fine_tune", 64)
    assert fetch(tmp_path / "right", pair, max_length=64)


def test_positions_without_a_known_name_are_found_by_running_the_encoder(tmp_path):
    pair = odd_pairs.save(str(tmp_path / "pair"), positions=70)
    bag = odd_pairs.Bag(70, False, True, True, False)
    bag.positions = tf.Variable(bag.positions, name="places")
    bag.trainable_variables = [bag.words, bag.positions]
    tf.io.gfile.rmtree(encoder_artifact.encoder_dir(pair))
    tf.saved_model.save(bag, encoder_artifact.encoder_dir(pair))
    with pytest.raises(UserError, match="^trainer.max_length = 128: .* takes at most 70 tokens"):
        fetch(tmp_path / "out", pair)
    assert fetch(tmp_path / "right", pair, max_length=70)


# Nothing to train.


def test_an_encoder_without_trainable_variables_is_refused_in_fine_tune_only(tmp_path):
    pair = odd_pairs.save(str(tmp_path / "pair"), trainable=False)
    fault = (
        f"trainer.mode = fine_tune: {pair}/encoder has no variables that can be trained; set trainer.mode=feature_based"
    )
    for check in (
        lambda: handles.check_use(handles.resolve(pair), "fine_tune", 16),
        lambda: fetch(tmp_path / "out", pair),
    ):
        with pytest.raises(UserError) as error:
            check()
        assert str(error.value).startswith(fault)
    fetched = fetch(tmp_path / "frozen", pair, mode="feature_based")
    assert_served_as_trained(*train(tmp_path, fetched, mode="feature_based"))


def test_the_trainer_refuses_it_too(tmp_path):
    pair = fetch(tmp_path / "out", odd_pairs.save(str(tmp_path / "pair"), trainable=False), mode="feature_based")
    with pytest.raises(UserError, match="set trainer.mode=feature_based"):
        train(tmp_path, pair)


# Archives.


def pack(folder, file, top="."):
    with tarfile.open(file, "w:gz") as archive:
        archive.add(folder, arcname=top)
    return str(file)


@pytest.fixture(name="pair")
def _pair(tmp_path, monkeypatch):
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "hub_cache"))
    return odd_pairs.save(str(tmp_path / "pair"), letters=True)


@pytest.mark.parametrize("top", [".", "a/b"])
def test_local_archives_are_unpacked_with_or_without_a_folder_on_top(top, pair, tmp_path):
    files = [pack(f"{pair}/{part}", tmp_path / f"{part}.tar.gz", top) for part in ("encoder", "preprocess")]
    both = pack(pair, tmp_path / "both.tgz", top)
    expected = {part: tree_sha256(os.path.join(pair, part)) for part in ("preprocess", "encoder")}
    for name, arguments in (("two", files), ("one", [both])):
        card = encoder_artifact.read(fetch(tmp_path / name, *arguments))
        assert card.sha256 == expected and card.handle == arguments[0]
    assert os.listdir(tmp_path / "hub_cache") == []


def test_the_content_of_a_local_archive_is_in_the_fingerprint(pair, tmp_path):
    file = pack(pair, tmp_path / "both.tar.gz")
    before = handles.fingerprint(handles.resolve(file))
    assert handles.fingerprint(handles.resolve(file)) == before
    pack(os.path.join(pair, "encoder"), tmp_path / "both.tar.gz")
    assert handles.fingerprint(handles.resolve(file)) != before


def test_an_archive_without_a_model_is_an_error_that_tells_what_it_holds(pair, tmp_path):
    alone = pack(os.path.join(pair, "encoder"), tmp_path / "alone.tar.gz")
    with pytest.raises(UserError) as error:
        fetch(tmp_path / "out", alone)
    assert str(error.value).startswith(f"encoder.handle: {alone} does not hold preprocess/saved_model.pb")
    assert str(error.value).endswith("or set encoder.preprocess too, if it is the archive of an encoder only")
    empty = pack(os.path.join(pair, "encoder", "saved_model.pb"), tmp_path / "other.tar.gz", "other.pb")
    with pytest.raises(UserError, match=r"does not hold saved_model.pb, .* \(it holds other.pb\)$"):
        fetch(tmp_path / "out2", empty, os.path.join(pair, "preprocess"))
    with pytest.raises(UserError, match="^encoder.handle = .*gone.tar.gz: No such file"):
        handles.resolve(str(tmp_path / "gone.tar.gz"))


def test_an_unsafe_local_archive_stays_where_it_is(pair, tmp_path):
    file = tmp_path / "both.tar.gz"
    with tarfile.open(file, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("../outside"))
    with pytest.raises(UserError, match=f"^encoder.handle: unsafe archive {file}: its member"):
        fetch(tmp_path / "out", str(file))
    assert file.exists() and not (tmp_path / "outside").exists()
