"""The encoder artifact: its layout, its card, and the check that it does what it promises.

The serving folder of the `Model` artifact holds

- `preprocess/`, a SavedModel: string[batch] -> `input_word_ids`, `input_mask`, `input_type_ids`, each
  int32[batch, seq]; its `tokenize` and `bert_pack_inputs` do the same in two steps, for any seq;
- `encoder/`, a SavedModel: those -> `pooled_output` [batch, hidden], `sequence_output` [batch, seq, hidden], and
  `encoder_outputs`, one [batch, seq, hidden] a layer; all float;
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
import tensorflow_text  # noqa: F401  Registers the ops that preprocess models are made of.
from tfx.utils import path_utils

from artifacts.model_files import tree_sha256
from core.errors import UserError

PREPROCESS = "preprocess"
ENCODER = "encoder"
CARD = "encoder.json"

INPUT_NAMES = ("input_word_ids", "input_mask", "input_type_ids")

_SENTENCES = ("영화는 정말 좋았다.", "No.")
# Two of them: a model that was exported for one length fails at the other.
_LENGTHS = (16, 24)


@dataclasses.dataclass(frozen=True)
class EncoderCard:
    """What an encoder is and where it comes from.

    Attributes:
      source: `hub` or `pretrain`.
      handle: what was asked for: catalogue name, address or folder; for `pretrain` its sizes in words.
      preprocess_handle: the same for the preprocess model.
      sha256: `preprocess` and `encoder` -> digest of that folder's names and contents.
      vocabulary: word pieces, special tokens included.
      hidden: width of the outputs.
      layers: Transformer layers.
      heads: attention heads of a layer, None where the source does not say.
    """

    source: str
    handle: str
    preprocess_handle: str
    sha256: Mapping[str, str]
    vocabulary: int
    hidden: int
    layers: int
    heads: Optional[int]


@dataclasses.dataclass(frozen=True)
class Sizes:
    """What a check finds out by running an encoder."""

    vocabulary: int
    hidden: int
    layers: int


def preprocess_dir(folder: str) -> str:
    """Returns where an encoder folder holds its preprocess model."""
    return os.path.join(folder, PREPROCESS)


def encoder_dir(folder: str) -> str:
    """Returns where an encoder folder holds its encoder."""
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
        raise UserError(f"{path}: not the card of an encoder ({str(error).splitlines()[0]})") from error


def digests(folder: str) -> dict[str, str]:
    """Digests both models of a folder: `preprocess` and `encoder` -> SHA-256 of its names and contents."""
    return {part: tree_sha256(os.path.join(folder, part)) for part in (PREPROCESS, ENCODER)}


def verify(folder: str) -> None:
    """Holds an encoder against its card, before it is loaded.

    Raises:
      UserError: a file is not what it was when the encoder was made, or the card can't be read.
    """
    recorded = read(folder).sha256
    for part, found in digests(folder).items():
        if found != recorded.get(part):
            raise UserError(
                f"{os.path.join(folder, part)}: has the digest {found}, but {CARD} records {recorded.get(part)}: its "
                f"files were damaged or changed after they were made; delete {folder} and run again"
            )


@contextlib.contextmanager
def staged(uri: str) -> Iterator[str]:
    """Gives a folder to write an encoder in, which becomes the artifact's serving folder if no error is raised.

    On a file system a reader sees all of it or nothing. In an object store the move is one file at a time;
    there the artifact is published only afterwards.

    Args:
      uri: the `Model` artifact's.

    Yields:
      A new folder beside the artifact's serving folder.
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
) -> EncoderCard:
    """Checks the two SavedModels of a folder and writes its card.

    Args:
      folder: holds `preprocess/` and `encoder/`.
      source: as in `EncoderCard`.
      handle: as in `EncoderCard`.
      preprocess_handle: as in `EncoderCard`.
      heads: as in `EncoderCard`.
      names: as in `check`.

    Returns:
      The card.

    Raises:
      UserError: a SavedModel does not do what the contract says.
    """
    sizes = check(folder, names)
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


