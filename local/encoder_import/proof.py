"""Compares an imported encoder with the framework that it comes from."""

import dataclasses
import importlib.util
import logging
import os
import tempfile
import unicodedata
from typing import Any, Callable, Mapping, Optional, Sequence

import numpy as np
import tensorflow as tf
import tokenizers

from artifacts import encoder as encoder_artifact
from core.errors import UserError
from local.encoder_import import tokenizer as tokenizer_files
from local.encoder_import.architecture import BERT_CONFIG, Architecture
from local.encoder_import.texts import REQUIRED, TEXTS
from trainer.tokens import MASK, TYPE_IDS, WORD_IDS

# Float32 sums in another order differ by about 1e-6 in a layer; a wrong activation or epsilon by far more.
MAX_DIFFERENCE = 1e-4

# Nothing is downloaded, and no code in the folder is executed.
_LOCAL = {"local_files_only": True, "trust_remote_code": False}

# Tokens of a text that are compared.
_LENGTH = 64

# Texts -> the ids of their tokens, with those around them.
Reference = Callable[[Sequence[str]], list[list[int]]]


@dataclasses.dataclass(frozen=True)
class Proof:
    """What was compared.

    Attributes:
      outputs: the source framework, None if it is not installed.
      difference: the largest difference of the outputs, None if they were not compared.
      tokens: what the tokens were compared with, None if they were not.
      unequal: kinds of texts whose tokens differ.
    """

    outputs: Optional[str]
    difference: Optional[float]
    tokens: Optional[str]
    unequal: tuple[str, ...]


def prove(
    source: str, folder: str, architecture: Architecture, tokenizer: tokenizer_files.Tokenizer, pooler: bool
) -> Proof:
    """Compares tokens and outputs.

    Args:
      source: the folder that was imported.
      folder: holds `preprocess/` and `encoder/`.
      architecture: the network.
      tokenizer: the tokenizer.
      pooler: whether the source has a pooler, so that the pooled output can be compared.

    Raises:
      UserError: the tokens of English texts differ, or the outputs by more than `MAX_DIFFERENCE`.
    """
    preprocess = tf.saved_model.load(encoder_artifact.preprocess_dir(folder))
    encoder = tf.saved_model.load(encoder_artifact.encoder_dir(folder))
    name, reference = _reference_tokens(source, tokenizer)
    unequal = tuple(_compare_tokens(preprocess, reference, tokenizer)) if reference else ()
    if REQUIRED in unequal:
        raise UserError(f"{source}: not imported: the tokens of {REQUIRED} texts differ from those of {name}")
    framework, compute = _reference_outputs(source, architecture)
    difference = None
    if compute:
        difference = _compare_outputs(encoder, compute, _batches(preprocess, architecture, tokenizer), pooler)
        if not difference <= MAX_DIFFERENCE:
            raise UserError(
                f"{source}: not imported: the outputs differ from those of {framework} by {difference:g}; should be at "
                f"most {MAX_DIFFERENCE:g}"
            )
    return Proof(framework if compute else None, difference, name, unequal)


def _reference_tokens(source: str, tokenizer: tokenizer_files.Tokenizer) -> tuple[Optional[str], Optional[Reference]]:
    """Returns the name and the function of the most authoritative tokenizer that is installed."""
    if not os.path.isfile(os.path.join(source, BERT_CONFIG)) and _is_installed("transformers"):
        import transformers

        try:
            theirs = transformers.AutoTokenizer.from_pretrained(source, **_LOCAL)
        except Exception as error:  # It needs further packages for some files, in certain versions.
            logging.warning("transformers can't read the tokenizer of %s: %s", source, error)
        else:
            name = f"transformers {transformers.__version__}"
            return name, lambda texts: [theirs(text)["input_ids"] for text in texts]
    path = os.path.join(source, tokenizer_files.JSON)
    if isinstance(tokenizer, tokenizer_files.SentencePiece) and not os.path.isfile(path):
        return _sentencepiece_reference(source, tokenizer) if _is_installed("sentencepiece") else (None, None)
    engine = _bert_engine(tokenizer) if isinstance(tokenizer, tokenizer_files.WordPiece) else _read_engine(path)
    return f"tokenizers {tokenizers.__version__}", lambda texts: [engine.encode(text).ids for text in texts]


