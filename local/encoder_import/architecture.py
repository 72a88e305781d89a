"""What network a `config.json` of transformers, or a `bert_config.json`, describes."""

import dataclasses
import json
import os
from typing import Any, Mapping, Optional

from core.errors import UserError, did_you_mean
from trainer import bert

CONFIG = "config.json"
BERT_CONFIG = "bert_config.json"

# The activations' names in transformers.
_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}

# Values that a configuration may leave out, as in transformers.
_DEFAULTS: Mapping[str, Any] = {
    "vocab_size": 30522,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
}
_ROBERTA_DEFAULTS: Mapping[str, Any] = {**_DEFAULTS, "vocab_size": 50265, "pad_token_id": 1}
_ALBERT_DEFAULTS: Mapping[str, Any] = {
    **_DEFAULTS,
    "vocab_size": 30000,
    "embedding_size": 128,
    "hidden_size": 4096,
    "num_attention_heads": 64,
    "intermediate_size": 16384,
    "hidden_act": "gelu_new",
    "hidden_dropout_prob": 0.0,
    "num_hidden_groups": 1,
    "inner_group_num": 1,
}
_ELECTRA_DEFAULTS: Mapping[str, Any] = {
    **_DEFAULTS,
    "embedding_size": 128,
    "hidden_size": 256,
    "num_attention_heads": 4,
    "intermediate_size": 1024,
}
_DISTILBERT_DEFAULTS: Mapping[str, Any] = {**_DEFAULTS, "num_hidden_layers": 6}
# DistilBERT's own names.
_DISTILBERT_NAMES = {
    "dim": "hidden_size",
    "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads",
    "hidden_dim": "intermediate_size",
    "activation": "hidden_act",
    "dropout": "hidden_dropout_prob",
}

# By `model_type`.
_FAMILIES: Mapping[str, Mapping[str, Any]] = {
    "bert": _DEFAULTS,
    "electra": _ELECTRA_DEFAULTS,
    "albert": _ALBERT_DEFAULTS,
    "roberta": _ROBERTA_DEFAULTS,
    "xlm-roberta": _ROBERTA_DEFAULTS,
    "camembert": _ROBERTA_DEFAULTS,
    "distilbert": _DISTILBERT_DEFAULTS,
}
ROBERTA_FAMILIES = ("roberta", "xlm-roberta", "camembert")


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A network, with the sizes of its weights.

    Attributes:
      family: `model_type` in transformers.
      vocabulary: rows of the word embeddings.
      positions: maximum number of tokens.
      first_position: row of the first token's position; RoBERTa's earlier rows are for padding.
      types: rows of the segment embeddings, 0 if there are none.
      embedding: width of the embeddings.
      hidden: width of the layers.
      layers: number of layers.
      heads: attention heads of a layer.
      inner: width of a layer's feed-forward network.
      variant: activation, epsilon and dropout.
    """

    family: str
    vocabulary: int
    positions: int
    first_position: int
    types: int
    embedding: int
    hidden: int
    layers: int
    heads: int
    inner: int
    variant: bert.Variant

    @property
    def shared(self) -> bool:
        """Whether all layers use one set of weights."""
        return self.family == "albert"


def read(folder: str) -> Architecture:
    """Reads the configuration in a folder of transformers.

    Raises:
      UserError: it is missing or damaged, or describes another kind of network.
    """
    path = os.path.join(folder, CONFIG)
    values = read_json(path)
    family = str(values.get("model_type"))
    if family not in _FAMILIES:
        raise UserError(f"{path}: model_type = {family!r}: can't be imported{did_you_mean(family, _FAMILIES)}")
    if family == "distilbert":
        values = {_DISTILBERT_NAMES.get(name, name): value for name, value in values.items()}
    _check(path, values)
    return _architecture(path, family, {**_FAMILIES[family], **values})


def read_bert_config(folder: str) -> Architecture:
    """Reads the `bert_config.json` beside a checkpoint of TensorFlow.

    Raises:
      UserError: as for `read`.
    """
    path = os.path.join(folder, BERT_CONFIG)
    values = {**_DEFAULTS, **read_json(path)}
    architecture = _architecture(path, "bert", values)
    if values["hidden_act"] == "gelu":
        # BERT's own code computes the approximation under this name.
        variant = dataclasses.replace(architecture.variant, activation="gelu_tanh")
        return dataclasses.replace(architecture, variant=variant)
    return architecture


def read_json(path: str) -> dict[str, Any]:
    """Reads a JSON object.

    Raises:
      UserError: the file is missing, not JSON, or not an object.
    """
    try:
        with open(path, encoding="utf-8") as stream:
            values = json.load(stream)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}); copy the file again") from error
    if not isinstance(values, dict):
        raise UserError(f"{path}: should be a JSON object, is a {type(values).__name__}")
    return values


def _check(path: str, values: Mapping[str, Any]) -> None:
    """Checks the settings that would change the computation."""
    for name, expected in (
        ("position_embedding_type", "absolute"),
        ("is_decoder", False),
        ("add_cross_attention", False),
        ("num_hidden_groups", 1),
        ("inner_group_num", 1),
    ):
        if (value := values.get(name, expected)) not in (expected, None):
            raise UserError(f"{path}: {name} = {value!r}: can't be imported; should be {expected!r}")


def _architecture(path: str, family: str, values: Mapping[str, Any]) -> Architecture:
    activation = values["hidden_act"]
    if activation not in _ACTIVATIONS:
        raise UserError(f"{path}: hidden_act = {activation!r}: should be one of {', '.join(_ACTIVATIONS)}")
    hidden, heads = (_size(path, values, name) for name in ("hidden_size", "num_attention_heads"))
    if hidden % heads:
        raise UserError(f"{path}: hidden_size = {hidden}: should be a multiple of num_attention_heads = {heads}")
    embedding = _size(path, values, "embedding_size") if values.get("embedding_size") else hidden
    if family == "albert" and embedding == hidden:
        raise UserError(f"{path}: embedding_size = {embedding}: should differ from hidden_size for albert")
    first_position = _size(path, values, "pad_token_id", 0) + 1 if family in ROBERTA_FAMILIES else 0
    return Architecture(
        family=family,
        vocabulary=_size(path, values, "vocab_size"),
        positions=_size(path, values, "max_position_embeddings", first_position + 1) - first_position,
        first_position=first_position,
        types=0 if family == "distilbert" else _size(path, values, "type_vocab_size"),
        embedding=embedding,
        hidden=hidden,
        layers=_size(path, values, "num_hidden_layers"),
        heads=heads,
        inner=_size(path, values, "intermediate_size"),
        variant=bert.Variant(
            _ACTIVATIONS[activation],
            _fraction(path, values, "layer_norm_eps"),
            _fraction(path, values, "hidden_dropout_prob"),
        ),
    )


def _size(path: str, values: Mapping[str, Any], name: str, least: int = 1) -> int:
    value = values[name]
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise UserError(f"{path}: {name} = {value!r}: should be a whole number of at least {least}")
    return value


def _fraction(path: str, values: Mapping[str, Any], name: str) -> float:
    value: Optional[Any] = values[name]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
        raise UserError(f"{path}: {name} = {value!r}: should be a number from 0 to below 1")
    return float(value)
