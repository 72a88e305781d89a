"""Pre-training: objectives, the loop, checkpoints, held-out texts."""

import math
import os

import numpy as np
import pytest
import tensorflow as tf

from components.encoder_pretrainer import loop, masking, network, objective, pretrain, start
from core.config import PretrainConfig
from core.errors import UserError
from trainer import distribution, tracing
from trainer.tokens import WORD_IDS, Tokens

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmno"]
TINY = PretrainConfig(
    vocabulary=100, layers=1, hidden=16, heads=2, steps=100, batch_size=8, learning_rate=0.02, max_length=16
)
ELECTRA = TINY.model_copy(update={"objective": "electra", "embedding": 8, "learning_rate": 0.01})
OBJECTIVES = pytest.mark.parametrize("config", [TINY, ELECTRA], ids=["mlm", "electra"])


def data_of(rows, scores=None):
    word_ids = np.concatenate([np.zeros(0, np.int32), *(np.array([2, *row, 3], np.int32) for row in rows)])
    lengths = np.array([len(row) + 2 for row in rows], np.int64)
    tokens = Tokens(word_ids, np.zeros_like(word_ids), np.cumsum(lengths) - lengths, lengths)
    return loop.Data(tokens, np.full(len(rows), np.nan, np.float32) if scores is None else np.array(scores, np.float32))


# Each token determines its neighbours; the score is that of the first one.
ROWS = [[5, 6, 7, 8], [9, 10, 11, 12, 13], [14, 15]] * 16
REPETITIVE = data_of(ROWS)
SCORED = data_of(ROWS, [0.0, 1.0, math.nan] * 16)
NOTHING = data_of([])


def train(config, data, held_out=NOTHING, folder=""):
    devices = pretrain.Devices([], distribution.choose_strategy([]))
    with tracing.libraries_as_written():
        trained = pretrain.train(data, held_out, start.Start(PIECES, config), devices, folder)
    return trained.result, [weight.numpy() for weight in trained.network.weights], trained


@pytest.fixture(name="folder")
def _folder(tmp_path):
    return str(tmp_path / "checkpoints" / "key")


def batch_of(rows):
    tokens = data_of(rows).tokens
    return {name: tf.constant(value) for name, value in tokens.padded(np.arange(len(rows))).items()}


def equal(first, second):
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


@OBJECTIVES
def test_pieces_and_scores_are_learned(config, folder):
    result, _, trained = train(config, SCORED, SCORED, folder)
    first, last = result.history[0], result.history[-1]
    assert (last["step"], len(result.history)) == (100, 20)
    assert last["loss"] < first["loss"]
    # By chance: 1 in 15 pieces, and half of the tokens.
    assert last["accuracy"] > {"mlm": 0.25, "electra": 0.55}[config.objective]
    assert last["score_correlation"] > 0.5
    assert [point["step"] for point in result.curve] == list(range(1, 101))
    assert result.curve[-1].keys() == last.keys()
    # The score is computed from the pooled output, so the pooler is trained.
    assert not np.allclose(trained.network.encoder_variables["pooler_transform/kernel:0"], np.eye(16))


def test_without_scores_the_pooler_stays_the_identity(folder):
    result, _, trained = train(TINY.model_copy(update={"steps": 3}), REPETITIVE, folder=folder)
    np.testing.assert_array_equal(trained.network.encoder_variables["pooler_transform/kernel:0"], np.eye(16))
    assert "score_loss" not in result.curve[-1]


def test_weights_before_training_depend_on_the_seed_only(folder):
    untrained = ELECTRA.model_copy(update={"steps": 0})
    result, weights, _ = train(untrained, REPETITIVE, folder=folder)
    assert not result.curve and not result.history
    assert equal(weights, train(untrained, data_of([[5]]), folder=folder)[1])
    assert not equal(weights, train(untrained.model_copy(update={"seed": 1}), REPETITIVE, folder=folder)[1])


def test_a_killed_pretraining_continues_to_the_same_weights(folder, monkeypatch):
    config = ELECTRA.model_copy(update={"steps": 12, "checkpoint_seconds": 1e-9})
    held_out = data_of(ROWS[:3], [0.0, 1.0, math.nan])
    expected, weights, _ = train(config, SCORED, held_out, folder + "-uninterrupted")
    run_step = loop.Loop._attend

    def attend_and_die(self, measure):
        run_step(self, measure)
        if self._state.step == 7:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop.Loop, "_attend", attend_and_die)
        train(config, SCORED, held_out, folder)
    assert any(name.startswith("state-7") for name in os.listdir(folder))
    result, continued, trained = train(config, SCORED, held_out, folder)
    assert equal(weights, continued)
    assert (result.curve, result.history) == (expected.curve, expected.history)
    trained.checkpoints.remove()
    assert not os.path.exists(folder)


def test_a_loss_that_is_not_a_number_stops_with_a_sentence(folder):
    with pytest.raises(
        UserError, match=r"^encoder.pretrain.learning_rate = 1e\+30: the loss is not a number in step \d"
    ):
        train(TINY.model_copy(update={"learning_rate": 1e30, "warmup_fraction": 0.0}), REPETITIVE, folder=folder)


