"""Pooled outputs: computed once, written completely or not at all, in the order of the rows."""

import os
import pathlib
import time

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_text  # noqa: F401  Registers the preprocess model's ops.

from tests import encoders
from trainer import native, pooled, tokens


@pytest.fixture(scope="module", name="inputs")
def _inputs(tmp_path_factory):
    """An encoder, and the tokens of some rows."""
    folder = encoders.save(str(tmp_path_factory.mktemp("encoder") / "encoder"))
    texts = [text.encode() for text in encoders.TEXTS]
    rows = tokens.tokenise(tf.saved_model.load(folder + "/preprocess"), texts, 16)
    return native.rebuild_bert(tf.saved_model.load(folder + "/encoder")), rows


class TraceCounter:
    """An encoder that counts how often it is traced."""

    def __init__(self, encoder):
        self.encoder, self.traced = encoder, 0

    def __call__(self, inputs):
        self.traced += 1
        return self.encoder(inputs)


def test_pooled_outputs_are_the_encoders_in_the_order_of_the_rows(inputs, tmp_path):
    encoder, rows = inputs
    outputs = pooled.pooled_outputs(encoder, rows, str(tmp_path), "train", tf.distribute.get_strategy())
    alone = [encoder(rows.padded(np.array([row]))).numpy()[0] for row in range(len(rows.lengths))]
    np.testing.assert_allclose(outputs, alone, atol=1e-6)


def test_a_second_attempt_reads_the_outputs_of_the_first(inputs, tmp_path):
    encoder, rows = TraceCounter(inputs[0]), inputs[1]
    strategy = tf.distribute.get_strategy()
    first = pooled.pooled_outputs(encoder, rows, str(tmp_path), "train", strategy)
    second = pooled.pooled_outputs(encoder, rows, str(tmp_path), "train", strategy)
    assert encoder.traced == 1
    np.testing.assert_array_equal(first, second)


def test_an_incomplete_file_of_a_killed_attempt_is_not_read(inputs, tmp_path):
    (tmp_path / "pooled-train-0-of-1.npy.1.tmp").write_bytes(b"\x93NUMPY")
    encoder, rows = TraceCounter(inputs[0]), inputs[1]
    outputs = pooled.pooled_outputs(encoder, rows, str(tmp_path), "train", tf.distribute.get_strategy())
    assert encoder.traced == 1 and outputs.shape == (len(rows.lengths), encoders.CONFIG.hidden)
    # The incomplete file is removed with the folder, when nothing has used it for a while.
    assert sorted(os.listdir(tmp_path)) == ["pooled-train-0-of-1.npy", "pooled-train-0-of-1.npy.1.tmp"]


def features_of(root):
    return {path.name for path in root.iterdir() if path.name.startswith("features-")}


def make_old(folder, days):
    for path in (*folder.iterdir(), folder):
        os.utime(path, (time.time() - days * 86_400,) * 2)


def test_folders_are_named_after_what_the_vectors_depend_on(tmp_path):
    parts = [{"encoder": "a"}, ["rows"], "mean", 128]
    first = pooled.open_folder(str(tmp_path), parts, writes=True)
    assert pooled.open_folder(str(tmp_path), list(parts), writes=True) == first
    assert pooled.open_folder(str(tmp_path), [*parts[:2], "first", 128], writes=False) != first
    assert features_of(tmp_path) == {os.path.basename(first)}


def test_folders_that_are_not_used_any_more_are_removed(tmp_path):
    folders = [pathlib.Path(pooled.open_folder(str(tmp_path), [i], writes=True)) for i in range(6)]
    (tmp_path / "another training").mkdir()
    # All of them may be in use.
    assert len(features_of(tmp_path)) == 6
    for i, folder in enumerate(folders):
        make_old(folder, 1 + i / 10)
    pooled.open_folder(str(tmp_path), [1], writes=True)
    assert features_of(tmp_path) == {folders[i].name for i in (0, 1, 2, 3)}
    make_old(folders[3], 8)
    pooled.open_folder(str(tmp_path), [1], writes=True)
    assert features_of(tmp_path) == {folders[i].name for i in (0, 1, 2)}
    assert (tmp_path / "another training").exists()
