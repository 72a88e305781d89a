"""Batches: every row once, similar lengths together, padding as in the mask."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer import batches
from trainer.tokens import MASK, WORD_IDS, Tokens

LENGTHS = st.lists(st.integers(2, 40), min_size=1, max_size=300).map(np.array)


@given(LENGTHS, st.integers(1, 50), st.integers(0, 5), st.integers(0, 5))
def test_an_epoch_contains_every_row_once_in_full_batches(lengths, batch_size, seed, epoch):
    epoch_batches = batches.epoch_batches(lengths, batch_size, seed, epoch)
    assert sorted(np.concatenate(epoch_batches)) == list(range(len(lengths)))
    assert sum(len(rows) < batch_size for rows in epoch_batches) <= 1
    assert max(map(len, epoch_batches)) <= batch_size


@given(LENGTHS, st.integers(1, 50))
def test_sorted_batches_contain_every_row_once_with_the_least_padding(lengths, batch_size):
    evaluation = batches.sorted_batches(lengths, batch_size)
    assert sorted(np.concatenate(evaluation)) == list(range(len(lengths)))
    assert [lengths[rows].min() for rows in evaluation[1:]] >= [lengths[rows].max() for rows in evaluation[:-1]]


def test_the_example_in_the_docstring_of_epoch_batches(monkeypatch):
    monkeypatch.setattr(batches, "WINDOW_BATCHES", 2)
    lengths = np.array([9, 2, 3, 8])
    for seed in range(5):
        batch_lengths = [tuple(lengths[rows]) for rows in batches.epoch_batches(lengths, 2, seed, 0)]
        assert sorted(batch_lengths) == [(2, 3), (8, 9)]


def test_order_depends_only_on_seed_and_epoch():
    lengths = np.random.default_rng(0).integers(2, 60, 500)

    def order(seed, epoch):
        return np.concatenate(batches.epoch_batches(lengths, 16, seed, epoch)).tolist()

    assert order(0, 0) == order(0, 0)
    assert order(0, 0) != order(0, 1) != order(1, 1)


def test_padding_share_counts_padding_to_the_longest_row():
    assert batches.padding_share(np.array([2, 4, 4]), [np.array([0, 1]), np.array([2])]) == pytest.approx(2 / 12)


def test_reviews_as_long_as_nsmcs_have_less_than_6_percent_padding():
    # Log-normal with NSMC's mean of 20 tokens and a 99th percentile near 77.
    lengths = np.clip(np.random.default_rng(0).lognormal(2.8, 0.65, 14000).astype(int), 3, 128)
    assert batches.padding_share(lengths, batches.epoch_batches(lengths, 32, 0, 0)) < 0.06


@given(LENGTHS, st.integers(1, 20), st.integers(0, 3), st.data())
def test_endless_batches_continue_from_any_step(lengths, batch_size, seed, data):
    steps = -(-len(lengths) // batch_size)
    first = data.draw(st.integers(0, 3 * steps))
    whole = [rows for epoch in range(5) for rows in batches.epoch_batches(lengths, batch_size, seed, epoch)]
    continued = itertools.islice(batches.endless_batches(lengths, batch_size, seed, first, steps), steps)
    for rows, expected in zip(continued, whole[first:], strict=False):
        np.testing.assert_array_equal(rows, expected)


@given(LENGTHS, st.integers(1, 20), st.floats(0, 1))
def test_chosen_widths_fit_every_batch_and_reach_the_share_or_the_maximum_number(lengths, batch_size, share):
    plan = batches.epoch_batches(lengths, batch_size, 0, 0)
    widths = batches.choose_widths(lengths, plan, share)
    assert widths == sorted(set(widths)) and widths[-1] == lengths.max()
    assert len(widths) <= batches.MAX_WIDTHS
    longest = {int(lengths[rows].max()) for rows in plan}
    reached = 1 - batches.padding_share(lengths, plan, widths)
    best = 1 - batches.padding_share(lengths, plan)
    assert reached >= share or reached == pytest.approx(best) or len(widths) == batches.MAX_WIDTHS
    assert longest >= set(widths)


@settings(max_examples=30)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=12).map(np.array), st.integers(1, 4))
def test_no_other_choice_of_as_many_widths_pads_less(lengths, number):
    plan = [np.array([row]) for row in range(len(lengths))]
    longest, counts = np.unique(lengths, return_counts=True)
    number = min(number, len(longest))
    widths, computed = list(itertools.islice(batches._best_widths(longest, counts), number))[-1]
    assert computed == sum(batches.width_of(int(length), widths) for length in lengths)
    for others in itertools.combinations(longest[:-1].tolist(), number - 1):
        assert batches.padding_share(lengths, plan, widths) <= batches.padding_share(
            lengths, plan, [*others, int(longest[-1])]
        )


def test_the_example_in_the_docstring_of_choose_widths():
    lengths = np.array([4, 5, 20])
    plan = [np.array([row]) for row in range(3)]
    assert batches.choose_widths(lengths, plan, 0.9) == [5, 20]
    assert batches.choose_widths(lengths, plan, 1.0) == [4, 5, 20]


def test_reviews_as_long_as_nsmcs_need_few_widths_for_85_percent():
    lengths = np.clip(np.random.default_rng(0).lognormal(2.8, 0.65, 14000).astype(int), 3, 128)
    plan = batches.epoch_batches(lengths, 32, 0, 0)
    widths = batches.choose_widths(lengths, plan, batches.MIN_REAL_SHARE)
    assert len(widths) <= 12
    for epoch in range(3):
        assert batches.padding_share(lengths, batches.epoch_batches(lengths, 32, 0, epoch), widths) < 0.15


def _elements(workers, local_replicas, count, rows, **arguments):
    """Returns the elements of each worker's dataset for one global batch, `rows`, repeated."""
    lengths = np.array([2, 3, 4])
    ids = np.arange(1, 10, dtype=np.int32)
    tokens = Tokens(ids, np.zeros(9, np.uint8), np.array([0, 2, 5]), lengths)
    elements = []
    for worker in range(workers):
        context = tf.distribute.InputContext(workers, worker, workers * local_replicas)
        dataset = batches.dataset(
            batches.token_inputs(tokens),
            np.array([0, 1, 1]),
            lengths,
            lambda: itertools.repeat(rows),
            context,
            **arguments,
        )
        elements.append(list(dataset.take(count).as_numpy_iterator()))
    return elements


