"""The encoder artifact: layout, card and validation.

The serving folder of the `Model` artifact holds

- `preprocess/`, a SavedModel: string[batch] -> `input_word_ids`, `input_mask`, `input_type_ids`, each
  int32[batch, seq]; its `tokenize` and `bert_pack_inputs` do the same in two steps, for any seq;
- `encoder/`, a SavedModel: these three -> `pooled_output` (or only `default`) [batch, hidden], `sequence_output`
  [batch, seq, hidden], and in some `encoder_outputs`, one [batch, seq, hidden] per layer; all float;
- `encoder.json`, an `EncoderCard`.

The two SavedModels follow TF Hub's common API for text, as its BERTs and their preprocess models do.
"""

import contextlib
import dataclasses
import json
import os
import uuid
from typing import Any, Callable, Iterator, Mapping, Optional

import tensorflow as tf
import tensorflow_text  # noqa: F401  Registers the ops of preprocess models.
from tfx.utils import path_utils

from artifacts import saved_encoder
from artifacts.model_files import tree_sha256
from core.errors import UserError

PREPROCESS = "preprocess"
ENCODER = "encoder"
CARD = "encoder.json"

INPUT_NAMES = ("input_word_ids", "input_mask", "input_type_ids")

_SENTENCES = ("영화는 정말 좋았다.", "No.")
# Two, because a model that was exported for a fixed length fails with the other.
_LENGTHS = (16, 24)


