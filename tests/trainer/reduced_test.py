"""A BERT on a table of only the pieces that occur computes and trains as on the whole table."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from schema.task import task_from_json
from tests import encoders
from tests.trainer import tiny_training
from trainer import batches, bert, loop, model, native, reduced, tokens

TASK = task_from_json(tiny_training.TASK)
LABELS = np.array([1, 0, 1, 0], np.int64)


@pytest.fixture(scope="module", name="folder")
def _folder(tmp_path_factory):
    return encoders.save(str(tmp_path_factory.mktemp("encoder") / "encoder"))


@pytest.fixture(scope="module", name="rows")
def _rows(folder):
    preprocess = tf.saved_model.load(folder + "/preprocess")
    return tokens.tokenise(preprocess, [text.encode() for text in encoders.TEXTS[:4]], 16)


@pytest.fixture(autouse=True, name="large")
def _large(monkeypatch):
    """Makes the tiny encoder's table a large one."""
    monkeypatch.setattr(reduced, "LARGE_TABLE", 1)


def load(folder, dropout=bert.DROPOUT):
    network = native.rebuild_bert(tf.saved_model.load(folder + "/encoder"))
    variant = dataclasses.replace(network.variant, dropout=dropout)
    network = bert.Bert(network.weights_by_name, network.sizes, variant)
    return model.Classifier(network, model.Head(TASK, encoders.CONFIG.hidden, 0.0, 0))


def train(classifier, rows, strategy=None, xla=False):
    """Trains a classifier for three steps on all rows."""
    strategy = strategy or tf.distribute.get_strategy()
    optimizer = model.build_optimizer(0.01, 10, 0.0)
    steps = loop.Steps(strategy, TASK, classifier, optimizer, 0, tf.float32, xla)
    order = lambda: iter([np.arange(4)] * 3)  # noqa: E731
    iterator = iter(
        strategy.distribute_datasets_from_function(
            lambda context: batches.dataset(batches.token_inputs(rows), LABELS, rows.lengths, order, context, [], None)
        )
    )
    return [steps.train(iterator, tf.constant(step, tf.int64)).numpy() for step in range(3)]


def test_the_outputs_are_those_of_the_whole_table(folder, rows):
    whole = load(folder)
    smaller = reduced.reduce_table(whole, rows)
    inputs = rows.padded(np.arange(4))
    np.testing.assert_array_equal(smaller(inputs), whole(inputs))
    assert smaller.encoder.weights[0].shape[0] < whole.encoder.weights[0].shape[0]
    assert smaller.encoder.weights[0].shape[0] == len({0, *rows.word_ids.tolist()})


def test_training_gives_the_weights_of_the_whole_table(folder, rows):
    whole, network = load(folder), load(folder)
    before = network.encoder.word_embeddings.numpy()
    expected = train(whole, rows)
    smaller = reduced.reduce_table(network, rows)
    np.testing.assert_allclose(train(smaller, rows), expected, rtol=1e-5)
    smaller.encoder.update_network()
    for ours, theirs in zip(network.weights[1:], whole.weights[1:], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)
    after, trained = network.encoder.word_embeddings.numpy(), whole.encoder.word_embeddings.numpy()
    used = np.isin(np.arange(len(after)), [0, *rows.word_ids])
    np.testing.assert_allclose(after[used], trained[used], rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(after[~used], before[~used])
    assert (after[used][1:] != before[used][1:]).any(1).all()
    # The whole network serves what the smaller one learned.
    inputs = rows.padded(np.arange(4))
    np.testing.assert_allclose(network(inputs), smaller(inputs), atol=1e-6)


def test_xla_changes_only_the_last_digits(folder, rows):
    # Without dropout, since XLA draws other random numbers.
    first, second = (reduced.reduce_table(load(folder, dropout=0.0), rows) for _ in range(2))
    np.testing.assert_allclose(train(second, rows, xla=True), train(first, rows), rtol=1e-4)


def test_two_replicas_learn_the_same_as_one(folder, rows):
    expected = train(reduced.reduce_table(load(folder, dropout=0.0), rows), rows)
    # Without collective operations, whose keys would be those of another strategy in this process.
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"], tf.distribute.ReductionToOneDevice())
    whole = load(folder, dropout=0.0)
    with strategy.scope():
        copied = model.Classifier(whole.encoder.copy(), model.Head(TASK, encoders.CONFIG.hidden, 0.0, 0))
        smaller = reduced.reduce_table(copied, rows)
    np.testing.assert_allclose(train(smaller, rows, strategy), expected, rtol=1e-4)


def test_a_small_table_and_other_encoders_stay(folder, rows, monkeypatch):
    classifier = load(folder)
    monkeypatch.setattr(reduced, "LARGE_TABLE", classifier.encoder.word_embeddings.shape.num_elements())
    assert reduced.reduce_table(classifier, rows) is classifier
    other = model.Classifier(model.SavedEncoder(folder + "/encoder", "pooler", ()), classifier.head)
    assert reduced.reduce_table(other, rows) is other


def test_pieces_are_those_of_all_splits_and_of_the_padding(monkeypatch):
    monkeypatch.setattr(reduced, "_CHUNK", 2)
    one, two = (tokens.Tokens(np.array(ids, np.int32), *[np.zeros(1)] * 3) for ids in ([7, 3, 7, 5, 9], [2, 3]))
    assert reduced._contained_pieces([one, two], 12).tolist() == [0, 2, 3, 5, 7, 9]
    assert reduced._contained_pieces([], 12).tolist() == [0]
