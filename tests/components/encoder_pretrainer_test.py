"""Vocabulary, masking, training and the exported encoder of EncoderPretrainer."""

import os
import random

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st
from official.nlp.modeling import layers
from tensorflow_text.python.ops.bert_tokenizer import BasicTokenizer
from tfx import types
from tfx.types import standard_artifacts
from tfx.utils import path_utils

from artifacts import encoder as encoder_artifact
from components.encoder_pretrainer import masking, pretrain, vocabulary
from components.encoder_pretrainer.component import EncoderPretrainer
from core.config import PretrainConfig
from core.errors import UserError
from tests import encoders
from trainer import tracing
from trainer.tokens import Tokens

TEXTS = [text.encode() for text in encoders.TEXTS]
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


# Vocabulary.


def test_special_tokens_come_first_then_characters_then_pieces():
    pieces = vocabulary.learn([b"aab aab ab b"] * 3, 100, lower_case=False)
    assert pieces == [*SPECIALS, "a", "b", "##a", "##b", "aa", "aab", "ab"]


def test_order_of_the_texts_does_not_matter():
    learned = vocabulary.learn(TEXTS, 110, lower_case=False)
    for seed in range(3):
        shuffled = random.Random(seed).sample(TEXTS, len(TEXTS))
        assert vocabulary.learn(shuffled, 110, lower_case=False) == learned


@hypothesis.settings(deadline=None, max_examples=20)
@hypothesis.given(st.lists(st.text(max_size=30), min_size=1, max_size=8), st.integers(15, 60), st.booleans())
def test_vocabulary_keeps_its_size_and_has_no_duplicates(texts, size, lower_case):
    pieces = vocabulary.learn([text.encode() for text in texts], size, lower_case)
    assert pieces[:5] == SPECIALS
    assert len(set(pieces)) == len(pieces) <= size


@hypothesis.settings(deadline=None, max_examples=20)
@hypothesis.given(st.lists(st.text(max_size=30), min_size=1, max_size=8), st.booleans())
def test_tokenizer_spells_every_word_with_the_learned_pieces(tmp_path_factory, texts, lower_case):
    """With enough room for all characters no word is unknown, and its pieces spell it."""
    encoded = [text.encode() for text in texts]
    pieces = vocabulary.learn(encoded, 2000, lower_case)
    file = str(tmp_path_factory.mktemp("vocabulary") / "vocab.txt")
    vocabulary.write(file, pieces)
    tokenizer = layers.BertTokenizer(vocab_file=file, lower_case=lower_case)
    words = BasicTokenizer(lower_case=lower_case).tokenize(encoded).to_list()
    spelled = [
        ["".join(pieces[i].removeprefix("##") if n else pieces[i] for n, i in enumerate(word)) for word in review]
        for review in tokenizer(tf.constant(encoded)).to_list()
    ]
    assert spelled == [[word.decode() for word in review] for review in words]


def test_hangul_stays_whole_unless_lower_cased():
    whole = vocabulary.learn(["영화 영화".encode()], 100, lower_case=False)
    assert {"영", "##화", "영화"} <= set(whole)
    decomposed = vocabulary.learn(["영화 영화".encode()], 100, lower_case=True)
    assert "ᄋ" in decomposed and "영" not in decomposed


def test_frequent_characters_are_preferred():
    common = [chr(ord("가") + i) for i in range(10)]
    texts = [" ".join(common).encode()] * 2 + ["힣힣".encode()]
    pieces = vocabulary.learn(texts, 30, lower_case=False)
    assert set(common) <= set(pieces)
    assert "힣" not in pieces


# Masking.

PIECES = 50


@st.composite
def padded_batches(draw):
    """[CLS], up to 30 ids ([UNK] among them), [SEP], padding."""
    rows = draw(st.lists(st.lists(st.sampled_from([1, *range(5, PIECES)]), max_size=30), min_size=1, max_size=6))
    longest = max(map(len, rows))
    return np.array([[2, *row, 3] + [0] * (longest - len(row)) for row in rows], np.int32)


