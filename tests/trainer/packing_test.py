"""Single texts are packed with plain operations, equal to the preprocess model's own packing; others by that itself."""

import pathlib
from typing import Any, Iterator

import numpy as np
import pytest
import sentencepiece
import tensorflow as tf
import tensorflow_text  # noqa: F401  Registers the ops of preprocess models.
from hypothesis import given, settings
from hypothesis import strategies as st
from official.nlp.tools import export_tfhub_lib

from tests import encoders
from trainer import packing, tokens
from trainer.packing import Packer, SpecialTokens, pack_text
from trainer.tokens import MASK, TYPE_IDS, WORD_IDS

NSMC = pathlib.Path(__file__).resolve().parents[3] / "shared" / "nsmc" / "ratings_train.txt"
ROWS = 10_000
SPECIAL = SpecialTokens(start=2, end=3, padding=0)


@pytest.fixture(scope="module", name="preprocess")
def _preprocess(tmp_path_factory):
    return tf.saved_model.load(encoders.save(str(tmp_path_factory.mktemp("encoder") / "e")) + "/preprocess")


def assert_equal_packing(ours, theirs):
    assert ours.keys() == theirs.keys() == {WORD_IDS, MASK, TYPE_IDS}
    for name, tensor in theirs.items():
        assert ours[name].dtype == tensor.dtype == tf.int32
        np.testing.assert_array_equal(ours[name], tensor)


@pytest.mark.skipif(not NSMC.is_file(), reason="shared/nsmc is not beside the repository")
@pytest.mark.parametrize("max_length", [8, 32, 128, 512])
def test_ten_thousand_reviews_are_packed_as_the_preprocess_model_packs_them(preprocess, max_length):
    lines = NSMC.read_text(encoding="utf-8").splitlines()[1 : ROWS + 1]
    texts = tf.constant([line.split("\t")[1] for line in lines])
    packer = Packer(preprocess, 1, max_length)
    assert packer.special == SPECIAL
    assert_equal_packing(packer.pack([texts]), tokens.pack(preprocess, [texts], max_length))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(0, 108), max_size=40), max_size=8), st.integers(8, 40))
def test_any_ids_are_packed_as_the_preprocess_model_packs_them(preprocess, rows, max_length):
    ids = tf.ragged.constant(rows, tf.int32, ragged_rank=1, row_splits_dtype=tf.int64)
    theirs = preprocess.bert_pack_inputs([ids], seq_length=tf.constant(max_length))
    assert_equal_packing(pack_text(ids, SPECIAL, max_length), theirs)


def test_a_row_is_cut_between_its_special_tokens():
    packed = pack_text(tf.ragged.constant([[], [7, 8], [7, 8, 9, 7]], row_splits_dtype=tf.int64), SPECIAL, 5)
    assert packed[WORD_IDS].numpy().tolist() == [[2, 3, 0, 0, 0], [2, 7, 8, 3, 0], [2, 7, 8, 9, 3]]
    assert packed[MASK].numpy().tolist() == [[1, 1, 0, 0, 0], [1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]
    assert not packed[TYPE_IDS].numpy().any()


class Preprocess(tf.Module):
    """A preprocess model of another kind: one token for each byte, and a packing to choose."""

    def __init__(self, pack: Any, special: Any = None):
        super().__init__()
        self.tokenize = tf.Module()
        self.tokenize.__call__ = tf.function(self._bytes, input_signature=[tf.TensorSpec([None], tf.string)])
        if special is not None:
            constants = tf.function(lambda: {name: tf.constant(value) for name, value in special.items()})
            constants.get_concrete_function()
            self.tokenize.get_special_tokens_dict = constants
        rows = tf.RaggedTensorSpec([None, None], tf.int32, 1)
        self.bert_pack_inputs = tf.function(
            lambda inputs, seq_length: pack(inputs[0], seq_length),
            input_signature=[[rows], tf.TensorSpec([], tf.int32)],
        )

    def _bytes(self, text: tf.Tensor) -> tf.RaggedTensor:
        return tf.cast(tf.strings.unicode_decode(text, "UTF-8"), tf.int32)

    def load_saved(self, folder: Any) -> Any:
        tf.saved_model.save(self, str(folder))
        return tf.saved_model.load(str(folder))


def pack_without_end(ids, seq_length):
    word_ids = tf.pad(ids.to_tensor(0), [[0, 0], [0, seq_length]])[:, :seq_length]
    return {WORD_IDS: word_ids, MASK: tf.cast(word_ids > 0, tf.int32), TYPE_IDS: tf.zeros_like(word_ids)}


IDS = {"start_of_sequence_id": 2, "end_of_segment_id": 3, "padding_id": 0, "vocab_size": 300}


@pytest.mark.parametrize("special", [None, {"vocab_size": 300}, IDS])
def test_an_unknown_packing_is_kept(tmp_path, special):
    preprocess = Preprocess(pack_without_end, special).load_saved(tmp_path / "p")
    packer = Packer(preprocess, 1, 8)
    assert packer.special is None
    texts = tf.constant(["ab", "", "abcdefghijk"])
    packed = packer.pack([texts])
    assert packed[WORD_IDS].numpy().tolist() == [[97, 98, *[0] * 6], [0] * 8, list(b"abcdefgh")]
    assert packer.tokenize(texts).row_lengths().numpy().tolist() == [2, 0, 11]


def test_pairs_keep_the_packing_of_the_preprocess_model(preprocess):
    assert Packer(preprocess, 2, 16).special is None


@pytest.fixture(scope="module", name="sentencepiece_model")
def _sentencepiece_model(tmp_path_factory) -> Iterator[Any]:
    """The preprocess model of an ALBERT: ids of SentencePiece, [batch, (tokens)], with [CLS], [SEP] and <pad>."""
    folder = tmp_path_factory.mktemp("sentencepiece")
    (folder / "texts").write_text("\n".join(encoders.TEXTS * 20), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "texts"),
        model_prefix=str(folder / "spm"),
        vocab_size=120,
        hard_vocab_limit=False,
        control_symbols=["[CLS]", "[SEP]", "[MASK]"],
        pad_id=0,
        unk_id=1,
        bos_id=-1,
        eos_id=-1,
        minloglevel=2,
    )
    export_tfhub_lib.export_preprocessing(
        str(folder / "preprocess"),
        sp_model_file=str(folder / "spm.model"),
        do_lower_case=True,
        tokenize_with_offsets=False,
        default_seq_length=16,
        experimental_disable_assert=True,
    )
    return tf.saved_model.load(str(folder / "preprocess"))


@pytest.mark.parametrize("max_length", [8, 16])
def test_tokens_of_sentencepiece_are_packed_the_same(sentencepiece_model, max_length):
    texts = tf.constant([*encoders.TEXTS, "", "영화 " * 30])
    assert sentencepiece_model.tokenize(texts).shape.rank == 2
    packer = Packer(sentencepiece_model, 1, max_length)
    assert packer.special is not None
    assert_equal_packing(packer.pack([texts]), tokens.pack(sentencepiece_model, [texts], max_length))


def test_the_compared_rows_include_empty_full_and_longer_ones():
    lengths = set(packing._rows_to_compare(8).row_lengths().numpy().tolist())
    assert {0, 6, 7} <= lengths
