"""The training loop, with only a head on fixed features, which is fast."""

import os

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from official.nlp import optimization

from core import progress
from core.config import TrainerConfig
from schema.task import task_from_json
from trainer import batches, loop, model
from trainer.checkpoints import Checkpoints

TASK = task_from_json({"text_columns": ["document"], "labels": {"0": "n", "1": "p"}})
FEATURES = np.random.default_rng(0).normal(size=(70, 4)).astype(np.float32)
LABELS = (FEATURES[:, 0] > 0).astype(np.int64)


class Killed(Exception):
    """Simulates a process that is killed at a step."""


class Run:
    """A training of a head on `FEATURES`; several with one folder are attempts at the same training."""

    def __init__(self, folder, dev_labels=LABELS, strategy=None, xla=False, dtype=tf.float32, widths=(), **config):
        self.strategy = strategy or tf.distribute.get_strategy()
        settings = TrainerConfig(**{"epochs": 3, "batch_size": 8, "learning_rate": 0.05, **config})
        steps = settings.epochs * 9
        with self.strategy.scope():
            self.head = model.Head(TASK, 4, settings.dropout, settings.seed)
            optimizer = model.build_optimizer(settings.learning_rate, steps, 0.1)
            optimizer._create_all_weights(self.head.weights)
            if dtype == tf.float16:
                optimizer = tf_keras.mixed_precision.LossScaleOptimizer(optimizer)
        trackables = {"weights": self.head.weights, "optimizer": optimizer}
        self.checkpoints = Checkpoints(str(folder), trackables, self.head.weights, writes=True)
        lengths = np.arange(len(LABELS)) % 9 + 2
        data = [loop.Data(batches.feature_inputs(FEATURES), labels, lengths) for labels in (LABELS, dev_labels)]
        self.steps = loop.Steps(self.strategy, TASK, self.head, optimizer, settings.seed, dtype, xla)
        self.loop = loop.Loop(settings, TASK, self.steps, self.strategy, self.checkpoints, *data, widths)

    def train(self):
        """Trains to the end; returns (result, final weights)."""
        result = self.loop.run()
        self.checkpoints.wait()
        return result, [weight.numpy() for weight in self.head.weights]

    def train_until(self, step):
        """Trains until the process is killed before a step."""
        train = self.steps.train

        def train_or_kill(iterator, number):
            if int(number) == step:
                raise Killed
            return train(iterator, number)

        self.steps.train = train_or_kill
        with pytest.raises(Killed):
            self.loop.run()
        self.checkpoints.wait()


@pytest.fixture(scope="module", name="uninterrupted")
def _uninterrupted(tmp_path_factory):
    return Run(tmp_path_factory.mktemp("uninterrupted")).train()


def test_three_epochs_learn(uninterrupted):
    result, _ = uninterrupted
    assert [row["epoch"] for row in result.history] == [1, 2, 3]
    assert result.history[2]["loss"] < result.history[0]["loss"]
    assert set(result.history[0]) == {"epoch", "loss", "accuracy", "dev_loss", "dev_accuracy"}
    assert [point["step"] for point in result.curve] == list(range(1, 28))
    assert set(result.curve[0]) == {"step", "loss", "accuracy"}
    assert result.examples_per_s > 0


def test_the_same_seed_repeats_bit_for_bit_and_another_does_not(uninterrupted, tmp_path):
    again, other = Run(tmp_path / "again").train(), Run(tmp_path / "other", seed=1).train()
    assert again[0].history == uninterrupted[0].history
    for one, two, three in zip(again[1], uninterrupted[1], other[1], strict=True):
        np.testing.assert_array_equal(one, two)
        assert (one != three).any()


def test_points_of_the_curve_are_means_that_end_with_the_epoch(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "_CURVE_POINTS", 4)
    result, _ = Run(tmp_path, epochs=2).train()
    assert [point["step"] for point in result.curve] == [3, 6, 9, 12, 15, 18]
    # All batches but an epoch's last, of LABELS' remainder, have the same number of rows.
    for row in result.history:
        points = [point for point in result.curve if 9 * (row["epoch"] - 1) < point["step"] <= 9 * row["epoch"]]
        assert row["loss"] == pytest.approx(np.mean([point["loss"] for point in points]), rel=0.1)


@pytest.mark.parametrize("seconds", [1e-9, 1e9], ids=["checkpoint every step", "checkpoint every epoch"])
@pytest.mark.parametrize("step", [0, 1, 8, 9, 10, 17, 26])
def test_a_killed_training_gives_the_same_bits_as_an_uninterrupted_one(uninterrupted, tmp_path, step, seconds):
    Run(tmp_path, checkpoint_seconds=seconds).train_until(step)
    result, weights = Run(tmp_path, checkpoint_seconds=seconds).train()
    assert (result.history, result.curve) == (uninterrupted[0].history, uninterrupted[0].curve)
    assert (result.best_epoch, result.best_step) == (uninterrupted[0].best_epoch, uninterrupted[0].best_step)
    for one, two in zip(weights, uninterrupted[1], strict=True):
        np.testing.assert_array_equal(one, two)