@hypothesis.given(padded_batches(), st.integers(0, 2**32 - 1))
def test_15_percent_of_the_pieces_are_masked_and_nothing_else(word_ids, seed):
    masked = masking.mask_tokens(word_ids, PIECES, np.random.default_rng(seed))
    pieces = (word_ids >= 5).sum(axis=1)
    chosen = np.where(pieces > 0, np.maximum(1, np.rint(0.15 * pieces)), 0)
    np.testing.assert_array_equal(masked.weights.sum(axis=1), chosen)
    assert masked.positions.shape[1] <= max(1, np.ceil(0.2 * word_ids.shape[1]))
    changed = masked.word_ids != word_ids
    for row in range(len(word_ids)):
        positions = masked.positions[row][masked.weights[row] == 1]
        assert len(set(positions)) == len(positions)
        assert (word_ids[row, positions] >= 5).all()
        np.testing.assert_array_equal(masked.labels[row][masked.weights[row] == 1], word_ids[row, positions])
        assert set(np.flatnonzero(changed[row])) <= set(positions)
    replaced = masked.word_ids[changed]
    assert ((replaced == masking.MASK_ID) | (replaced >= 5)).all() and (replaced < PIECES).all()


@hypothesis.given(padded_batches(), st.integers(0, 2**32 - 1))
def test_masking_is_reproducible_and_does_not_change_its_input(word_ids, seed):
    before = word_ids.copy()
    first, second = (masking.mask_tokens(word_ids, PIECES, np.random.default_rng(seed)) for _ in range(2))
    np.testing.assert_array_equal(word_ids, before)
    np.testing.assert_array_equal(first.word_ids, second.word_ids)
    np.testing.assert_array_equal(first.positions, second.positions)
    assert (first.word_ids.dtype, first.positions.dtype, first.labels.dtype) == (np.int32,) * 3


def test_80_percent_of_chosen_tokens_are_masked_10_random_10_kept():
    word_ids = np.full((2000, 42), 7, np.int32)
    masked = masking.mask_tokens(word_ids, 10_000, np.random.default_rng(0))
    rows, columns = np.nonzero(masked.weights)
    assert len(rows) == 2000 * 6
    inputs = masked.word_ids[rows, masked.positions[rows, columns]]
    # 12,000 draws: three standard deviations are 1.1 % and 0.8 %.
    assert np.mean(inputs == masking.MASK_ID) == pytest.approx(0.8, abs=0.011)
    assert np.mean(inputs == 7) == pytest.approx(0.1, abs=0.009)
    # Each position is as likely as any other.
    counts = np.bincount(masked.positions[rows, columns], minlength=42)
    assert counts.min() > 200 and counts.max() < 380


# Training.

TINY = PretrainConfig(
    vocabulary=100, layers=1, hidden=16, heads=2, steps=60, batch_size=8, learning_rate=0.01, max_length=16
)


def tokens_of(rows):
    word_ids = np.concatenate([np.array([2, *row, 3], np.int32) for row in rows])
    lengths = np.array([len(row) + 2 for row in rows])
    return Tokens(word_ids, np.zeros_like(word_ids), np.cumsum(lengths) - lengths, lengths)


# Each token determines its neighbours.
REPETITIVE = tokens_of([[5, 6, 7, 8], [9, 10, 11, 12, 13], [14, 15]] * 16)


def train(config, tokens):
    with tracing.libraries_as_written():
        pretrainer = pretrain.build(config, 20)
        losses = pretrain.train(pretrainer, tokens, config)
    return losses, [weight.numpy() for weight in pretrainer.weights]


def test_loss_decreases():
    losses, _ = train(TINY, REPETITIVE)
    assert losses.shape == (60,)
    # ln 20 = 3.0 is the loss of guessing.
    assert losses[0] == pytest.approx(3.0, abs=0.3)
    assert losses[-10:].mean() < 2.0


