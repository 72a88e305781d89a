"""What a folder says about its tokenizer: WordPiece or SentencePiece, with everything that changes tokens.

The files are those of transformers. `tokenizer.json` has the vocabulary if it is there, else `vocab.txt` or a
SentencePiece model; `tokenizer_config.json` has the settings that transformers lets override those of `tokenizer.json`.
"""

import base64
import dataclasses
import os
from typing import Any, Mapping, Optional, Sequence, Union

from core.errors import UserError
from local.encoder_import import sentencepiece_file
from local.encoder_import.architecture import ROBERTA_FAMILIES, read_json

JSON = "tokenizer.json"
VOCABULARY = "vocab.txt"
_CONFIG = "tokenizer_config.json"
_SPECIAL = "special_tokens_map.json"
_ADDED = "added_tokens.json"
SENTENCEPIECE_FILES = ("spiece.model", "sentencepiece.bpe.model", "tokenizer.model")

# Tokenizers that split texts with a program that no operation of TensorFlow replaces, by the names of their classes.
_FOREIGN = ("BertJapanese", "BertGeneration", "Kobert", "KoBert", "Herbert", "PhoBert", "BertweetTokenizer", "MPNet")

# Of `tokenizers`' WordPiece: a longer word is unknown.
_MAX_CHARACTERS = 100


@dataclasses.dataclass(frozen=True)
class SpecialTokens:
    """Tokens around and inside a text; `mask` is only for pre-training."""

    unknown: str
    start: str
    end: str
    padding: str
    mask: Optional[str]


_BERT_TOKENS = SpecialTokens("[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]")
_ROBERTA_TOKENS = SpecialTokens("<unk>", "<s>", "</s>", "<pad>", "<mask>")
_ALBERT_TOKENS = SpecialTokens("<unk>", "[CLS]", "[SEP]", "<pad>", "[MASK]")


@dataclasses.dataclass(frozen=True)
class WordPiece:
    """A BERT tokenizer.

    Attributes:
      pieces: by id.
      special: the special tokens.
      added: tokens that are found in a text before anything else.
      clean: whether control characters are removed.
      chinese: whether Chinese characters are words of their own.
      accents: whether accents are stripped.
      lower_case: whether texts are lower-cased.
      prefix: of pieces inside a word.
      max_characters: a longer word is unknown.
    """

    pieces: tuple[str, ...]
    special: SpecialTokens
    added: tuple[str, ...]
    clean: bool
    chinese: bool
    accents: bool
    lower_case: bool
    prefix: str = "##"
    max_characters: int = _MAX_CHARACTERS


@dataclasses.dataclass(frozen=True)
class SentencePiece:
    """A SentencePiece tokenizer.

    Attributes:
      model: the file's content; its ids are those of the encoder.
      pieces: by id.
      special: the special tokens.
      quotes: whether `` and '' become ".
      accents: whether accents are stripped.
      lower_case: whether texts are lower-cased.
      double_end: whether two end tokens are between the texts of a pair.
    """

    model: bytes
    pieces: tuple[str, ...]
    special: SpecialTokens
    quotes: bool
    accents: bool
    lower_case: bool
    double_end: bool


Tokenizer = Union[WordPiece, SentencePiece]


def read(folder: str, family: str) -> Tokenizer:
    """Reads the tokenizer of a folder of transformers.

    Args:
      folder: the folder.
      family: `model_type` of its `config.json`.

    Raises:
      UserError: the tokenizer is missing, damaged, or of a kind that TensorFlow Text lacks.
    """
    config = _read_optional(os.path.join(folder, _CONFIG))
    _refuse_foreign(folder, config)
    config = {**_read_optional(os.path.join(folder, _SPECIAL)), **config}
    path = os.path.join(folder, JSON)
    if os.path.isfile(path):
        return _from_json(path, read_json(path), config, family)
    vocabulary = os.path.join(folder, VOCABULARY)
    if os.path.isfile(vocabulary):
        added = _read_optional(os.path.join(folder, _ADDED))
        return _from_vocabulary(vocabulary, _read_lines(vocabulary), config, added)
    for name in SENTENCEPIECE_FILES:
        if os.path.isfile(os.path.join(folder, name)):
            return _from_sentencepiece(os.path.join(folder, name), config, family)
    names = ", ".join((JSON, VOCABULARY, *SENTENCEPIECE_FILES))
    if os.path.isfile(os.path.join(folder, "merges.txt")):
        raise _no_byte_level(os.path.join(folder, "merges.txt"))
    raise UserError(f"{folder}: holds no tokenizer; should have one of {names}")


def read_vocabulary(path: str) -> WordPiece:
    """Reads a BERT's `vocab.txt` that comes without settings: lower-cased if no piece has a capital letter.

    Raises:
      UserError: the file is missing or not a vocabulary.
    """
    pieces = _read_lines(path)
    cased = any(piece != piece.lower() for piece in pieces if not piece.startswith("["))
    return _from_vocabulary(path, pieces, {"do_lower_case": not cased}, {})


