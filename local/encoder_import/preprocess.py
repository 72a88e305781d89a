"""Writes a tokenizer as a preprocess model of TF Hub's common text API.

The tokens are those of transformers, which differ from TF Text's `BertTokenizer` in a few kinds of characters: that one
replaces control characters by spaces, knows only ASCII whitespace, folds case, counts a word's bytes, and does not find
special and added tokens in a text.
"""

import os
import re
import tempfile
from typing import Any, Callable, Mapping, Sequence, Union

import tensorflow as tf
import tensorflow_text as text
from official.nlp.modeling.layers import BertPackInputs

from local.encoder_import import characters
from local.encoder_import.tokenizer import SentencePiece, Tokenizer, WordPiece

# As TF Hub's preprocess models.
_DEFAULT_LENGTH = 128

# UTF-8 needs at most as many bytes for a character.
_MAX_CHARACTER_BYTES = 4


def save_preprocess(tokenizer: Tokenizer, folder: str) -> None:
    """Writes the SavedModel.

    Args:
      tokenizer: what to do.
      folder: a new folder.
    """
    with tempfile.TemporaryDirectory() as scratch:
        split: Union[_WordPieces, _Sentences] = (
            _WordPieces(tokenizer, scratch) if isinstance(tokenizer, WordPiece) else _Sentences(tokenizer)
        )
        tf.saved_model.save(_root(tokenizer, split), folder)


def _root(tokenizer: Tokenizer, split: "Union[_WordPieces, _Sentences]") -> tf.train.Checkpoint:
    """Builds the object with the API's functions."""
    ids = _special_ids(tokenizer)
    pack = _packer(ids, isinstance(tokenizer, SentencePiece) and tokenizer.double_end)
    texts = tf.TensorSpec([None], tf.string, "sentences")
    root = tf.train.Checkpoint()
    # The tables and the SentencePiece model, which have to be saved.
    root.resources = split.resources
    root.tokenize = tf.train.Checkpoint()
    root.tokenize.__call__ = tf.function(split.tokenize, input_signature=[texts], autograph=False)
    root.tokenize.get_special_tokens_dict = tf.train.Checkpoint()
    root.tokenize.get_special_tokens_dict.__call__ = tf.function(
        lambda: {name: tf.constant(value) for name, value in ids.items()}, input_signature=[]
    )
    root.bert_pack_inputs = tf.train.Checkpoint()
    root.bert_pack_inputs.__call__ = pack
    root.__call__ = tf.function(
        lambda sentences: pack([split.tokenize(sentences)], tf.constant(_DEFAULT_LENGTH)),
        input_signature=[texts],
        autograph=False,
    )
    return root


def _special_ids(tokenizer: Tokenizer) -> dict[str, int]:
    """Returns the ids of the special tokens by the API's names."""
    numbers = {piece: number for number, piece in enumerate(tokenizer.pieces)}
    special = tokenizer.special
    ids = {
        "vocab_size": len(tokenizer.pieces),
        "start_of_sequence_id": numbers[special.start],
        "end_of_segment_id": numbers[special.end],
        "padding_id": numbers[special.padding],
    }
    return ids | ({"mask_id": numbers[special.mask]} if special.mask else {})


def _packer(ids: Mapping[str, int], double_end: bool) -> Any:
    """Returns the function (one or two ragged int32[batch, (words), (pieces)], seq_length) -> the encoder's inputs."""

    @tf.function(autograph=False)
    def pack(inputs: Sequence[tf.RaggedTensor], seq_length: Any = _DEFAULT_LENGTH) -> dict[str, tf.Tensor]:
        segments = [each.merge_dims(1, -1) for each in inputs]
        if double_end:
            segments[1:] = [_with_first(segment, ids["end_of_segment_id"]) for segment in segments[1:]]
        return BertPackInputs.bert_pack_inputs(
            segments, seq_length, ids["start_of_sequence_id"], ids["end_of_segment_id"], ids["padding_id"]
        )

    for depth in (1, 2):
        for count in (1, 2):
            tokens = tf.RaggedTensorSpec([None] * (depth + 1), tf.int32)
            pack.get_concrete_function([tokens] * count, seq_length=tf.TensorSpec([], tf.int32))
    return pack


def _with_first(segment: tf.RaggedTensor, token: int) -> tf.RaggedTensor:
    column = tf.RaggedTensor.from_uniform_row_length(tf.fill([segment.nrows()], token), 1)
    return tf.concat([column, segment], axis=1)