def _read_engine(path: str) -> tokenizers.Tokenizer:
    engine = tokenizers.Tokenizer.from_file(path)
    engine.no_padding()
    engine.no_truncation()
    return engine


def _sentencepiece_reference(source: str, tokenizer: tokenizer_files.SentencePiece) -> tuple[str, Reference]:
    """Returns the name and the function of SentencePiece's own library, on the file as it is."""
    import sentencepiece

    file = next(name for name in tokenizer_files.SENTENCEPIECE_FILES if os.path.isfile(os.path.join(source, name)))
    processor = sentencepiece.SentencePieceProcessor(model_file=os.path.join(source, file))
    ids = {piece: number for number, piece in enumerate(tokenizer.pieces)}
    special = tokenizer.special

    def encode(text: str) -> list[int]:
        numbers = processor.encode(_normalise(text, tokenizer), out_type=int)
        found = [special.unknown if processor.is_unknown(each) else processor.id_to_piece(each) for each in numbers]
        return [ids[piece] for piece in (special.start, *found, special.end)]

    return f"sentencepiece {sentencepiece.__version__}", lambda texts: [encode(text) for text in texts]


def _normalise(text: str, tokenizer: tokenizer_files.SentencePiece) -> str:
    """Does what transformers does before SentencePiece."""
    text = " ".join(text.split())
    if tokenizer.quotes:
        text = text.replace("``", '"').replace("''", '"')
    if tokenizer.accents:
        text = "".join(char for char in unicodedata.normalize("NFKD", text) if not unicodedata.combining(char))
    return text.lower() if tokenizer.lower_case else text


def _bert_engine(tokenizer: tokenizer_files.WordPiece) -> tokenizers.Tokenizer:
    """Builds the tokenizer that transformers would."""
    ids = {piece: number for number, piece in enumerate(tokenizer.pieces)}
    special = tokenizer.special
    model = tokenizers.models.WordPiece(
        ids,
        unk_token=special.unknown,
        max_input_chars_per_word=tokenizer.max_characters,
        continuing_subword_prefix=tokenizer.prefix,
    )
    engine = tokenizers.Tokenizer(model)
    engine.normalizer = tokenizers.normalizers.BertNormalizer(
        tokenizer.clean, tokenizer.chinese, tokenizer.accents, tokenizer.lower_case
    )
    engine.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    engine.post_processor = tokenizers.processors.BertProcessing(
        (special.end, ids[special.end]), (special.start, ids[special.start])
    )
    engine.add_special_tokens(list(tokenizer.added))
    return engine


def _is_installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _compare_tokens(preprocess: Any, reference: Reference, tokenizer: tokenizer_files.Tokenizer) -> list[str]:
    """Returns the kinds of texts whose tokens differ."""
    added = tokenizer.added if isinstance(tokenizer, tokenizer_files.WordPiece) else ()
    words = " ".join(token for token in dataclasses.astuple(tokenizer.special) if token)
    kinds = {
        **TEXTS,
        "texts that contain special tokens": (f"a {words}b", f"끝{tokenizer.special.end}시작"),
        "texts that contain added tokens": tuple(f"정말{token} {token}!" for token in added[:20]),
    }
    return [kind for kind, texts in kinds.items() if texts and reference(texts) != _our_tokens(preprocess, texts)]


def _our_tokens(preprocess: Any, texts: Sequence[str]) -> list[list[int]]:
    # Long enough for each text.
    length = 2 * max(len(text.encode()) for text in texts) + 16
    packed = preprocess.bert_pack_inputs([preprocess.tokenize(tf.constant(texts))], seq_length=tf.constant(length))
    rows = zip(packed[WORD_IDS].numpy(), packed[MASK].numpy(), strict=True)
    return [ids[mask.astype(bool)].tolist() for ids, mask in rows]


