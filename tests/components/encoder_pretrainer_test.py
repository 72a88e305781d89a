"""Vocabulary, masking, training and the exported encoder of EncoderPretrainer."""

import os
import random
import shutil

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
from artifacts import pretraining
from components.encoder_pretrainer import start, vocabulary
from components.encoder_pretrainer.component import EncoderPretrainer
from components.hub_encoder import executor as hub_encoder
from core.config import TextsConfig
from core.errors import UserError
from tests import encoders
from trainer import native, tracing

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
    assert special["mask_id"] == 4


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
    assert np.abs(different[0] - different[1]).max() > 1e-4


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


# ELECTRA, further texts, and another run that uses the encoder.

ELECTRA = encoders.CONFIG.model_copy(update={"objective": "electra", "embedding": 8, "held_out_fraction": 0.2})


@pytest.fixture(name="electra", scope="module")
def _electra(tmp_path_factory):
    """A folder with an encoder, of texts with scores, and the last rows of the texts as a test split."""
    folder = tmp_path_factory.mktemp("electra")
    rows = "".join(f"{text}\t{1 + i % 10}\n" for i, text in enumerate((*encoders.TEXTS, "아주 좋은 영화", "")))
    (folder / "more.tsv").write_text(f"document\trating\n{rows}")
    config = ELECTRA.model_copy(update={"texts": (TextsConfig(file=str(folder / "more.tsv"), score="rating"),)})
    artifact = encoders.pretrain(str(folder), [encoders.TEXTS[:6]], config, test=encoders.TEXTS[10:])
    return path_utils.serving_model_dir(artifact.uri)


def test_pretraining_is_described_beside_the_encoder(electra):
    figures = pretraining.read(electra)
    assert encoder_artifact.read(electra).handle == "ELECTRA of 1 layers, 16 wide, 8 steps on these reviews"
    assert figures.texts == {"trained": 9, "held_out": 2, "with_score": 11, "without_pieces": 0, "left_out_test": 2}
    assert figures.rejected == {"empty_text": 1}
    assert figures.history[-1]["step"] == figures.curve[-1]["step"] == 8
    assert {"loss", "accuracy", "generator_loss", "score_correlation"} < set(figures.history[-1])


def test_an_encoder_with_narrow_embeddings_is_used_natively_by_another_run(electra, tmp_path):
    output = standard_artifacts.Model()
    output.uri = str(tmp_path / "encoder")
    os.makedirs(output.uri)
    properties = {"handle": electra, "preprocess": "", "sha256": "", "preprocess_sha256": ""}
    properties |= {"mode": "fine_tune", "max_length": 16}
    hub_encoder.Executor().Do({}, {"encoder": [output]}, properties)
    copied = path_utils.serving_model_dir(output.uri)
    assert encoder_artifact.read(copied).sha256 == encoder_artifact.read(electra).sha256
    network = native.rebuild_bert(tf.saved_model.load(encoder_artifact.encoder_dir(copied)))
    assert network is not None
    assert {weight.name: tuple(weight.shape) for weight in network.weights}["embedding_projection/kernel:0"] == (8, 16)


# Continuing from another encoder.


@pytest.fixture(name="continued", scope="module")
def _continued(folder, tmp_path_factory):
    """The start of a pre-training that continues from the tiny encoder, and the texts."""
    texts = [text.encode() for text in ("뮤지컬 영화", "뮤지컬 재미있는", "굿") for _ in range(10)]
    config = encoders.CONFIG.model_copy(update={"continue_from": folder, "added_words": 5, "hidden": 32, "layers": 2})
    with tracing.libraries_as_written():
        return start.make_start(texts, config, str(tmp_path_factory.mktemp("start") / "copy"))


def test_a_continued_encoder_keeps_its_sizes_and_gets_the_words_it_splits(continued, folder):
    base = encoder_artifact.read_vocabulary(folder)
    assert list(continued.pieces[: len(base)]) == base
    added = continued.pieces[len(base) :]
    assert added[0] == "뮤지컬" and not set(added) & set(base) and len(added) == continued.added
    assert (continued.config.hidden, continued.config.layers, continued.config.heads) == (16, 1, 2)


def test_the_row_of_an_added_word_is_the_mean_of_its_pieces(continued, folder, models):
    table, base = continued.weights["word_embeddings/embeddings:0"], encoder_artifact.read_vocabulary(folder)
    ids = models[0].tokenize(tf.constant(["뮤지컬"])).flat_values.numpy()
    np.testing.assert_allclose(table[len(base)], table[ids].mean(axis=0), rtol=1e-6)
    assert len(table) == len(continued.pieces)


def test_an_encoder_that_is_no_bert_cannot_be_continued(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "other")
    vocabulary_file = tmp_path / "other" / "preprocess" / "assets" / "vocab.txt"
    vocabulary_file.rename(vocabulary_file.with_name("spiece.model"))
    config = encoders.CONFIG.model_copy(update={"continue_from": str(tmp_path / "other")})
    with pytest.raises(UserError, match="continue_from = |can't be loaded"):
        start.make_start(TEXTS, config, str(tmp_path / "copy"))


def test_an_encoder_to_continue_takes_rows_of_the_configured_length(folder, tmp_path):
    config = encoders.CONFIG.model_copy(update={"continue_from": folder, "max_length": 513})
    with pytest.raises(UserError, match="max_length = 513: .* takes at most 512 tokens"):
        start.make_start([], config, str(tmp_path / "copy"))


def test_an_encoder_to_continue_has_one_embedding_per_piece(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "other")
    (tmp_path / "other" / "encoder.json").unlink()
    with (tmp_path / "other" / "preprocess" / "assets" / "vocab.txt").open("a", encoding="utf-8") as stream:
        stream.write("뮤지컬\n")
    config = encoders.CONFIG.model_copy(update={"continue_from": str(tmp_path / "other")})
    with pytest.raises(UserError, match="word embeddings, but .* pieces in its vocabulary"):
        start.make_start([], config, str(tmp_path / "copy"))
