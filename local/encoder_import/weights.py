"""Finds the weights in a folder, and gives them the names and shapes that `trainer.bert` expects."""

import os
import re
from typing import Mapping, Optional

import numpy as np
import tensorflow as tf

from core.errors import UserError, first_line
from local.encoder_import import tensor_files
from local.encoder_import.architecture import Architecture, read_json
from trainer import bert

# In the order in which they are looked for, as in transformers.
_FILES = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")

# Parts of transformers' names -> parts of tf-models'. `{}` is the layer.
_LAYER = {
    "attention.self.query": "self_attention/query",
    "attention.self.key": "self_attention/key",
    "attention.self.value": "self_attention/value",
    "attention.output.dense": "self_attention/attention_output",
    "attention.output.LayerNorm": "self_attention_layer_norm",
    "intermediate.dense": "intermediate",
    "output.dense": "output",
    "output.LayerNorm": "output_layer_norm",
}
_ALBERT_LAYER = {
    "attention.query": "self_attention/query",
    "attention.key": "self_attention/key",
    "attention.value": "self_attention/value",
    "attention.dense": "self_attention/attention_output",
    "attention.LayerNorm": "self_attention_layer_norm",
    "ffn": "intermediate",
    "ffn_output": "output",
    "full_layer_layer_norm": "output_layer_norm",
}
_DISTILBERT_LAYER = {
    "attention.q_lin": "self_attention/query",
    "attention.k_lin": "self_attention/key",
    "attention.v_lin": "self_attention/value",
    "attention.out_lin": "self_attention/attention_output",
    "sa_layer_norm": "self_attention_layer_norm",
    "ffn.lin1": "intermediate",
    "ffn.lin2": "output",
    "output_layer_norm": "output_layer_norm",
}
_EMBEDDINGS = {
    "word_embeddings": "embeddings.word_embeddings",
    "position_embedding": "embeddings.position_embeddings",
    "type_embeddings": "embeddings.token_type_embeddings",
    "embeddings/layer_norm": "embeddings.LayerNorm",
}
# Prefix of the weights if the file holds a whole model and not only its encoder.
_PREFIXES = {"xlm-roberta": "roberta.", "camembert": "roberta."}

_POOLER = "pooler_transform"


def read_weights(folder: str) -> tuple[tensor_files.Tensors, str]:
    """Reads the weights of a folder of transformers.

    Returns:
      The tensors, and the path of their file or, if there are several, of their index.

    Raises:
      UserError: there are none, or a file is damaged.
    """
    for name in _FILES:
        path = os.path.join(folder, name)
        if os.path.isfile(path):
            return (_read_parts(path) if name.endswith(".json") else _read_file(path)), path
    raise UserError(f"{folder}: holds no weights; should have one of {', '.join(_FILES)}")


def _read_file(path: str) -> tensor_files.Tensors:
    is_safe = path.endswith(".safetensors")
    return tensor_files.read_safetensors(path) if is_safe else tensor_files.read_pytorch(path)


def _read_parts(index: str) -> tensor_files.Tensors:
    files = read_json(index).get("weight_map")
    if not isinstance(files, dict) or not all(isinstance(name, str) for name in files.values()):
        raise UserError(f"{index}: weight_map: should name the file of each weight")
    tensors: tensor_files.Tensors = {}
    for name in sorted(set(files.values())):
        # A name only, because an index must not make other files be read.
        tensors |= _read_file(os.path.join(os.path.dirname(index), os.path.basename(name)))
    return tensors


def read_checkpoint(folder: str) -> tuple[tensor_files.Tensors, str]:
    """Reads the weights of a BERT's original TensorFlow checkpoint, under the names of transformers.

    Returns:
      The tensors, and the path of the checkpoint's index.

    Raises:
      UserError: there is not exactly one checkpoint, or it is damaged.
    """
    found = sorted(name for name in os.listdir(folder) if name.endswith(".index"))
    if len(found) != 1:
        raise UserError(f"{folder}: {len(found)} files *.index; should be one, such as bert_model.ckpt.index")
    path = os.path.join(folder, found[0])
    try:
        reader = tf.train.load_checkpoint(path.removesuffix(".index"))
        names = [name for name in reader.get_variable_to_shape_map() if name.startswith("bert/")]
        return dict(_from_tensorflow(name, reader.get_tensor(name)) for name in names), path
    except (tf.errors.OpError, ValueError, RuntimeError) as error:
        raise UserError(f"{path}: the checkpoint can't be read ({first_line(error)}); copy its files again") from error


def _from_tensorflow(name: str, tensor: np.ndarray) -> tuple[str, np.ndarray]:
    """Returns the name and the orientation that the weight has in transformers."""
    dotted = re.sub(r"/layer_(\d+)/", r".layer.\1.", name).replace("/", ".")
    if dotted.endswith(".kernel"):
        return dotted.removesuffix("kernel") + "weight", tensor.T
    return dotted + ("" if re.search(r"\.(bias|gamma|beta)$", dotted) else ".weight"), tensor


