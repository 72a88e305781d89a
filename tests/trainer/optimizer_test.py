"""AdamW with a lazy update of large embedding tables, against a reference in NumPy and against the dense update."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from schema.task import task_from_json
from tests.trainer import tiny_training
from trainer import checkpoints, loop, model, optimizer

TASK = task_from_json(tiny_training.TASK)
PEAK, STEPS, DECAY, EPSILON = 0.1, 20, 0.01, 1e-6
# Rows that batches look up; 2 is in each of them, 5 in none.
BATCHES = [[2, 0, 2, 3], [1, 2], [2, 2, 2, 0]]


@pytest.fixture(autouse=True, name="lazy")
def _lazy(monkeypatch):
    """Makes the small tables of these tests lazy."""
    monkeypatch.setattr(optimizer, "LAZY_WEIGHTS", 11)


def gradients_of(seed):
    """Returns one gradient for each looked-up row of `BATCHES`."""
    generator = np.random.default_rng(seed)
    return [generator.normal(size=(len(rows), 2)).astype(np.float32) for rows in BATCHES]


def summed(rows, values):
    """Returns the dense gradient of a table of six rows."""
    dense = np.zeros((6, 2))
    np.add.at(dense, rows, values)
    return dense


def reference(table, gradients):
    """Returns the table and its moments after the steps, in float64."""
    table, m, v = table.astype(np.float64), np.zeros((6, 2)), np.zeros((6, 2))
    for step, (rows, values) in enumerate(zip(BATCHES, gradients, strict=True)):
        gradient = summed(rows, values)
        gradient /= max(1.0, np.sqrt((gradient**2).sum()))
        rate = PEAK * (1 - step / STEPS)
        for row in set(rows):
            table[row] -= rate * DECAY * table[row]
            m[row] = 0.9 * m[row] + 0.1 * gradient[row]
            v[row] = 0.999 * v[row] + 0.001 * gradient[row] ** 2
            scale = rate * np.sqrt(1 - 0.999 ** (step + 1)) / (1 - 0.9 ** (step + 1))
            table[row] -= scale * m[row] / (np.sqrt(v[row]) + EPSILON)
    return table, m, v


def update(table, batches, gradients):
    """Applies clipped sparse gradients; returns the table and its moments."""
    adamw = optimizer.build_optimizer(PEAK, STEPS, 0.0)
    for rows, values in zip(batches, gradients, strict=True):
        sparse = tf.IndexedSlices(tf.constant(values), tf.constant(rows), tf.constant(table.shape.as_list()))
        clipped = optimizer.clip_gradients([sparse], [table])
        adamw.apply_gradients(zip(clipped, [table], strict=True), experimental_aggregate_gradients=False)
    return [each.numpy() for each in (table, adamw.get_slot(table, "m"), adamw.get_slot(table, "v"))]


def new_table(name="word_embeddings/embeddings"):
    return tf.Variable(np.random.default_rng(9).normal(size=(6, 2)).astype(np.float32), name=name)


@pytest.mark.parametrize("scale", [0.01, 1.0], ids=["below the clipping norm", "above it"])
def test_rows_of_a_batch_are_updated_as_in_the_reference(scale):
    table, gradients = new_table(), [scale * values for values in gradients_of(0)]
    expected = reference(table.numpy(), gradients)
    for ours, theirs in zip(update(table, BATCHES, gradients), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)


def test_rows_that_no_batch_contains_keep_their_bits():
    table = new_table()
    before = table.numpy()
    after, m, v = update(table, BATCHES, gradients_of(0))
    np.testing.assert_array_equal(after[[4, 5]], before[[4, 5]])
    assert not m[[4, 5]].any() and not v[[4, 5]].any()


def test_rows_that_every_batch_contains_are_updated_as_by_the_dense_update(monkeypatch):
    batches, gradients = [[2, 0, 2, 2], [0, 2], [2, 2, 2, 0]], gradients_of(1)
    lazy = update(new_table(), batches, gradients)
    monkeypatch.setattr(optimizer, "LAZY_WEIGHTS", 12)
    dense = update(new_table(), batches, gradients)
    for ours, theirs in zip(lazy, dense, strict=True):
        np.testing.assert_allclose(ours[[0, 2]], theirs[[0, 2]], rtol=1e-6)
    assert (lazy[0][1] != dense[0][1]).any()  # Only the dense update decays the others.


def test_weight_decay_excludes_the_same_weights_as_the_dense_update():
    table = new_table(name="layer_norm/gamma")
    before = table.numpy()
    after, *_ = update(table, [[2]], [np.zeros((1, 2), np.float32)])
    np.testing.assert_array_equal(after, before)


def test_the_norm_is_that_of_the_dense_gradient():
    (rows, *_), (values, *_), other = BATCHES, gradients_of(0), tf.constant([3.0, 4.0])
    sparse = tf.IndexedSlices(values, rows, [6, 2])
    table, bias = clipped = optimizer.clip_gradients([sparse, other], [new_table(), tf.Variable(tf.zeros(2))])
    norm = np.sqrt((summed(rows, values) ** 2).sum() + 25)
    np.testing.assert_allclose(tf.convert_to_tensor(table), summed(rows, values) / norm, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(bias, other / norm, rtol=1e-6)
    assert tf.linalg.global_norm(clipped).numpy() == pytest.approx(1.0)
    assert sorted(table.indices.numpy()) == [0, 2, 3]


def test_gradients_of_small_tables_are_dense(monkeypatch):
    monkeypatch.setattr(optimizer, "LAZY_WEIGHTS", 12)
    (gradient,) = optimizer.clip_gradients([tf.IndexedSlices(gradients_of(0)[0], BATCHES[0], [6, 2])], [new_table()])
    assert isinstance(gradient, tf.Tensor)


class Bag(tf.Module):
    """The mean of a row's embeddings, as an encoder without dropout."""

    def __init__(self):
        super().__init__("bag")
        self.weights = [new_table()]

    def __call__(self, inputs, seed=None, dtype=tf.float32):
        mask = tf.cast(inputs["input_mask"], dtype)[:, :, None]
        embedded = tf.cast(tf.gather(self.weights[0], inputs["input_word_ids"]), dtype) * mask
        return tf.cast(tf.reduce_sum(embedded, 1) / tf.reduce_sum(mask, 1), tf.float32)


