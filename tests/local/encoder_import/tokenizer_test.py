"""Tokens equal those of `tokenizers`, the library in transformers, on difficult texts; and what is refused."""

import json

import pytest
import tensorflow as tf
import tokenizers

from core.errors import UserError
from local.encoder_import import preprocess, proof, tokenizer
from local.encoder_import.texts import TEXTS
from tests.local import encoder_folders

# Parts of all texts, so that few words are unknown.
CHARACTERS = sorted(
    {char for texts in TEXTS.values() for text in texts for char in text + text.lower()} - set(" \n\r\t")
)
PIECES = [*encoder_folders.VOCABULARY, *(f"{p}{c}" for p in ("", "##") for c in CHARACTERS)]
WORDS = dict.fromkeys(PIECES)


def write(folder, pieces=tuple(WORDS), **config):
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8", newline="\n")
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return tokenizer.read(str(folder), "bert")


SETTINGS = {
    "cased": {"do_lower_case": False},
    "lower-cased": {"do_lower_case": True},
    "accents": {"do_lower_case": True, "strip_accents": False},
    "only accents": {"do_lower_case": False, "strip_accents": True},
    "Chinese": {"do_lower_case": False, "tokenize_chinese_chars": False},
    "added": {
        "do_lower_case": True,
        "added_tokens_decoder": {"9000": {"content": "ㅋㅋㅋ"}, "9001": {"content": "A+"}},
    },
}


@pytest.mark.parametrize("name", SETTINGS)
def test_word_pieces_equal_those_of_the_library(tmp_path, name):
    settings = write(tmp_path, **SETTINGS[name])
    engine = proof._bert_engine(settings)
    texts = [text for texts in TEXTS.values() for text in texts]
    texts += ["정말 [SEP]영화 [MASK]", "ㅋㅋㅋㅋ A+ 영화ㅋㅋㅋ", "[sep] [UNK]"]
    assert len(texts) > 50
    tokenize = tf.function(preprocess._WordPieces(settings, str(tmp_path)).tokenize)
    for text, ours in zip(texts, tokenize(tf.constant(texts)).merge_dims(1, 2).to_list(), strict=True):
        assert ours == engine.encode(text, add_special_tokens=False).ids, ascii(text)


def test_special_tokens_can_have_other_names_and_ids(tmp_path):
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "영화"]
    names = {"cls_token": "<s>", "pad_token": "<pad>", "sep_token": {"content": "</s>"}, "unk_token": "<unk>"}
    settings = write(tmp_path, pieces, do_lower_case=False, **names)
    assert preprocess._special_ids(settings) == {
        "vocab_size": 5,
        "start_of_sequence_id": 0,
        "end_of_segment_id": 2,
        "padding_id": 1,
    }


def test_tokenizer_json_is_read_and_tokenizer_config_overrides_it(tmp_path):
    engine = proof._bert_engine(write(tmp_path, do_lower_case=True))
    engine.add_tokens(["띵작"])
    engine.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text("{}")
    settings = tokenizer.read(str(tmp_path), "bert")
    assert settings.lower_case and settings.accents and settings.pieces[-1] == "띵작" and "띵작" in settings.added
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false, "strip_accents": false}')
    assert not tokenizer.read(str(tmp_path), "bert").lower_case


def test_a_vocabulary_without_settings_is_lower_cased_if_it_has_no_capital_letter(tmp_path):
    for pieces, lower_case in ((["movie"], True), (["Movie"], False)):
        (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *pieces]) + "\n")
        assert tokenizer.read_vocabulary(str(tmp_path / "vocab.txt")).lower_case == lower_case


UNIGRAM = {
    "model": {
        "type": "Unigram",
        "unk_id": 3,
        "vocab": [["<s>", 0], ["<pad>", 0], ["</s>", 0], ["<unk>", 0], ["▁", -3], ["▁영화", -4], ["영", -5], ["화", -5]]
        + [["a", -5], ["b", -5], ["ab", -6], ["!", -5], ["<mask>", 0]],
    },
    "added_tokens": [
        {
            "id": i,
            "content": c,
            "special": True,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
        }
        for i, c in ((0, "<s>"), (1, "<pad>"), (2, "</s>"), (3, "<unk>"), (12, "<mask>"))
    ],
    "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
    "normalizer": None,
}


def test_unigram_tokens_equal_those_of_the_library(tmp_path):
    (tmp_path / "tokenizer.json").write_text(json.dumps({"version": "1.0", **UNIGRAM}))
    settings = tokenizer.read(str(tmp_path), "xlm-roberta")
    assert settings.double_end and settings.special.mask == "<mask>"
    engine = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    texts = ["영화 ab!", "abab 화영", "xyz 영화", ""]
    ours = preprocess._Sentences(settings).tokenize(tf.constant(texts)).to_list()
    assert ours == [engine.encode(text, add_special_tokens=False).ids for text in texts]
    assert ours[0] == [5, 4, 10, 11]


def test_two_end_tokens_are_between_the_texts_of_a_pair():
    ids = {"start_of_sequence_id": 0, "end_of_segment_id": 2, "padding_id": 1}
    first, second = (tf.ragged.constant([[row]], tf.int32, ragged_rank=1) for row in (7, 8))
    packed = preprocess._packer(ids, True)([first, second], seq_length=tf.constant(8))
    assert packed["input_word_ids"].numpy().tolist() == [[0, 7, 2, 2, 8, 2, 1, 1]]
    packed = preprocess._packer(ids, False)([first, second], seq_length=tf.constant(6))
    assert packed["input_word_ids"].numpy().tolist() == [[0, 7, 2, 8, 2, 1]]


@pytest.mark.parametrize(
    "files, expected",
    [
        ({}, "holds no tokenizer; should have one of tokenizer.json, vocab.txt, spiece.model"),
        ({"merges.txt": ""}, "byte-level BPE"),
        ({"tokenizer.json": '{"model": {"type": "BPE"}}'}, "byte-level BPE"),
        ({"tokenizer.json": "{"}, "tokenizer.json: not JSON"),
        ({"tokenizer.json": "[]"}, "tokenizer.json: should be a JSON object, is a list"),
        ({"tokenizer.json": "{}"}, "tokenizer.json: model: is missing"),
        ({"tokenizer.json": '{"model": {"type": "WordLevel"}}'}, "model.type = 'WordLevel'"),
        ({"vocab.txt": ""}, "vocab.txt: is empty"),
        ({"vocab.txt": "영화\n"}, "vocab.txt: holds no [UNK]"),
        ({"vocab.txt": "a\n", "tokenizer_config.json": '{"tokenizer_class": "BertJapaneseTokenizer"}'}, "BertJapanese"),
        ({"spiece.model": "no model"}, "spiece.model: not a SentencePiece model"),
        ({"spiece.model": ""}, "spiece.model: a SentencePiece model without pieces"),
    ],
)
def test_what_can_not_be_read_is_refused_by_name(tmp_path, files, expected):
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(UserError) as error:
        tokenizer.read(str(tmp_path), "bert")
    assert expected in str(error.value)
