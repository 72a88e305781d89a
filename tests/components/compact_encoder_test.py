"""A compact encoder becomes the two SavedModels that it was made from; damaged ones are refused."""

import json
import os

import numpy as np
import pytest
import tensorflow as tf
from tfx.types import standard_artifacts
from tfx.utils import path_utils

from artifacts import encoder as encoder_artifact
from components.hub_encoder import compact, executor, handles
from components.hub_encoder.catalogue import CATALOGUE
from core.errors import UserError
from tests import encoders

# Float16 has 11 significant bits.
TOLERANCE = 0.01


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """The tiny encoder's folder."""
    return encoders.save(str(tmp_path_factory.mktemp("encoder") / "encoder"))


@pytest.fixture
def folder(source, tmp_path):
    """The tiny encoder in its compact form."""
    path = tmp_path / "compact"
    path.mkdir()
    compact.write(source, str(path), False, 16, description="tiny", licence="CC0-1.0", command="make it")
    return str(path)


def outputs(pair):
    """The pooled outputs of two texts, float32[2, hidden]."""
    preprocess = tf.saved_model.load(encoder_artifact.preprocess_dir(pair))
    encoder = tf.saved_model.load(encoder_artifact.encoder_dir(pair))
    return encoder(preprocess(tf.constant(["정말 재미있는 영화", "별로"])))["pooled_output"].numpy()


def test_hub_encoder_builds_the_encoder_that_was_written(source, folder, tmp_path):
    artifact = standard_artifacts.Model()
    artifact.uri = str(tmp_path / "artifact")
    properties = {"handle": folder, "preprocess": "", "mode": "fine_tune", "max_length": 16}
    executor.Executor().Do({}, {"encoder": [artifact]}, properties)
    built = path_utils.serving_model_dir(artifact.uri)
    np.testing.assert_allclose(outputs(built), outputs(source), atol=TOLERANCE)
    card, original = encoder_artifact.read(built), encoder_artifact.read(source)
    assert (card.source, card.handle) == ("hub", folder)
    sizes = ("layers", "hidden", "heads", "vocabulary")
    assert [getattr(card, name) for name in sizes] == [getattr(original, name) for name in sizes]
    assert os.path.exists(os.path.join(built, "pretraining.json")), "its curve is shown in the report"


def test_files_are_the_same_each_time(source, folder, tmp_path):
    again = tmp_path / "again"
    again.mkdir()
    compact.write(source, str(again), False, 16, description="tiny", licence="CC0-1.0", command="make it")
    for name in os.listdir(folder):
        assert (again / name).read_bytes() == open(os.path.join(folder, name), "rb").read(), name


@pytest.mark.parametrize("name", [compact.VOCABULARY, compact.WEIGHTS])
def test_a_changed_file_is_refused(folder, name):
    with open(os.path.join(folder, name), "ab") as stream:
        stream.write(b"x")
    with pytest.raises(UserError, match=rf"{name}: has the digest \w+, but encoder.json records"):
        handles.resolve(folder)


def test_a_missing_or_damaged_card_is_refused(folder):
    card = os.path.join(folder, "encoder.json")
    with open(card, "w") as stream:
        json.dump({"layers": 1}, stream)
    with pytest.raises(UserError, match="encoder.json: not a valid card of a compact encoder"):
        handles.resolve(folder)
    os.remove(card)
    with pytest.raises(UserError, match="encoder.json: No such file"):
        handles.resolve(folder)


def test_the_bundled_encoder_is_the_one_that_the_catalogue_describes():
    entry = CATALOGUE["ko_reviews_small"]
    card = compact.read_card(entry.encoder)
    assert (card.layers, card.hidden, card.heads, card.licence) == (
        entry.layers,
        entry.hidden,
        entry.heads,
        entry.licence,
    )
    with np.load(os.path.join(entry.encoder, compact.WEIGHTS)) as weights:
        assert {weights[name].dtype.name for name in weights.files} == {"float16"}
        assert sum(weights[name].size for name in weights.files) == pytest.approx(entry.parameters_m * 1e6)
    size = sum(os.path.getsize(os.path.join(entry.encoder, name)) for name in os.listdir(entry.encoder))
    assert size <= 12 * 2**20