def _batches(
    preprocess: Any, architecture: Architecture, tokenizer: tokenizer_files.Tokenizer
) -> list[dict[str, np.ndarray]]:
    """Returns real and random inputs int32[batch, seq] by name, the latter as long as the encoder takes."""
    length = min(_LENGTH, architecture.positions)
    texts = tf.constant([text for texts in TEXTS.values() for text in texts])
    packed = preprocess.bert_pack_inputs([preprocess.tokenize(texts)], seq_length=tf.constant(length))
    generator = np.random.default_rng(0)
    mask = np.ones((2, architecture.positions), np.int32)
    mask[1, architecture.positions // 2 :] = 0
    padding = tokenizer.pieces.index(tokenizer.special.padding)
    # Not that of padding: RoBERTa's kinds give it a position of its own.
    ids = generator.integers(0, architecture.vocabulary - 1, mask.shape)
    ids += ids >= padding
    types = generator.integers(0, max(architecture.types, 1), mask.shape)
    random = {WORD_IDS: np.where(mask, ids, padding), MASK: mask, TYPE_IDS: types * mask}
    return [{name: np.asarray(value, np.int32) for name, value in each.items()} for each in (packed, random)]


Outputs = Mapping[str, np.ndarray]
Compute = Callable[[Mapping[str, np.ndarray]], Outputs]


def _compare_outputs(
    encoder: Any, compute: Compute, batches: Sequence[Mapping[str, np.ndarray]], pooler: bool
) -> float:
    """Returns the largest difference of the outputs of tokens, and of the pooled output if the source has a pooler."""
    largest = 0.0
    for batch in batches:
        ours = encoder({name: tf.constant(value) for name, value in batch.items()}, training=False)
        theirs = compute(batch)
        for name in ("sequence_output", "pooled_output") if pooler else ("sequence_output",):
            differences = np.abs(ours[name].numpy() - theirs[name])
            tokens = differences[batch[MASK].astype(bool)] if name == "sequence_output" else differences
            # A comparison with NaN would be false.
            largest = max(largest, float(np.nan_to_num(tokens, nan=np.inf).max()))
    return largest


def _reference_outputs(source: str, architecture: Architecture) -> tuple[Optional[str], Optional[Compute]]:
    """Returns the name of the source framework and its encoder, None if it is not installed."""
    if os.path.isfile(os.path.join(source, BERT_CONFIG)):
        return "tf-models", _tf_models(source, architecture)
    if not (_is_installed("transformers") and _is_installed("torch")):
        return None, None
    import transformers

    try:
        return f"transformers {transformers.__version__}", _transformers(source, architecture)
    except Exception as error:  # Some of its versions can't read some folders.
        logging.warning("transformers can't read %s: %s", source, error)
        return None, None


def _transformers(source: str, architecture: Architecture) -> Compute:
    import torch
    import transformers

    model = transformers.AutoModel.from_pretrained(source, **_LOCAL).float().eval()
    names = {WORD_IDS: "input_ids", MASK: "attention_mask", TYPE_IDS: "token_type_ids"}

    def compute(batch: Mapping[str, np.ndarray]) -> Outputs:
        used = [name for name in names if name != TYPE_IDS or architecture.types > 1]
        with torch.no_grad():
            outputs = model(**{names[name]: torch.tensor(batch[name], dtype=torch.long) for name in used})
        pooled = getattr(outputs, "pooler_output", None)
        sequence = outputs.last_hidden_state.numpy()
        return {"sequence_output": sequence, "pooled_output": sequence[:, 0] if pooled is None else pooled.numpy()}

    return compute


def _tf_models(source: str, architecture: Architecture) -> Compute:
    """Converts the checkpoint as tf-models does, whose networks are on TF Hub."""
    from official.legacy.bert import configs
    from official.nlp.tools import tf2_bert_encoder_checkpoint_converter as converter

    config = configs.BertConfig.from_json_file(os.path.join(source, BERT_CONFIG))
    checkpoint = next(name for name in os.listdir(source) if name.endswith(".index")).removesuffix(".index")
    with tempfile.TemporaryDirectory() as scratch:
        target = os.path.join(scratch, "converted")
        converter.convert_checkpoint(config, target, os.path.join(source, checkpoint), "model")
        model = converter._create_bert_model(config)
        tf.train.Checkpoint(model=model).restore(tf.train.latest_checkpoint(scratch)).assert_consumed()

    def compute(batch: Mapping[str, np.ndarray]) -> Outputs:
        sequence, pooled = model([batch[WORD_IDS], batch[MASK], batch[TYPE_IDS]])
        return {"sequence_output": sequence.numpy(), "pooled_output": pooled.numpy()}

    return compute