def _read_optional(path: str) -> dict[str, Any]:
    return read_json(path) if os.path.isfile(path) else {}


def _refuse_foreign(folder: str, config: Mapping[str, Any]) -> None:
    name = str(config.get("tokenizer_class") or "")
    words = config.get("word_tokenizer_type", "basic")
    if name.startswith(_FOREIGN) or words != "basic" or config.get("auto_map"):
        raise UserError(
            f"{os.path.join(folder, _CONFIG)}: tokenizer_class = {name!r}: TensorFlow has no operation for it; should "
            "be a WordPiece or SentencePiece tokenizer"
        )


def _no_byte_level(path: str) -> UserError:
    return UserError(
        f"{path}: a byte-level BPE tokenizer, such as RoBERTa's, for which TensorFlow Text has no operation; should be "
        "WordPiece or SentencePiece, as of klue/roberta or XLM-R"
    )


def _text(value: Any) -> Optional[str]:
    """Returns the text of a token, which may have properties."""
    return value.get("content") if isinstance(value, dict) else value


def _special_tokens(config: Mapping[str, Any], default: SpecialTokens) -> SpecialTokens:
    names = {"unknown": "unk", "start": "cls", "end": "sep", "padding": "pad", "mask": "mask"}
    given = {field: _text(config.get(f"{name}_token")) for field, name in names.items()}
    return dataclasses.replace(default, **{field: token for field, token in given.items() if token})


def _from_vocabulary(
    path: str, pieces: Sequence[str], config: Mapping[str, Any], added: Mapping[str, Any]
) -> WordPiece:
    special = _special_tokens(config, _BERT_TOKENS)
    decoder = config.get("added_tokens_decoder")
    more = {_text(token): int(number) for number, token in decoder.items()} if isinstance(decoder, dict) else {}
    ids = {piece: number for number, piece in enumerate(pieces)} | dict(added) | more
    tokens = [*dataclasses.astuple(special), *added, *more]
    return _word_piece(path, ids, special, [token for token in tokens if token], config, {})


def _from_json(path: str, values: Mapping[str, Any], config: Mapping[str, Any], family: str) -> Tokenizer:
    model = values.get("model")
    if not isinstance(model, dict):
        raise UserError(f"{path}: model: is missing; should describe a WordPiece or Unigram tokenizer")
    added = {token["content"]: token["id"] for token in values.get("added_tokens") or ()}
    # Files of old releases do not name the kind.
    kind = model.get("type") or ("WordPiece" if "continuing_subword_prefix" in model else None)
    if kind == "WordPiece":
        special = _special_tokens({"unk_token": model.get("unk_token"), **config}, _BERT_TOKENS)
        _check_pipeline(path, values)
        tokens = [*added, *(token for token in dataclasses.astuple(special) if token in model["vocab"])]
        normalizer = values.get("normalizer") or {"clean_text": False, "handle_chinese_chars": False}
        return _word_piece(path, {**model["vocab"], **added}, special, tokens, config, {**normalizer, **model})
    if kind == "Unigram":
        return _unigram(path, values, config, family)
    if kind == "BPE":
        raise _no_byte_level(path)
    raise UserError(f"{path}: model.type = {kind!r}: can't be imported; should be WordPiece or Unigram")


def _check_pipeline(path: str, values: Mapping[str, Any]) -> None:
    for part, expected in (("normalizer", "BertNormalizer"), ("pre_tokenizer", "BertPreTokenizer")):
        kind = (values.get(part) or {}).get("type", expected if part == "normalizer" else None)
        if kind != expected:
            raise UserError(f"{path}: {part}.type = {kind!r}: can't be imported; should be {expected}")


def _word_piece(
    path: str,
    ids: Mapping[Any, int],
    special: SpecialTokens,
    added: Sequence[str],
    config: Mapping[str, Any],
    described: Mapping[str, Any],
) -> WordPiece:
    """Builds the settings; those of `config` take precedence over those of `tokenizer.json`, as in transformers."""

    def choose(name: str, other: str, default: Any) -> Any:
        value = config[name] if name in config else described.get(other, default)
        return default if value is None else value

    lower_case = bool(choose("do_lower_case", "lowercase", True))
    missing = [token for token in dataclasses.astuple(special)[:4] if token not in ids]
    if missing:
        raise UserError(f"{path}: holds no {missing[0]}; a BERT's vocabulary should have it")
    known = dict.fromkeys(token for token in added if token in ids)
    return WordPiece(
        pieces=_by_id(path, ids),
        special=special if special.mask in ids else dataclasses.replace(special, mask=None),
        added=tuple(sorted(known, key=len, reverse=True)),
        clean=bool(described.get("clean_text", True)),
        chinese=bool(choose("tokenize_chinese_chars", "handle_chinese_chars", True)),
        accents=bool(choose("strip_accents", "strip_accents", lower_case)),
        lower_case=lower_case,
        prefix=described.get("continuing_subword_prefix", "##"),
        max_characters=described.get("max_input_chars_per_word", _MAX_CHARACTERS),
    )