class _WordPieces:
    """A BERT tokenizer: special and added tokens, then words, then their pieces."""

    def __init__(self, tokenizer: WordPiece, scratch: str):
        """Writes the vocabulary, which becomes an asset of the SavedModel, into `scratch`."""
        path = os.path.join(scratch, "vocab.txt")
        with open(path, "w", encoding="utf-8", newline="\n") as stream:
            stream.writelines(f"{piece}\n" for piece in tokenizer.pieces)
        initializer = tf.lookup.TextFileInitializer(
            path, tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
        )
        table = tf.lookup.StaticHashTable(initializer, default_value=-1)
        # The initializer too: it holds the asset, which saving a model that was loaded would lose.
        self.resources = [table, initializer]
        self._normalise = _word_normalizer(tokenizer)
        added = "|".join(re.escape(token) for token in tokenizer.added)
        self._added = f"({added})" if added else ""
        alone = "|".join([*([added] if added else []), characters.punctuation(), *_chinese(tokenizer)])
        self._delimiters = f"{characters.whitespace()}+|{alone}"
        self._kept = alone
        # A word that is too long is unknown as a whole.
        self._too_long = rf"(?s)^.{{{tokenizer.max_characters + 1},}}$"
        self._unknown = tokenizer.special.unknown
        self._pieces = text.WordpieceTokenizer(
            table,
            suffix_indicator=tokenizer.prefix,
            max_bytes_per_word=_MAX_CHARACTER_BYTES * tokenizer.max_characters,
            unknown_token=tokenizer.special.unknown,
        )

    def tokenize(self, sentences: tf.Tensor) -> tf.RaggedTensor:
        """string[batch] -> int32[batch, (words), (pieces)]."""
        # Splitting would end at a character 0.
        sentences = tf.strings.regex_replace(sentences, r"\x{0}", "")
        if not self._added:
            words = text.regex_split(self._normalise(sentences), self._delimiters, self._kept)
        else:
            parts = text.regex_split(sentences, self._added, self._added)
            flat = parts.flat_values
            is_added = tf.strings.regex_full_match(flat, self._added)
            flat = tf.where(is_added, flat, self._normalise(flat))
            words = text.regex_split(flat, self._delimiters, self._kept)
            words = parts.with_flat_values(words).merge_dims(1, 2)
        words = words.with_flat_values(tf.strings.regex_replace(words.flat_values, self._too_long, self._unknown))
        return tf.cast(self._pieces.tokenize(words), tf.int32)


def _chinese(tokenizer: WordPiece) -> list[str]:
    return [characters.CHINESE] if tokenizer.chinese else []


def _word_normalizer(tokenizer: WordPiece) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns the steps of `tokenizers`' BertNormalizer that change characters."""

    def normalise(sentences: tf.Tensor) -> tf.Tensor:
        if tokenizer.clean:
            sentences = tf.strings.regex_replace(sentences, characters.removed(), "")
        if tokenizer.accents:
            sentences = text.normalize_utf8(sentences, "NFD")
            sentences = tf.strings.regex_replace(sentences, characters.accents(), "")
        return _lower(sentences) if tokenizer.lower_case else sentences

    return normalise


def _lower(sentences: tf.Tensor) -> tf.Tensor:
    # TensorFlow writes a capital sigma at the end of a word as a final sigma, `tokenizers` does not.
    return tf.strings.lower(tf.strings.regex_replace(sentences, "Σ", "σ"), "utf-8")


class _Sentences:
    """A SentencePiece tokenizer."""

    def __init__(self, tokenizer: SentencePiece):
        self._tokenizer = tokenizer
        self._pieces = text.SentencepieceTokenizer(tokenizer.model, out_type=tf.int32)
        self.resources = [self._pieces]

    def tokenize(self, sentences: tf.Tensor) -> tf.RaggedTensor:
        """string[batch] -> int32[batch, (pieces)]."""
        # The tokenizer would end at a character 0.
        sentences = tf.strings.regex_replace(sentences, r"\x{0}", "")
        sentences = tf.strings.regex_replace(sentences, characters.whitespace(), " ")
        if self._tokenizer.quotes:
            sentences = tf.strings.regex_replace(sentences, "``|''", '"')
        if self._tokenizer.accents:
            sentences = text.normalize_utf8(sentences, "NFKD")
            sentences = tf.strings.regex_replace(sentences, characters.marks(), "")
        return self._pieces.tokenize(_lower(sentences) if self._tokenizer.lower_case else sentences)