def check(folder: str, names: Optional[Mapping[str, str]] = None) -> Sizes:
    """Loads the two SavedModels of a folder and runs two sentences through them.

    Args:
      folder: holds `preprocess/` and `encoder/`.
      names: `preprocess` and `encoder` -> what an error calls that model; default: its path.

    Returns:
      The sizes that the outputs show.

    Raises:
      UserError: a model can't be loaded or run, or an output's name, dtype or shape is not the contract's; it
        says which.
    """
    names = names or {part: os.path.join(folder, part) for part in (PREPROCESS, ENCODER)}
    preprocess = _load(preprocess_dir(folder), names[PREPROCESS])
    batches = _packed_sentences(preprocess, names[PREPROCESS])
    vocabulary = _vocabulary_size(preprocess, names[PREPROCESS])
    encoder = _load(encoder_dir(folder), names[ENCODER])
    found = {_encoded_sizes(encoder, batch, names[ENCODER]) for batch in batches}
    _require(len(found) == 1, names[ENCODER], f"its outputs' sizes depend on the sentence's length: {sorted(found)}")
    hidden, layers = found.pop()
    return Sizes(vocabulary, hidden, layers)


def _load(path: str, name: str) -> Callable[..., Any]:
    model = _attempt(lambda: tf.saved_model.load(path), name, "can't be loaded as a SavedModel")
    _require(callable(model), name, "should be a SavedModel that can be called, as TF Hub's text models are")
    return model


def _packed_sentences(preprocess: Any, name: str) -> list[Mapping[str, tf.Tensor]]:
    """Runs the preprocess model whole, then in two steps for each length; returns what the latter gave."""
    sentences = tf.constant(_SENTENCES)
    _check_inputs(_attempt(lambda: preprocess(sentences), name, "fails on two sentences"), name, None)
    for part in ("tokenize", "bert_pack_inputs"):
        _require(hasattr(preprocess, part), name, f"lacks `{part}`, which TF Hub's BERT preprocess models have")
    return [_packed(preprocess, sentences, length, name) for length in _LENGTHS]


def _packed(preprocess: Any, sentences: tf.Tensor, length: int, name: str) -> Mapping[str, tf.Tensor]:
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


def _vocabulary_size(preprocess: Any, name: str) -> int:
    special = _attempt(
        lambda: preprocess.tokenize.get_special_tokens_dict(),
        name,
        "lacks `tokenize.get_special_tokens_dict`, which TF Hub's BERT preprocess models have",
    )
    _require_names(special, ("vocab_size",), name)
    return int(special["vocab_size"])


def _encoded_sizes(encoder: Any, batch: Mapping[str, tf.Tensor], name: str) -> tuple[int, int]:
    """Returns (hidden, layers) that the outputs for a batch show."""
    rows, length = batch[INPUT_NAMES[0]].shape
    outputs = _attempt(lambda: encoder(batch), name, f"fails on sentences of {length} tokens")
    _require_names(outputs, ("pooled_output", "sequence_output", "encoder_outputs"), name)
    _require_shape(outputs["pooled_output"], (rows, None), "`pooled_output`", name)
    hidden = outputs["pooled_output"].shape[1]
    layers = list(outputs["encoder_outputs"])
    _require(bool(layers), name, "`encoder_outputs` is empty; should hold one tensor a layer")
    _require_shape(outputs["sequence_output"], (rows, length, hidden), "`sequence_output`", name)
    for number, layer in enumerate(layers):
        _require_shape(layer, (rows, length, hidden), f"`encoder_outputs[{number}]`", name)
    for tensor in (outputs["pooled_output"], outputs["sequence_output"], *layers):
        _require(tensor.dtype.is_floating, name, f"an output is {tensor.dtype.name}; should be float")
    return hidden, len(layers)


def _attempt(call: Callable[[], Any], name: str, fault: str) -> Any:
    try:
        return call()
    except Exception as error:  # Loading and running a foreign SavedModel can raise anything.
        reason = str(error).strip() or type(error).__name__
        # The first line says what is wrong; what follows are the graph's insides.
        raise UserError(f"{name}: {fault}: {reason.splitlines()[0][:300]}") from error


def _require(condition: bool, name: str, fault: str) -> None:
    if not condition:
        raise UserError(f"{name}: {fault}")


def _require_names(outputs: Any, wanted: tuple[str, ...], name: str) -> None:
    found = sorted(outputs) if isinstance(outputs, Mapping) else []
    missing = [key for key in wanted if key not in found]
    _require(not missing, name, f"its outputs lack {', '.join(missing)}; there are {', '.join(found) or 'no names'}")


def _require_shape(tensor: tf.Tensor, wanted: tuple[Optional[int], ...], what: str, name: str) -> None:
    shown = "[" + ", ".join("any" if size is None else str(size) for size in wanted) + "]"
    fits = tensor.shape.is_compatible_with(wanted)
    _require(fits, name, f"{what} has the shape {tensor.shape.as_list()}; should be {shown}")