IDS = np.array([[1, 2, 2], [2, 3, 0], [1, 1, 3], [3, 0, 0]], np.int32)
LABELS = np.array([1, 0, 1, 0], np.int64)


def train(strategy=None, dtype=tf.float32, xla=False, loss_scale=None, steps=4, folder=None):
    """Trains a bag of words, from the state in a folder if there is one; returns its table."""
    strategy = strategy or tf.distribute.get_strategy()
    with strategy.scope():
        classifier = model.Classifier(Bag(), model.Head(TASK, 2, 0.0, 0))
        adamw = optimizer.build_optimizer(PEAK, STEPS, 0.0)
        adamw._create_all_weights(classifier.weights)
        if dtype == tf.float16:
            adamw = tf_keras.mixed_precision.LossScaleOptimizer(adamw, initial_scale=loss_scale)
    trained = loop.Steps(strategy, TASK, classifier, adamw, 0, dtype, xla)

    def dataset(context):
        inputs = {"input_word_ids": IDS, "input_mask": (IDS > 0).astype(np.int32)}
        rows = (inputs, LABELS, np.ones(4, np.float32), np.full(4, 4.0, np.float32))
        per_replica = tf.data.Dataset.from_tensor_slices(rows).batch(4 // context.num_replicas_in_sync)
        return per_replica.map(lambda *each: (*each[:3], each[3][0])).repeat()

    iterator = iter(strategy.distribute_datasets_from_function(dataset))
    (table,) = classifier.encoder.weights
    if folder:
        rows = {variable.ref(): np.arange(4) for variable in (table, *(adamw.get_slot(table, name) for name in "mv"))}
        trackables = {"weights": classifier.weights, "optimizer": adamw}
        store = checkpoints.Checkpoints(str(folder), trackables, classifier.weights, True, rows)
        store.restore()
    for step in range(int(adamw.iterations.numpy()), steps):
        trained.train(iterator, tf.constant(step, tf.int64))
    if folder:
        store.save(steps, {"best_step": None})
        store.wait()
    return table.numpy()


@pytest.fixture(scope="module", name="table")
def _table():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(optimizer, "LAZY_WEIGHTS", 11)
        return train()


def test_a_training_changes_the_rows_of_its_batches(table):
    changed = (table != new_table().numpy()).any(1)
    # 0 is in the padding.
    assert changed.tolist() == [True, True, True, True, False, False]


@pytest.mark.parametrize(
    ("tolerance", "settings"),
    [
        (1e-5, {"strategy": lambda: tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])}),
        (1e-5, {"xla": True}),
        (0.02, {"dtype": tf.bfloat16}),
        (0.02, {"dtype": tf.float16, "loss_scale": 256.0}),
    ],
    ids=["two replicas", "XLA", "bfloat16", "float16"],
)
def test_replicas_xla_and_precisions_change_only_digits(table, tolerance, settings):
    settings = {name: value() if name == "strategy" else value for name, value in settings.items()}
    np.testing.assert_allclose(train(**settings), table, atol=tolerance)


def test_a_training_continues_from_the_saved_rows_with_the_same_bits(table, tmp_path):
    assert (train(folder=tmp_path, steps=2) != table).any()
    np.testing.assert_array_equal(train(folder=tmp_path), table)


def test_a_step_whose_scaled_gradients_overflow_changes_nothing():
    after = train(dtype=tf.float16, loss_scale=2.0**30, steps=1)
    np.testing.assert_array_equal(after, new_table())