def test_a_dataset_yields_batches_with_labels_weights_and_the_number_of_rows():
    (((inputs, labels, weights, rows),),) = _elements(1, 1, 1, np.array([2, 0]))
    assert inputs[WORD_IDS].tolist() == [[6, 7, 8, 9], [1, 2, 0, 0]]
    assert inputs[MASK].tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    assert (labels.tolist(), weights.tolist(), rows) == ([1, 0], [1, 1], 2)


@pytest.mark.parametrize(("workers", "local_replicas"), [(1, 2), (2, 1), (2, 2), (1, 3)])
def test_replicas_share_a_batch_without_loss_or_repetition(workers, local_replicas):
    by_worker = _elements(workers, local_replicas, local_replicas, np.array([2, 0, 1]))
    elements = [element for worker in by_worker for element in worker]
    assert len(elements) == workers * local_replicas
    shared = [int(row[0]) for inputs, _, weights, _ in elements for row in inputs[WORD_IDS][weights > 0]]
    assert shared == [6, 1, 3]
    assert all(rows == 3 and len(labels) >= 1 for _, labels, _, rows in elements)


def test_static_shapes_add_filler_rows_and_padding():
    elements = _elements(1, 2, 2, np.array([0, 1, 2]), widths=[3, 5], replica_rows=3)[0]
    assert {inputs[WORD_IDS].shape for inputs, *_ in elements} == {(3, 5)}
    assert [weights.tolist() for _, _, weights, _ in elements] == [[1, 1, 0], [1, 0, 0]]