@dataclasses.dataclass(frozen=True)
class EncoderCard:
    """What an encoder is and where it comes from.

    Attributes:
      source: `hub` or `pretrain`.
      handle: the configured catalogue name, address or folder; for `pretrain` a description of its size.
      preprocess_handle: the same for the preprocess model.
      sha256: `preprocess` and `encoder` -> digest of that folder's names and contents.
      vocabulary: number of word pieces, including special tokens; None if unknown.
      hidden: width of the outputs.
      layers: Transformer layers, None if unknown.
      heads: attention heads of a layer, None if unknown.
    """

    source: str
    handle: str
    preprocess_handle: str
    sha256: Mapping[str, str]
    vocabulary: Optional[int]
    hidden: int
    layers: Optional[int]
    heads: Optional[int]


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Sizes of an encoder, measured by running it; None if its SavedModels do not tell."""

    vocabulary: Optional[int]
    hidden: int
    layers: Optional[int]


def preprocess_dir(folder: str) -> str:
    """Returns the folder of the preprocess model."""
    return os.path.join(folder, PREPROCESS)


def encoder_dir(folder: str) -> str:
    """Returns the folder of the encoder."""
    return os.path.join(folder, ENCODER)


def read(folder: str) -> EncoderCard:
    """Reads the card of a finished encoder folder.

    Raises:
      UserError: the card is missing or damaged.
    """
    path = os.path.join(folder, CARD)
    try:
        with tf.io.gfile.GFile(path) as stream:
            return EncoderCard(**json.load(stream))
    except (tf.errors.OpError, TypeError, ValueError) as error:
        raise UserError(f"{path}: not a valid encoder card ({str(error).splitlines()[0]})") from error


def read_vocabulary(folder: str) -> list[str]:
    """Returns the word pieces in the order of their ids; empty if the tokeniser has no list of them (SentencePiece)."""
    files = tf.io.gfile.glob(os.path.join(preprocess_dir(folder), "assets", "*vocab*.txt"))
    if len(files) != 1:
        return []
    with tf.io.gfile.GFile(files[0]) as stream:
        return stream.read().removesuffix("\n").split("\n")


def digests(folder: str) -> dict[str, str]:
    """Returns `preprocess` and `encoder` -> SHA-256 of the file names and contents of that model."""
    return {part: tree_sha256(os.path.join(folder, part)) for part in (PREPROCESS, ENCODER)}


def verify(folder: str) -> None:
    """Checks the digests of an encoder against its card, before it is loaded.

    Raises:
      UserError: a file changed after the encoder was written, or the card can't be read.
    """
    recorded = read(folder).sha256
    for part, digest in digests(folder).items():
        if digest != recorded.get(part):
            raise UserError(
                f"{os.path.join(folder, part)}: has the digest {digest}, but {CARD} records {recorded.get(part)}; the "
                f"files were damaged or changed: delete {folder} and run again"
            )


@contextlib.contextmanager
def stage(uri: str) -> Iterator[str]:
    """Creates a temporary folder, which replaces the serving folder of the artifact when the block ends.

    On a file system the replacement is atomic. An object store moves one file at a time, but the artifact is only
    published afterwards.

    Args:
      uri: the URI of the `Model` artifact.

    Yields:
      The temporary folder.
    """
    final = path_utils.serving_model_dir(uri)
    staging = f"{final}.{uuid.uuid4().hex[:8]}.tmp"
    tf.io.gfile.makedirs(staging)
    try:
        yield staging
        if tf.io.gfile.exists(final):
            tf.io.gfile.rmtree(final)
        tf.io.gfile.rename(staging, final)
    except BaseException:
        tf.io.gfile.rmtree(staging)
        raise


def finish(
    folder: str,
    source: str,
    handle: str,
    preprocess_handle: str,
    heads: Optional[int],
    names: Optional[Mapping[str, str]] = None,
    max_length: Optional[int] = None,
) -> EncoderCard:
    """Validates the two SavedModels in a folder and writes the card.

    Args:
      folder: holds `preprocess/` and `encoder/`.
      source: as in `EncoderCard`.
      handle: as in `EncoderCard`.
      preprocess_handle: as in `EncoderCard`.
      heads: as in `EncoderCard`.
      names: as in `validate`.
      max_length: as in `validate`.

    Returns:
      The card.

    Raises:
      UserError: a SavedModel breaks the contract.
    """
    sizes = validate(folder, names, max_length)
    card = EncoderCard(
        source=source,
        handle=handle,
        preprocess_handle=preprocess_handle,
        sha256=digests(folder),
        heads=heads,
        **dataclasses.asdict(sizes),
    )
    with tf.io.gfile.GFile(os.path.join(folder, CARD), "w") as stream:
        json.dump(dataclasses.asdict(card), stream, indent=2, ensure_ascii=False)
    return card


def validate(folder: str, names: Optional[Mapping[str, str]] = None, max_length: Optional[int] = None) -> Sizes:
    """Loads the two SavedModels in a folder and runs two sentences through them.

    Args:
      folder: holds `preprocess/` and `encoder/`.
      names: `preprocess` and `encoder` -> name of that model in errors; default: its path.
      max_length: `trainer.max_length`, which the encoder has to take; None for any.

    Returns:
      The sizes of the outputs.

    Raises:
      UserError: a model can't be loaded or run, or the name, dtype or shape of an output is wrong.
    """
    names = names or {part: os.path.join(folder, part) for part in (PREPROCESS, ENCODER)}
    preprocess = load_model(preprocess_dir(folder), names[PREPROCESS])
    batches = _pack_sentences(preprocess, names[PREPROCESS])
    encoder = load_model(encoder_dir(folder), names[ENCODER])
    layout = saved_encoder.read_layout(encoder_dir(folder))
    sizes = {_measure(encoder, batch, names[ENCODER]) for batch in batches}
    _require(len(sizes) == 1, names[ENCODER], f"the output sizes depend on the length of a sentence: {sorted(sizes)}")
    hidden, layers = sizes.pop()
    if max_length is not None:
        _require_length(encoder, max_length, names[ENCODER])
    vocabulary = _vocabulary_size(preprocess) or len(read_vocabulary(folder)) or (layout and layout.vocabulary)
    return Sizes(vocabulary or None, hidden, layers or (layout and layout.layers) or None)


def load_model(path: str, name: str) -> Any:
    """Loads one of the two SavedModels.

    Args:
      path: its folder.
      name: its name in errors.

    Raises:
      UserError: it can't be loaded, or is not callable.
    """
    model = _attempt(lambda: tf.saved_model.load(path), name, "can't be loaded as a SavedModel")
    _require(callable(model), name, "should be a callable SavedModel, like the text models of TF Hub")
    return model


def _pack_sentences(preprocess: Any, name: str) -> list[Mapping[str, tf.Tensor]]:
    """Runs the preprocess model in one step, then in two steps for each length; returns the results of the latter."""
    sentences = tf.constant(_SENTENCES)
    _check_inputs(_attempt(lambda: preprocess(sentences), name, "fails on two sentences"), name, None)
    for part in ("tokenize", "bert_pack_inputs"):
        _require(hasattr(preprocess, part), name, f"`{part}` is missing; TF Hub's BERT preprocess models have it")
    return [_pack(preprocess, sentences, length, name) for length in _LENGTHS]


def _pack(preprocess: Any, sentences: tf.Tensor, length: int, name: str) -> Mapping[str, tf.Tensor]:
    outputs = _attempt(
        lambda: preprocess.bert_pack_inputs([preprocess.tokenize(sentences)], seq_length=tf.constant(length)),
        name,
        f"fails to tokenize two sentences and pack them to {length} tokens",
    )
    _check_inputs(outputs, name, length)
    return outputs


def _check_inputs(outputs: Any, name: str, length: Optional[int]) -> None:
    _require_names(outputs, INPUT_NAMES, name)
    for key in INPUT_NAMES:
        _require(outputs[key].dtype == tf.int32, name, f"`{key}` is {outputs[key].dtype.name}; should be int32")
        _require_shape(outputs[key], (len(_SENTENCES), length), f"`{key}`", name)


def _vocabulary_size(preprocess: Any) -> Optional[int]:
    """Returns the size that the tokeniser states; None if it states none, as TF Hub's API allows."""
    try:
        return int(preprocess.tokenize.get_special_tokens_dict()["vocab_size"])
    # A SavedModel without it, or with another one, may raise any of them.
    except (AttributeError, KeyError, TypeError, ValueError, tf.errors.OpError):
        return None


