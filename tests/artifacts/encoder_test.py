"""Layout, card and validation of the encoder artifact."""

import json
import os
import re
import shutil

import pytest
import tensorflow as tf
from tfx.utils import path_utils

from artifacts import encoder as encoder_artifact
from core.errors import UserError
from tests import encoders


class Encoder(tf.Module):
    """A fake encoder of one layer, whose outputs can be wrong."""

    def __init__(self, hidden=4, length=None, pooled=None, layers=1, names=None):
        super().__init__()
        self._hidden, self._pooled, self._layers, self._names = hidden, pooled or hidden, layers, names
        spec = tf.TensorSpec([None, length], tf.int32)
        self.__call__ = tf.function(
            self._encode, input_signature=[{name: spec for name in encoder_artifact.INPUT_NAMES}]
        )

    def _encode(self, inputs):
        tokens = tf.repeat(tf.cast(inputs["input_word_ids"], tf.float32)[:, :, None], self._hidden, axis=2)
        outputs = {
            "pooled_output": tf.repeat(tokens[:, 0, :1], self._pooled, axis=1),
            "sequence_output": tokens,
            "encoder_outputs": [tokens] * self._layers,
        }
        return {name: outputs[name] for name in self._names or outputs}


@pytest.fixture(name="folder")
def fixture_folder(tmp_path):
    return encoders.save(str(tmp_path / "encoder"))


def with_encoder(folder, module):
    shutil.rmtree(encoder_artifact.encoder_dir(folder))
    tf.saved_model.save(module, encoder_artifact.encoder_dir(folder))
    return folder


def test_sizes_of_a_tiny_encoder_are_measured(folder):
    sizes = encoder_artifact.validate(folder)
    assert (sizes.hidden, sizes.layers) == (encoders.CONFIG.hidden, encoders.CONFIG.layers)
    with open(os.path.join(encoder_artifact.preprocess_dir(folder), "assets", "vocab.txt"), encoding="utf-8") as file:
        assert sizes.vocabulary == len(file.read().split("\n")) - 1


def test_card_round_trip(folder):
    written = encoder_artifact.finish(folder, "hub", "한국어", "preprocess", heads=None)
    assert encoder_artifact.read(folder) == written
    with open(os.path.join(folder, "encoder.json"), encoding="utf-8") as file:
        card = json.load(file)
    assert card["handle"] == "한국어"
    assert card["heads"] is None
    assert set(card["sha256"]) == {"preprocess", "encoder"}


def test_fake_encoder_that_keeps_the_contract_is_valid(folder):
    sizes = encoder_artifact.validate(with_encoder(folder, Encoder(hidden=6, layers=3)))
    assert (sizes.hidden, sizes.layers) == (6, 3)


@pytest.mark.parametrize(
    "module, fault",
    [
        (Encoder(names=["pooled_output"]), "outputs sequence_output are missing; it has pooled_output"),
        (Encoder(length=16), "fails on sentences of 24 tokens"),
        (Encoder(pooled=5), "`sequence_output` has the shape [2, 16, 4]; should be [2, 16, 5]"),
        (tf.Module(), "should be a callable SavedModel"),
    ],
)
def test_encoder_that_breaks_the_contract_is_an_error(folder, module, fault):
    with pytest.raises(UserError, match=re.escape(fault)) as error:
        encoder_artifact.validate(with_encoder(folder, module))
    assert str(error.value).startswith(encoder_artifact.encoder_dir(folder) + ": ")
    assert "\n" not in str(error.value)


def test_encoder_in_place_of_the_preprocess_model_is_an_error(folder):
    shutil.rmtree(encoder_artifact.preprocess_dir(folder))
    shutil.copytree(encoder_artifact.encoder_dir(folder), encoder_artifact.preprocess_dir(folder))
    with pytest.raises(UserError, match="preprocess: fails on two sentences"):
        encoder_artifact.validate(folder)


def cut(file):
    os.truncate(file, 10)


@pytest.mark.parametrize("damage, file", [(cut, "saved_model.pb"), (os.remove, "variables/variables.index")])
def test_error_of_a_broken_file_uses_the_name_from_the_caller(folder, damage, file):
    damage(os.path.join(encoder_artifact.encoder_dir(folder), file))
    names = {encoder_artifact.PREPROCESS: "the first", encoder_artifact.ENCODER: "the second"}
    with pytest.raises(UserError, match="^the second: can't be loaded as a SavedModel: "):
        encoder_artifact.validate(folder, names)


def test_staged_folder_appears_at_the_end(tmp_path):
    final = path_utils.serving_model_dir(str(tmp_path))
    with encoder_artifact.stage(str(tmp_path)) as folder:
        with open(os.path.join(folder, "file"), "w", encoding="utf-8") as file:
            file.write("first")
        assert not os.path.exists(final)
    assert os.listdir(final) == ["file"]
    assert os.listdir(tmp_path) == [os.path.basename(final)]


def test_error_leaves_the_previous_folder_only(tmp_path):
    with encoder_artifact.stage(str(tmp_path)) as folder:
        os.makedirs(os.path.join(folder, "old"))
    with pytest.raises(KeyboardInterrupt):
        with encoder_artifact.stage(str(tmp_path)) as folder:
            os.makedirs(os.path.join(folder, "new"))
            raise KeyboardInterrupt
    final = path_utils.serving_model_dir(str(tmp_path))
    assert os.listdir(tmp_path) == [os.path.basename(final)]
    assert os.listdir(final) == ["old"]


def test_second_folder_replaces_the_first(tmp_path):
    for name in ("first", "second"):
        with encoder_artifact.stage(str(tmp_path)) as folder:
            os.makedirs(os.path.join(folder, name))
    assert os.listdir(path_utils.serving_model_dir(str(tmp_path))) == ["second"]


def test_unchanged_encoder_is_verified(folder):
    encoder_artifact.finish(folder, "hub", "handle", "preprocess", heads=None)
    encoder_artifact.verify(folder)


def change(path):
    with open(path, "r+b") as file:
        file.write(b"\xff")


def add(path):
    with open(os.path.join(os.path.dirname(path), "extra"), "wb"):
        pass


@pytest.mark.parametrize("part, file", [("preprocess", "assets/vocab.txt"), ("encoder", "variables/variables.index")])
@pytest.mark.parametrize("damage", [change, add, os.remove])
def test_changed_encoder_is_an_error_with_both_digests(damage, part, file, folder):
    recorded = encoder_artifact.read(folder).sha256[part]
    path = os.path.join(folder, part)
    damage(os.path.join(path, file))
    with pytest.raises(UserError) as error:
        encoder_artifact.verify(folder)
    assert str(error.value).startswith(f"{path}: has the digest {encoder_artifact.digests(folder)[part]}, but")
    assert f"records {recorded}" in str(error.value) and f"delete {folder} and run again" in str(error.value)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"source": "hub"}', '"x"', "\udcff"])
def test_damaged_card_is_named(content, folder):
    card = os.path.join(folder, "encoder.json")
    with open(card, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(content)
    with pytest.raises(UserError, match=f"^{re.escape(card)}: not a valid encoder card"):
        encoder_artifact.verify(folder)