class _Source:
    """Tensors by name without prefix; finding one checks its shape."""

    def __init__(self, tensors: Mapping[str, np.ndarray], prefix: str, path: str):
        self._tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
        self._path = path

    def __contains__(self, name: str) -> bool:
        return f"{name}.weight" in self._tensors

    def find(self, name: str, part: str, shape: tuple[int, ...]) -> np.ndarray:
        """Returns a weight as float32.

        Args:
          name: of the layer.
          part: `weight` or `bias`; of normalisations old files say `gamma` and `beta`.
          shape: the expected shape.

        Raises:
          UserError: it is missing, or has another shape or infinite values.
        """
        old = {"weight": "gamma", "bias": "beta"}[part]
        found = self._tensors.get(f"{name}.{part}", self._tensors.get(f"{name}.{old}"))
        if found is None:
            raise UserError(f"{self._path}: {name}.{part} is missing; the configuration asks for it")
        if found.shape != shape:
            raise UserError(
                f"{self._path}: {name}.{part} has the shape {list(found.shape)}; the configuration asks for "
                f"{list(shape)}"
            )
        if not np.isfinite(found).all():
            raise UserError(f"{self._path}: {name}.{part} holds numbers that are not finite; copy the file again")
        return np.asarray(found, np.float32)


def convert(tensors: Mapping[str, np.ndarray], architecture: Architecture, path: str) -> bert.Bert:
    """Builds the network.

    Without a pooler in the file, the pooled output is tanh of the first token, as in TF Hub's ELECTRAs. A network
    without segments, or with one, gets two equal ones. RoBERTa's position rows for padding are left out.

    Args:
      tensors: by their names in transformers.
      architecture: the sizes that the weights must have.
      path: their file, for errors.

    Raises:
      UserError: a weight is missing or has another shape.
    """
    source = _Source(tensors, _PREFIXES.get(architecture.family, f"{architecture.family}."), path)
    a = architecture
    types = max(a.types, 2)
    shapes = bert.weight_shapes(
        a.vocabulary, a.positions, types, a.embedding, a.hidden, a.layers, a.heads, a.inner, a.shared
    )
    weights = {name: _weight(source, a, name, shape) for name, shape in shapes.items()}
    sizes = bert.Sizes(tuple(shapes), a.vocabulary, a.embedding, a.hidden, a.layers, a.heads, a.shared)
    variables = {name: tf.Variable(value, name=name.removesuffix(":0")) for name, value in weights.items()}
    return bert.Bert(variables, sizes, a.variant)


def has_pooler(tensors: Mapping[str, np.ndarray], architecture: Architecture) -> bool:
    """Returns whether the file holds the weights of a pooler."""
    source = _Source(tensors, _PREFIXES.get(architecture.family, f"{architecture.family}."), "")
    return _pooler_name(architecture) in source


def _pooler_name(architecture: Architecture) -> str:
    return "pooler" if architecture.family == "albert" else "pooler.dense"


def _weight(source: _Source, a: Architecture, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Returns the weight of this name and shape in tf-models."""
    layer, _, part = name.removesuffix(":0").rpartition("/")
    if layer == _POOLER and _pooler_name(a) not in source:
        return np.eye(a.hidden, dtype=np.float32) if part == "kernel" else np.zeros(shape, np.float32)
    if layer == "position_embedding":
        rows = source.find(_EMBEDDINGS[layer], "weight", (a.first_position + a.positions, a.embedding))
        return rows[a.first_position :]
    if layer == "type_embeddings":
        if not a.types:
            return np.zeros(shape, np.float32)
        rows = source.find(_EMBEDDINGS[layer], "weight", (a.types, a.embedding))
        return np.repeat(rows, 2, axis=0) if a.types == 1 else rows
    if part == "kernel":
        # Transposed, and with one axis for the heads and one for their width.
        inputs = shape[0] * shape[1] if layer.endswith("attention_output") else shape[0]
        theirs = (int(np.prod(shape)) // inputs, inputs)
        return source.find(_their_name(a, layer), "weight", theirs).T.reshape(shape)
    # A bias has one axis in transformers.
    flat = (int(np.prod(shape)),) if part == "bias" else shape
    name = {"embeddings": "weight", "gamma": "weight", "bias": "bias", "beta": "bias"}[part]
    return source.find(_their_name(a, layer), name, flat).reshape(shape)


def _their_name(a: Architecture, layer: str) -> str:
    """Returns the name in transformers of a layer with this name in tf-models."""
    if layer in _EMBEDDINGS:
        return _EMBEDDINGS[layer]
    if layer == _POOLER:
        return _pooler_name(a)
    if layer == "embedding_projection":
        return "encoder.embedding_hidden_mapping_in" if a.family == "albert" else "embeddings_project"
    names, block = _block_names(a.family)
    number, inner = _split_layer(layer)
    theirs = {ours: theirs for theirs, ours in names.items()}[inner]
    return f"{block.format(number)}.{theirs}"


def _block_names(family: str) -> tuple[Mapping[str, str], str]:
    if family == "albert":
        return _ALBERT_LAYER, "encoder.albert_layer_groups.0.albert_layers.0"
    if family == "distilbert":
        return _DISTILBERT_LAYER, "transformer.layer.{}"
    return _LAYER, "encoder.layer.{}"


def _split_layer(layer: str) -> tuple[Optional[str], str]:
    match = re.fullmatch(r"transformer/(?:layer_(\d+)/)?(.+)", layer)
    assert match
    return match[1], match[2]