def test_a_resumed_training_reports_from_where(tmp_path, caplog):
    caplog.set_level("INFO", progress.LOGGER.name)
    Run(tmp_path, checkpoint_seconds=1e-9).train_until(20)
    # TensorFlow's own records have no stage.
    assert not any(getattr(record, "stage", "").startswith("resumed") for record in caplog.records)
    caplog.clear()
    Run(tmp_path).train()
    first, *others = caplog.records
    assert (first.stage, first.done, first.total, first.keep) == (
        "resumed after step 20 of 27, in epoch 3/3",
        20,
        27,
        True,
    )
    assert [record.stage for record in others if record.keep] == ["epoch 3/3"]


def test_a_killed_training_continues_from_the_last_step(tmp_path):
    Run(tmp_path, checkpoint_seconds=1e-9).train_until(20)
    run = Run(tmp_path)
    steps = []
    train = run.steps.train
    run.steps.train = lambda iterator, step: steps.append(int(step)) or train(iterator, step)
    run.train()
    assert steps == list(range(20, 27))


def test_the_weights_of_the_best_epoch_are_kept(tmp_path):
    # With swapped labels, dev accuracy falls as training progresses.
    run = Run(tmp_path, dev_labels=1 - LABELS, epochs=6, learning_rate=0.3, dropout=0.0)
    result, _ = run.train()
    accuracy = [row["dev_accuracy"] for row in result.history]
    assert max(accuracy) > accuracy[-1]
    run.checkpoints.restore_best(result.best_step, run.head.weights)
    assert np.mean((run.head(FEATURES).numpy()[:, 0] > 0) == 1 - LABELS) == pytest.approx(max(accuracy))
    assert result.best_epoch == 1 + int(np.argmax(accuracy))


def test_of_epochs_with_the_same_accuracy_the_one_with_the_smallest_loss_is_kept(tmp_path):
    result, _ = Run(tmp_path, epochs=6, learning_rate=0.3, dropout=0.0).train()
    accuracy, losses = ([row[name] for row in result.history] for name in ("dev_accuracy", "dev_loss"))
    tied = [epoch for epoch, value in enumerate(accuracy, 1) if value == max(accuracy)]
    assert len(tied) > 1
    assert result.best_epoch == min(tied, key=lambda epoch: losses[epoch - 1]) != tied[0]


def test_the_newest_two_states_are_kept(tmp_path):
    Run(tmp_path, checkpoint_seconds=1e-9).train()
    states = sorted(file for file in os.listdir(tmp_path) if file.startswith("state") and file.endswith(".index"))
    assert states == ["state-26.index", "state-27.index"]
    assert len([file for file in os.listdir(tmp_path) if file.startswith("best") and file.endswith(".index")]) <= 2


# Without dropout, whose random numbers depend on the position of rows in a batch.
@pytest.fixture(scope="module", name="plain")
def _plain(tmp_path_factory):
    return Run(tmp_path_factory.mktemp("plain"), dropout=0.0).train()


def test_two_replicas_learn_the_same_as_one(plain, tmp_path):
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    assert strategy.num_replicas_in_sync == 2
    result, _ = Run(tmp_path, dropout=0.0, strategy=strategy).train()
    for row, other in zip(result.history, plain[0].history, strict=True):
        assert row == pytest.approx(other, rel=1e-4)


def test_xla_and_filler_rows_change_only_the_last_digits(plain, tmp_path):
    result, weights = Run(tmp_path, dropout=0.0, xla=True, widths=[12]).train()
    for row, other in zip(result.history, plain[0].history, strict=True):
        assert row == pytest.approx(other, rel=1e-4)
    for one, two in zip(weights, plain[1], strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)


def test_a_scaled_loss_learns_the_same_in_float16(uninterrupted, tmp_path):
    result, _ = Run(tmp_path, dtype=tf.float16).train()
    assert result.history[-1]["loss"] == pytest.approx(uninterrupted[0].history[-1]["loss"], rel=0.02)


def _op_types(function):
    """Returns the types of all ops of a traced function and of the functions that it calls."""
    definition = function.graph.as_graph_def(add_shapes=False)
    nodes = [*definition.node, *(node for called in definition.library.function for node in called.node_def)]
    return {node.op for node in nodes}


def test_a_step_needs_no_host(tmp_path):
    run = Run(tmp_path)
    iterator = run.loop._iterator(run.loop._train, 8, run.loop._train_batches)
    types = _op_types(run.steps.train.get_concrete_function(iterator, tf.constant(0, tf.int64)))
    assert {"MatMul", "ResourceApplyAdam", "IteratorGetNext"} <= types
    # Python ops, and branches and loops, whose conditions are evaluated on the host.
    assert not {op for op in types if "Py" in op or op.removeprefix("Stateless") in ("If", "While", "Case", "Switch")}


@pytest.mark.parametrize("warmup_fraction", [0.0, 0.1, 0.5, 1.0])
def test_the_learning_rate_equals_that_of_tf_models(warmup_fraction):
    ours = model.build_optimizer(3e-5, 40, warmup_fraction).learning_rate
    theirs = optimization.create_optimizer(3e-5, 40, round(warmup_fraction * 40)).learning_rate
    for step in range(42):
        np.testing.assert_allclose(ours(step), theirs(tf.constant(step)), rtol=1e-5, atol=1e-12)
