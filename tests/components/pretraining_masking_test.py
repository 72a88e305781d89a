"""What pre-training hides: whole words, their share, never special tokens."""

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

from components.encoder_pretrainer import masking

# Ids 5 to 29 start a word, 30 to 49 continue one.
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *map(str, range(25)), *(f"##{i}" for i in range(20))]
WORDS, SINGLE = masking.describe(PIECES), masking.describe(PIECES, whole_words=False)
EVERYTHING = masking.Shares(chosen=0.15, masked=0.8, random=0.1)


@st.composite
def padded_batches(draw):
    """[CLS], up to 10 words of up to 4 pieces or [UNK], [SEP], padding."""
    starts, inner = st.integers(5, 29), st.lists(st.integers(30, 49), max_size=3)
    word = st.one_of(st.just([1]), st.tuples(starts, inner).map(lambda parts: [parts[0], *parts[1]]))
    rows = draw(st.lists(st.lists(word, max_size=10), min_size=1, max_size=6))
    flat = [[2, *(piece for each in row for piece in each), 3] for row in rows]
    return np.array([row + [0] * (max(map(len, flat)) - len(row)) for row in flat], np.int32)


def seed_of(number):
    return tf.constant([number, 7], tf.int64)


def chosen_of(word_ids, seed):
    choice = masking.choose(tf.constant(word_ids), WORDS, 0.15, seed)
    positions, weights = choice.positions.numpy(), choice.weights.numpy()
    assert len(positions) == max(1, np.ceil(np.float32(0.15) * np.float32(word_ids.size)))
    assert len(set(positions)) == len(positions)
    return np.sort(positions[weights > 0])


def words_of(word_ids):
    """The positions of each word's pieces."""
    words = []
    for position, piece in enumerate(word_ids.ravel()):
        if piece >= 30:
            words[-1].append(position)
        elif piece >= 5:
            words.append([position])
    return words


@hypothesis.settings(deadline=None)
@hypothesis.given(padded_batches(), st.integers(0, 2**50))
def test_whole_words_are_chosen_up_to_their_share_and_nothing_else(word_ids, seed):
    chosen, words = set(chosen_of(word_ids, seed_of(seed)).tolist()), words_of(word_ids)
    assert chosen <= {position for word in words for position in word}
    wanted = max(1, round(0.15 * sum(map(len, words))))
    touched = [word for word in words if chosen & set(word)]
    if len(touched) > 1:
        assert all(set(word) <= chosen for word in touched)
        # The next word would have been too long.
        assert wanted - 3 <= len(chosen) <= wanted
    elif words:
        assert 1 <= len(chosen) <= wanted
    assert bool(chosen) == bool(words)


@hypothesis.settings(deadline=None, max_examples=20)
@hypothesis.given(padded_batches(), st.integers(0, 2**50))
def test_only_chosen_pieces_change_into_the_mask_or_other_pieces(word_ids, seed):
    choice = masking.choose(tf.constant(word_ids), WORDS, 0.15, seed_of(seed))
    hidden = masking.hide(tf.constant(word_ids), choice, EVERYTHING, WORDS, seed_of(seed + 1)).numpy()
    changed = np.flatnonzero(hidden.ravel() != word_ids.ravel())
    assert set(changed) <= set(choice.positions.numpy()[choice.weights.numpy() > 0])
    replaced = hidden.ravel()[changed]
    assert ((replaced == 4) | (replaced >= 5)).all() and (replaced < len(PIECES)).all()


def test_the_choice_depends_on_the_seed_only():
    word_ids = np.tile(np.array([[2, *range(5, 29), 3]], np.int32), (4, 1))
    first, same, other = (chosen_of(word_ids, seed_of(number)) for number in (0, 0, 1))
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)


def test_single_pieces_are_chosen_evenly():
    word_ids = np.full((2000, 42), 7, np.int32)
    choice = masking.choose(tf.constant(word_ids), SINGLE, 0.15, seed_of(0))
    assert choice.weights.numpy().sum() == 12_600
    columns = np.bincount(choice.positions.numpy()[choice.weights.numpy() > 0] % 42, minlength=42)
    assert columns.min() > 220 and columns.max() < 380


def test_80_percent_of_the_chosen_are_masked_10_random_10_kept():
    word_ids, pieces = tf.fill([2000, 42], 7), masking.describe([*PIECES[:5], *map(str, range(10_000))])
    choice = masking.choose(word_ids, pieces, 0.15, seed_of(0))
    hidden = masking.hide(word_ids, choice, EVERYTHING, pieces, seed_of(1)).numpy().ravel()
    seen = hidden[choice.positions.numpy()[choice.weights.numpy() > 0]]
    # 12,600 draws: three standard deviations are 1.1 % and 0.8 %.
    assert np.mean(seen == 4) == pytest.approx(0.8, abs=0.011)
    assert np.mean(seen == 7) == pytest.approx(0.1, abs=0.009)
    assert len(np.unique(seen)) > 1000


def test_a_word_is_cut_only_if_it_is_the_only_one():
    alone = np.array([[2, 5, 30, 31, 32, 3, 0, 0]], np.int32)
    assert chosen_of(alone, seed_of(0)).tolist() == [1]


def test_nothing_is_chosen_among_special_tokens():
    assert chosen_of(np.array([[2, 1, 1, 3], [2, 3, 0, 0]], np.int32), seed_of(0)).size == 0


def test_another_encoders_vocabulary_may_have_its_special_tokens_anywhere():
    pieces = masking.describe(["[PAD]", "[unused1]", "[UNK]", "[CLS]", "a", "##b", "[MASK]", "[SEP]", "[x"])
    assert (pieces.mask, pieces.ids.tolist()) == (6, [4, 5, 8])
    choice = masking.choose(tf.constant([[3, 4, 5, 7, 0]]), pieces, 0.5, seed_of(0))
    assert sorted(choice.positions.numpy()[choice.weights.numpy() > 0]) == [1]