def _by_id(path: str, ids: Mapping[Any, int]) -> tuple[str, ...]:
    """Returns the pieces in the order of their ids; ids without a piece get one that no text holds."""
    if not all(isinstance(number, int) and 0 <= number < 10_000_000 for number in ids.values()):
        raise UserError(f"{path}: an id is not a whole number from 0; copy the file again")
    pieces = {number: piece for piece, number in ids.items()}
    broken = next((piece for piece in ids if "\n" in piece), None)
    if broken is not None:
        raise UserError(f"{path}: the token {broken!r} holds a line break, which TensorFlow's tables can't")
    return tuple(pieces.get(number, f"[no piece {number}]") for number in range(max(pieces) + 1))


def _read_lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8") as stream:
            lines = stream.read().removesuffix("\n").split("\n")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 ({error.reason} at byte {error.start}); copy the file again") from error
    if lines == [""]:
        raise UserError(f"{path}: is empty; should have one word piece a line")
    return lines


def _unigram(path: str, values: Mapping[str, Any], config: Mapping[str, Any], family: str) -> SentencePiece:
    """Writes the model of a `tokenizer.json` as a SentencePiece file."""
    model = values["model"]
    default = _ROBERTA_TOKENS if family in ROBERTA_FAMILIES else _ALBERT_TOKENS
    special = _special_tokens(config, default)
    steps = values.get("normalizer") or {}
    normalizers = steps.get("normalizers", [steps] if steps else [])
    charsmap = _charsmap(path, normalizers)
    pieces = [(str(piece), float(score)) for piece, score in model["vocab"]]
    added = values.get("added_tokens") or ()
    words = {token["content"] for token in added if not token.get("special")}
    control = {token["content"] for token in added} - words | set(dataclasses.astuple(special))
    known = {piece for piece, _ in pieces}
    more = sorted((token for token in added if token["content"] not in known), key=lambda token: token["id"])
    if [token["id"] for token in more] != list(range(len(pieces), len(pieces) + len(more))):
        raise UserError(f"{path}: the ids of added_tokens should follow those of the vocabulary's {len(pieces)} pieces")
    pieces += [(token["content"], 0.0) for token in more]
    kinds = {type_: _has(normalizers, type_) for type_ in ("Replace", "StripAccents", "Lowercase")}
    file = sentencepiece_file.write(pieces, model["unk_id"], control, words, charsmap)
    return SentencePiece(
        model=file,
        pieces=tuple(piece for piece, _ in pieces),
        special=special,
        quotes=kinds["Replace"] and family == "albert",
        accents=kinds["StripAccents"],
        lower_case=kinds["Lowercase"],
        double_end=family in ROBERTA_FAMILIES,
    )


def _has(normalizers: Sequence[Mapping[str, Any]], kind: str) -> bool:
    return any(step.get("type") == kind for step in normalizers)


def _charsmap(path: str, normalizers: Sequence[Mapping[str, Any]]) -> bytes:
    known = ("Replace", "NFKD", "StripAccents", "Lowercase", "Precompiled")
    for step in normalizers:
        if step.get("type") not in known:
            raise UserError(
                f"{path}: normalizer.type = {step.get('type')!r}: can't be imported; should be one of "
                f"{', '.join(known)}"
            )
    found = [step.get("precompiled_charsmap") for step in normalizers if step.get("type") == "Precompiled"]
    try:
        return base64.b64decode(found[0], validate=True) if found and found[0] else b""
    except ValueError as error:
        raise UserError(f"{path}: precompiled_charsmap: not base64 ({error}); copy the file again") from error


def _from_sentencepiece(path: str, config: Mapping[str, Any], family: str) -> SentencePiece:
    """Reads a SentencePiece file; RoBERTa's kinds have other ids than the file, as fairseq had."""
    special = _special_tokens(config, _ROBERTA_TOKENS if family in ROBERTA_FAMILIES else _ALBERT_TOKENS)
    file = sentencepiece_file.read(path)
    if family in ROBERTA_FAMILIES:
        file = sentencepiece_file.renumber(file, path, family, special.mask)
    pieces = sentencepiece_file.pieces(file)
    missing = [token for token in dataclasses.astuple(special)[:4] if token not in pieces]
    if missing:
        raise UserError(f"{path}: holds no {missing[0]}, which the encoder needs around a text")
    # ALBERT's settings; the other kinds have theirs in the file.
    albert = family == "albert"
    return SentencePiece(
        model=file,
        pieces=pieces,
        special=special if special.mask in pieces else dataclasses.replace(special, mask=None),
        quotes=albert,
        accents=albert and not config.get("keep_accents", False),
        lower_case=albert and bool(config.get("do_lower_case", True)),
        double_end=family in ROBERTA_FAMILIES,
    )