@pytest.mark.parametrize(
    ("history", "minimum", "message"),
    [
        ([], None, None),
        ([{"step": 1, "accuracy": 0.1}, {"step": 2, "accuracy": 0.6}], 0.5, None),
        ([{"step": 1, "accuracy": 0.6}, {"step": 2, "accuracy": 0.4}], 0.5, "min_accuracy = 0.5: .* is 0.4000; train"),
        ([], 0.5, "min_accuracy = 0.5: no text was held out"),
    ],
)
def test_the_accuracy_at_the_end_has_a_bound(history, minimum, message):
    if message is None:
        pretrain.require_accuracy(history, minimum)
    else:
        with pytest.raises(UserError, match=message):
            pretrain.require_accuracy(history, minimum)


def test_a_batch_without_pieces_has_no_loss():
    made = network.Network(TINY, len(PIECES), has_scores=False)
    target = objective.Objective(made, TINY, masking.describe(PIECES), has_scores=False)
    loss, sums = target(batch_of([[1, 1], [1]]), tf.fill([2], math.nan), tf.constant([0, 0], tf.int64))
    assert loss.numpy() == 0.0
    np.testing.assert_array_equal(sums, np.zeros((2, 2)))


# ELECTRA.


def test_a_replaced_piece_that_equals_the_original_counts_as_original(monkeypatch):
    made = network.Network(ELECTRA, len(PIECES), has_scores=False)
    target = objective.Objective(made, ELECTRA, masking.describe(PIECES), has_scores=False)
    made.heads["prediction/bias:0"].assign(1e4 * tf.one_hot(5, len(PIECES)))
    seen = {}

    def sequence_output(inputs, seed, dtype):
        seen.update(inputs)
        return tf.zeros([*inputs[WORD_IDS].shape, 16])

    monkeypatch.setattr(made.encoder, "sequence_output", sequence_output)
    # Says of every token that it was replaced.
    made.heads["detection/bias:0"].assign([10.0])
    inputs = batch_of([[5] * 12, [6] * 12])
    _, sums = target(inputs, tf.fill([2], math.nan), tf.constant([0, 3], tf.int64), training=False)
    counts = dict(zip(target.names, sums.numpy().tolist(), strict=True))
    original, replaced = inputs[WORD_IDS].numpy(), seen[WORD_IDS].numpy()
    changed = replaced != original
    assert not changed[0].any() and (replaced[changed] == 5).all()
    choice, _ = target.corrupt(inputs[WORD_IDS], tf.constant([0, 3], tf.int64))
    # Pieces of both rows were replaced, those of the first by themselves.
    assert 0 < changed.sum() < choice.weights.numpy().sum()
    assert counts["found"] == [changed.sum(), changed.sum()]
    # 28 tokens with [CLS] and [SEP].
    assert counts["left"] == [0.0, 28 - changed.sum()]


def test_samples_follow_the_probabilities_and_the_seed():
    logits = tf.math.log(tf.tile([[0.5, 0.3, 0.2, 1e-9]], [20_000, 1]))
    drawn = objective.sample(logits, tf.constant([0, 1], tf.int64)).numpy()
    np.testing.assert_allclose(np.bincount(drawn, minlength=4) / 20_000, [0.5, 0.3, 0.2, 0], atol=0.012)
    np.testing.assert_array_equal(drawn, objective.sample(logits, tf.constant([0, 1], tf.int64)))
    assert not np.array_equal(drawn, objective.sample(logits, tf.constant([0, 2], tf.int64)))


def test_the_generator_is_narrower_and_shares_the_embeddings():
    made = network.Network(ELECTRA, len(PIECES), has_scores=False)
    shapes = {weight.name: tuple(weight.shape) for weight in made.weights}
    assert len(shapes) == len(made.weights)
    assert shapes["generator/transformer/layer_0/intermediate/kernel:0"] == (4, 16)
    assert shapes["generator/embedding_projection/kernel:0"] == (8, 4)
    assert "generator/word_embeddings/embeddings:0" not in shapes
    assert shapes["word_embeddings/embeddings:0"] == (20, 8)
    assert not any("pooler" in name for name in shapes)


def test_figures_of_moments():
    means = {"loss": 1.0, "found": 0.5, "left": 0.9, "score_loss": 0.3}
    estimates, scores = np.array([0.1, 0.5, 0.9]), np.array([0.2, 0.1, 1.0])
    means |= {
        "score": scores.mean(),
        "estimate": estimates.mean(),
        "score_score": (scores**2).mean(),
        "estimate_estimate": (estimates**2).mean(),
        "score_estimate": (scores * estimates).mean(),
    }
    correlation = np.corrcoef(scores, estimates)[0, 1]
    assert objective.figures(means) == {
        "loss": 1.0,
        "accuracy": 0.7,
        "score_loss": 0.3,
        "score_correlation": pytest.approx(correlation),
    }
