"""Batches: every row once, like lengths together, padding where the mask says so."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer import batches

LENGTHS = st.lists(st.integers(2, 40), min_size=1, max_size=300).map(np.array)


def _tokens(lengths):
    total = int(np.sum(lengths))
    return batches.Tokens(
        np.arange(1, total + 1, dtype=np.int32), np.zeros(total, np.int32), np.concatenate([[0], np.cumsum(lengths)])
    )


@given(LENGTHS, st.integers(1, 50), st.integers(0, 5), st.integers(0, 5))
def test_an_epoch_holds_every_row_once_in_full_batches(lengths, batch_size, seed, epoch):
    epoch_batches = batches.epoch_batches(lengths, batch_size, seed, epoch)
    assert sorted(np.concatenate(epoch_batches)) == list(range(len(lengths)))
    assert sum(len(rows) < batch_size for rows in epoch_batches) <= 1
    assert max(map(len, epoch_batches)) <= batch_size


@given(LENGTHS, st.integers(1, 50))
def test_sorted_batches_hold_every_row_once_and_pad_no_more_than_any_epoch(lengths, batch_size):
    evaluation = batches.sorted_batches(lengths, batch_size)
    assert sorted(np.concatenate(evaluation)) == list(range(len(lengths)))
    assert [lengths[rows].min() for rows in evaluation[1:]] >= [lengths[rows].max() for rows in evaluation[:-1]]


def test_the_docstrings_example(monkeypatch):
    monkeypatch.setattr(batches, "WINDOW_BATCHES", 2)
    lengths = np.array([9, 2, 3, 8])
    for seed in range(5):
        found = [tuple(lengths[rows]) for rows in batches.epoch_batches(lengths, 2, seed, 0)]
        assert sorted(found) == [(2, 3), (8, 9)]


def test_order_depends_on_seed_and_epoch_alone():
    lengths = np.random.default_rng(0).integers(2, 60, 500)

    def order(seed, epoch):
        return np.concatenate(batches.epoch_batches(lengths, 16, seed, epoch)).tolist()

    assert order(0, 0) == order(0, 0)
    assert order(0, 0) != order(0, 1) != order(1, 1)


def test_padding_share_counts_what_the_longest_row_adds():
    assert batches.padding_share(np.array([2, 4, 4]), [np.array([0, 1]), np.array([2])]) == pytest.approx(2 / 12)


def test_reviews_like_nsmcs_leave_under_six_percent_of_padding():
    # Log-normal with NSMC's mean of 20 tokens and a 99th percentile near 77.
    lengths = np.clip(np.random.default_rng(0).lognormal(2.8, 0.65, 14000).astype(int), 3, 128)
    assert batches.padding_share(lengths, batches.epoch_batches(lengths, 32, 0, 0)) < 0.06


@settings(max_examples=50)
@given(LENGTHS, st.data())
def test_padded_rows_are_the_tokens_then_zeros(lengths, data):
    tokens = _tokens(lengths)
    rows = np.array(data.draw(st.lists(st.integers(0, len(lengths) - 1), min_size=1, max_size=20)))
    padded = tokens.padded(rows)
    assert {array.dtype for array in padded.values()} == {np.dtype(np.int32)}
    assert padded[batches.WORD_IDS].shape == (len(rows), lengths[rows].max())
    for i, row in enumerate(rows):
        n = lengths[row]
        assert padded[batches.MASK][i].tolist() == [1] * n + [0] * (padded[batches.MASK].shape[1] - n)
        assert (
            padded[batches.WORD_IDS][i, :n].tolist()
            == tokens.word_ids[tokens.starts[row] : tokens.starts[row + 1]].tolist()
        )
        assert not padded[batches.WORD_IDS][i, n:].any()


def test_a_token_dataset_yields_the_epochs_batches_in_order():
    lengths = np.array([2, 3, 4])
    dataset = batches.token_dataset(_tokens(lengths), np.array([0, 1, 1]), [[np.array([2]), np.array([0, 1])]])
    found = [(inputs[batches.MASK].numpy().sum(axis=1).tolist(), labels.numpy().tolist()) for inputs, labels in dataset]
    assert found == [([4], [[1]]), ([2, 3], [[0], [1]])]
