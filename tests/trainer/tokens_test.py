"""Tokens: computed once, padded on demand."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_text  # noqa: F401  Registers the preprocess model's ops.
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import encoders
from trainer import tokens
from trainer.tokens import FILLER, MASK, TYPE_IDS, WORD_IDS, Tokens

LENGTHS = st.lists(st.integers(2, 40), min_size=1, max_size=100).map(np.array)


def make_tokens(lengths):
    ids = np.arange(1, lengths.sum() + 1, dtype=np.int32)
    return Tokens(ids, (ids % 2).astype(np.uint8), np.cumsum(lengths) - lengths, lengths)


@settings(max_examples=50)
@given(LENGTHS, st.integers(0, 5), st.data())
def test_padded_rows_are_tokens_and_then_zeros(lengths, extra, data):
    reviews = make_tokens(lengths)
    rows = np.array(data.draw(st.lists(st.integers(FILLER, len(lengths) - 1), min_size=1, max_size=20)))
    longest = max(1, *(0 if row == FILLER else int(lengths[row]) for row in rows))
    padded = reviews.padded(rows, longest + extra if extra else None)
    assert {(array.dtype, array.shape) for array in padded.values()} == {
        (np.dtype(np.int32), (len(rows), longest + extra))
    }
    for i, row in enumerate(rows):
        n = 0 if row == FILLER else lengths[row]
        ids = np.arange(reviews.starts[row], reviews.starts[row] + n) + 1
        assert padded[MASK][i].tolist() == [1] * n + [0] * (longest + extra - n)
        assert padded[WORD_IDS][i, :n].tolist() == ids.tolist()
        assert padded[TYPE_IDS][i, :n].tolist() == (ids % 2).tolist()
        assert not padded[WORD_IDS][i, n:].any()


@given(LENGTHS, st.randoms(use_true_random=False))
def test_reordering_shares_the_tokens(lengths, random):
    order = np.array(random.sample(range(len(lengths)), len(lengths)))
    reviews = make_tokens(lengths)
    reordered = reviews.ordered(order)
    assert reordered.word_ids is reviews.word_ids
    for i, row in enumerate(order):
        np.testing.assert_array_equal(
            reordered.padded(np.array([i]))[WORD_IDS], reviews.padded(np.array([row]))[WORD_IDS]
        )


@pytest.fixture(scope="module", name="preprocess")
def _preprocess(tmp_path_factory):
    return tf.saved_model.load(encoders.save(str(tmp_path_factory.mktemp("encoder") / "e")) + "/preprocess")


def test_tokens_equal_the_preprocess_models_for_any_number_of_chunks(preprocess, monkeypatch):
    texts = [text.encode() for text in encoders.TEXTS] + [b""]
    monkeypatch.setattr(tokens, "CHUNK_ROWS", 5)
    stored = tokens.tokenise(preprocess, texts, 8)
    packed = preprocess.bert_pack_inputs([preprocess.tokenize(tf.constant(texts))], seq_length=tf.constant(8))
    for name, array in stored.padded(np.arange(len(texts)), 8).items():
        np.testing.assert_array_equal(array, packed[name])


def test_no_texts_give_no_tokens(preprocess):
    stored = tokens.tokenise(preprocess, [], 8)
    assert stored.lengths.shape == (0,) and stored.padded(np.arange(0))[WORD_IDS].shape == (0, 1)