def _require_length(encoder: Any, max_length: int, name: str) -> None:
    """Raises if the encoder does not take rows of `max_length` tokens."""
    if _takes(encoder, max_length):
        return
    taken, refused = max(_LENGTHS), max_length
    while refused - taken > 1:
        middle = (taken + refused) // 2
        taken, refused = (middle, refused) if _takes(encoder, middle) else (taken, middle)
    raise saved_encoder.too_long(max_length, name, taken)


def _takes(encoder: Any, length: int) -> bool:
    ones = tf.ones([1, length], tf.int32)
    try:
        # Any id does; that of the padding is 0 in every vocabulary.
        outputs = saved_encoder.call(encoder, dict(zip(INPUT_NAMES, (ones * 0, ones, ones * 0), strict=True)))
    except Exception:  # Running a third-party SavedModel can raise any error.
        return False
    return outputs[saved_encoder.SEQUENCE].shape[1] == length


def _measure(encoder: Any, batch: Mapping[str, tf.Tensor], name: str) -> tuple[int, Optional[int]]:
    """Returns (hidden, layers) of the outputs for a batch; None if they are not those of the layers."""
    rows, length = batch[INPUT_NAMES[0]].shape
    outputs = _attempt(lambda: saved_encoder.call(encoder, batch), name, f"fails on sentences of {length} tokens")
    pooled = saved_encoder.pooled_name(outputs) if isinstance(outputs, Mapping) else saved_encoder.POOLED
    _require_names(outputs, (pooled, saved_encoder.SEQUENCE), name)
    _require_shape(outputs[pooled], (rows, None), f"`{pooled}`", name)
    hidden = outputs[pooled].shape[1]
    layers = list(outputs.get("encoder_outputs", ()))
    _require_shape(outputs[saved_encoder.SEQUENCE], (rows, length, hidden), f"`{saved_encoder.SEQUENCE}`", name)
    for tensor in (outputs[pooled], outputs[saved_encoder.SEQUENCE]):
        _require(tensor.dtype.is_floating, name, f"an output is {tensor.dtype.name}; should be float")
    return hidden, len(layers) or None


def _attempt(call: Callable[[], Any], name: str, fault: str) -> Any:
    try:
        return call()
    except Exception as error:  # Loading or running a third-party SavedModel can raise any error.
        reason = str(error).strip() or type(error).__name__
        # The first line describes the error, the others the graph.
        raise UserError(f"{name}: {fault}: {reason.splitlines()[0][:300]}") from error


def _require(condition: bool, name: str, fault: str) -> None:
    if not condition:
        raise UserError(f"{name}: {fault}")


def _require_names(outputs: Any, expected: tuple[str, ...], name: str) -> None:
    names = sorted(outputs) if isinstance(outputs, Mapping) else []
    missing = [key for key in expected if key not in names]
    _require(
        not missing, name, f"outputs {', '.join(missing)} are missing; it has {', '.join(names) or 'no named outputs'}"
    )


def _require_shape(tensor: tf.Tensor, shape: tuple[Optional[int], ...], output: str, name: str) -> None:
    expected = "[" + ", ".join("any" if size is None else str(size) for size in shape) + "]"
    compatible = tensor.shape.is_compatible_with(shape)
    _require(compatible, name, f"{output} has the shape {tensor.shape.as_list()}; should be {expected}")
