"""The SavedModel of an encoder: how it is called, and what its file says without loading it.

TF Hub's common API for text leaves open whether a model's call has a `training` argument, whether the pooled output is
named `pooled_output` or only `default`, and which of its variables can be trained.
"""

import dataclasses
import inspect
import os
import re
from typing import Any, Mapping, Optional

import tensorflow as tf
from google.protobuf import message
from tensorflow.core.protobuf import saved_model_pb2

from core.errors import UserError

POOLED = "pooled_output"
# TF Hub's name of the one output that every text model has.
_DEFAULT = "default"
SEQUENCE = "sequence_output"

# Names of tf-models and of Google's original implementations. Relative positions do not limit the length.
_POSITIONS = re.compile(r"(?<!relative_)position_embeddings?\b")
_WORDS = re.compile(r"word_embeddings?\b")
_LAYER = re.compile(r"\blayer_(\d+)/")


@dataclasses.dataclass(frozen=True)
class Layout:
    """What the file of a SavedModel says about its variables.

    Attributes:
      positions: the largest number of tokens that have a position embedding, None if no variable has that name.
      vocabulary: number of word embeddings, None if no variable has that name.
      layers: number of layers in the names of the variables, None if there are none.
      trainable: number of variables that can be trained.
    """

    positions: Optional[int]
    vocabulary: Optional[int]
    layers: Optional[int]
    trainable: int


def read_layout(folder: str) -> Optional[Layout]:
    """Reads the variables' names and shapes from `saved_model.pb`; None if it is not the file of a SavedModel."""
    model = saved_model_pb2.SavedModel()
    try:
        with tf.io.gfile.GFile(os.path.join(folder, tf.saved_model.SAVED_MODEL_FILENAME_PB), "rb") as stream:
            model.ParseFromString(stream.read())
        nodes = model.meta_graphs[0].object_graph_def.nodes
        children = {child.local_name: child.node_id for child in nodes[0].children}
    except (tf.errors.OpError, message.DecodeError, IndexError):
        return None
    variables = [node.variable for node in nodes if node.WhichOneof("kind") == "variable"]
    shapes = {variable.name: [size.size for size in variable.shape.dim] for variable in variables}
    layers = {match[1] for name in shapes if (match := _LAYER.search(name))}
    trainable = children.get("trainable_variables")
    return Layout(
        positions=_rows(shapes, _POSITIONS),
        vocabulary=_rows(shapes, _WORDS),
        layers=len(layers) or None,
        trainable=0 if trainable is None else len(nodes[trainable].children),
    )


def _rows(shapes: Mapping[str, list[int]], name: re.Pattern[str]) -> Optional[int]:
    """Returns the number of rows of the first matrix with this name."""
    return next((shape[0] for each, shape in shapes.items() if len(shape) == 2 and name.search(each)), None)


def check_use(folder: str, name: str, mode: str, max_length: int) -> None:
    """Checks that an encoder can be trained as configured.

    Args:
      folder: the encoder's SavedModel.
      name: its name in errors.
      mode: `trainer.mode`.
      max_length: `trainer.max_length`.

    Raises:
      UserError: it has no variables to train, or fewer positions than that.
    """
    layout = read_layout(folder)
    if layout is None:
        return
    if layout.positions is not None and layout.positions < max_length:
        raise too_long(max_length, name, layout.positions)
    if mode == "fine_tune" and not layout.trainable:
        raise untrainable(name)


def too_long(max_length: int, name: str, longest: int) -> UserError:
    """Returns the error about a `trainer.max_length` that an encoder does not take."""
    return UserError(
        f"trainer.max_length = {max_length}: {name} takes at most {longest} tokens; set trainer.max_length={longest}"
    )


def untrainable(name: str) -> UserError:
    """Returns the error about an encoder that can't be fine-tuned."""
    return UserError(
        f"trainer.mode = fine_tune: {name} has no variables that can be trained; set trainer.mode=feature_based, which "
        "trains only the classification layer"
    )


def call(encoder: Any, inputs: Mapping[str, tf.Tensor], training: bool = False) -> Mapping[str, Any]:
    """Calls a loaded encoder.

    Args:
      encoder: from `tf.saved_model.load`.
      inputs: int32[batch, seq] by input name.
      training: whether dropout is on, if its call has the argument.

    Returns:
      The outputs by name.
    """
    has_training = "training" in inspect.signature(encoder.__call__).parameters
    return encoder(inputs, training=training) if has_training else encoder(inputs)


def pooled_name(outputs: Mapping[str, Any]) -> str:
    """Returns the name of the pooled output."""
    return POOLED if POOLED in outputs or _DEFAULT not in outputs else _DEFAULT