def test_weights_before_training_depend_on_the_seed_only():
    untrained = TINY.model_copy(update={"steps": 0})
    losses, weights = train(untrained, REPETITIVE)
    assert losses.size == 0
    _, same = train(untrained, tokens_of([[5]]))
    _, other = train(untrained.model_copy(update={"seed": 1}), REPETITIVE)
    assert all(np.array_equal(a, b) for a, b in zip(weights, same, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(weights, other, strict=True))


def test_texts_without_a_piece_are_skipped():
    losses, weights = train(TINY, tokens_of([[], []]))
    assert losses.size == 0
    assert all(np.isfinite(weight).all() for weight in weights)


def test_loss_of_only_unknown_words_is_zero():
    losses, weights = train(TINY.model_copy(update={"steps": 2}), tokens_of([[1, 1], [1]]))
    np.testing.assert_array_equal(losses, [0.0, 0.0])
    assert all(np.isfinite(weight).all() for weight in weights)


# The component's artifact.


@pytest.fixture(name="folder", scope="module")
def fixture_folder(tmp_path_factory):
    return encoders.save(str(tmp_path_factory.mktemp("folder") / "encoder"))


@pytest.fixture(name="models", scope="module")
def fixture_models(folder):
    return (
        tf.saved_model.load(encoder_artifact.preprocess_dir(folder)),
        tf.saved_model.load(encoder_artifact.encoder_dir(folder)),
    )


def encode(models, texts, length):
    preprocess, encoder = models
    tokens = preprocess.tokenize(tf.constant(texts))
    return encoder(preprocess.bert_pack_inputs([tokens], seq_length=tf.constant(length)))


def weights_of(folder):
    checkpoint = tf.train.load_checkpoint(os.path.join(encoder_artifact.encoder_dir(folder), "variables", "variables"))
    names = checkpoint.get_variable_to_shape_map()
    return {name: checkpoint.get_tensor(name) for name in names if name != "_CHECKPOINTABLE_OBJECT_GRAPH"}


def vocabulary_of(folder):
    with open(os.path.join(encoder_artifact.preprocess_dir(folder), "assets", "vocab.txt"), encoding="utf-8") as file:
        return file.read()


def test_card_describes_the_encoder(folder):
    card = encoder_artifact.read(folder)
    assert card.source == "pretrain"
    assert (card.layers, card.hidden, card.heads) == (1, 16, 2)
    assert card.vocabulary <= encoders.CONFIG.vocabulary


def test_input_has_the_configured_length_and_a_mask(models):
    packed = models[0](tf.constant(["굿", "정말 " * 40]))
    assert packed["input_word_ids"].shape == (2, encoders.CONFIG.max_length)
    words, mask = packed["input_word_ids"].numpy(), packed["input_mask"].numpy()
    np.testing.assert_array_equal(words[0][mask[0] == 0], 0)
    assert words[0, 0] == 2 and words[0, mask[0].sum() - 1] == 3
    assert mask[1].sum() == encoders.CONFIG.max_length and words[1, -1] == 3


def test_special_tokens_have_fixed_ids(models):
    special = {name: int(value) for name, value in models[0].tokenize.get_special_tokens_dict().items()}
    assert (special["padding_id"], special["start_of_sequence_id"], special["end_of_segment_id"]) == (0, 2, 3)
    assert special["mask_id"] == masking.MASK_ID


def test_output_does_not_depend_on_the_rest_of_the_batch(models):
    together = encode(models, encoders.TEXTS, 24)
    for row, text in enumerate(encoders.TEXTS):
        alone = encode(models, [text], 24)
        np.testing.assert_allclose(alone["pooled_output"][0], together["pooled_output"][row], atol=1e-5)


def test_output_does_not_depend_on_the_padding(models):
    # 512 positions: the Trainer can use longer reviews than the pre-training.
    short, long = encode(models, encoders.TEXTS, 20), encode(models, encoders.TEXTS, 512)
    np.testing.assert_allclose(short["pooled_output"], long["pooled_output"], atol=1e-5)
    different = encode(models, encoders.TEXTS[:2], 20)["pooled_output"]
    assert np.abs(different[0] - different[1]).max() > 1e-3


def test_pooled_output_is_the_first_token(models):
    outputs = encode(models, encoders.TEXTS, 20)
    first = outputs["sequence_output"][:, 0]
    np.testing.assert_allclose(outputs["pooled_output"], np.tanh(first), atol=1e-5)


def test_weights_do_not_depend_on_shards_and_order(folder, tmp_path):
    texts = list(encoders.TEXTS)
    again = encoders.pretrain(str(tmp_path), [texts[7:], [], texts[2:7][::-1], texts[:2]])
    again_folder = path_utils.serving_model_dir(again.uri)
    first, second = weights_of(folder), weights_of(again_folder)
    assert first.keys() == second.keys()
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], err_msg=name)
    assert vocabulary_of(folder) == vocabulary_of(again_folder)


def test_empty_training_split_is_an_error_and_nothing_is_written(tmp_path):
    with pytest.raises(UserError, match="^data.train: the training split has no texts"):
        encoders.pretrain(str(tmp_path), [[]])
    assert os.listdir(tmp_path / "encoder") == []


def test_component_has_one_model_output():
    examples = types.Channel(type=standard_artifacts.Examples)
    component = EncoderPretrainer(examples=examples, config=encoders.CONFIG.model_dump_json())
    assert component.outputs["encoder"].type is standard_artifacts.Model
