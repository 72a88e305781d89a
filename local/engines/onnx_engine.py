"""An ONNX graph as the engine of a loaded model: the `onnx` extra."""

from typing import Any, Callable, Mapping, Sequence

import numpy as np
import onnx
import tensorflow as tf

from local.engines import onnx_graph
from schema.task import Task
from trainer.tokens import MASK, TYPE_IDS, WORD_IDS

# The inputs of `onnx_graph` by name -> its logits float32[batch, head_units].
Compute = Callable[[Mapping[str, np.ndarray]], np.ndarray]


class OnnxEngine:
    """Computes the outputs of `serving_default`, of which only the tokeniser runs in TensorFlow."""

    def __init__(self, loaded: Any, task: Task, compile_graph: Callable[[onnx.ModelProto], Compute]):
        """Converts a model.

        Args:
          loaded: the SavedModel.
          task: its task.
          compile_graph: makes a graph of `onnx_graph` a function.

        Raises:
          AttributeError: an earlier release exported the model.
          KeyError: the same, or its network is not one that `onnx_graph.build` knows.
        """
        self._compute_logits = compile_graph(onnx_graph.build(_read_weights(loaded)))
        self._pack = loaded.pack
        logits = tf.TensorSpec([None, task.head_units], tf.float32)
        self._outputs = tf.function(task.served_outputs, input_signature=[logits])

    def compute(self, columns: Sequence[tf.Tensor]) -> dict[str, np.ndarray]:
        """Returns the served outputs by name for texts string[batch], or both texts of pairs."""
        packed = {name: tensor.numpy() for name, tensor in self._pack(*columns).items()}
        logits = self._compute_logits(_without_padding(packed))
        return {name: tensor.numpy() for name, tensor in self._outputs(tf.constant(logits)).items()}


def _read_weights(loaded: Any) -> dict[str, np.ndarray]:
    """Returns the weights of a SavedModel by name."""
    variables = [each for each in tf.train.TrackableView(loaded).descendants() if isinstance(each, tf.Variable)]
    return {each.name.removesuffix(":0"): each.numpy() for each in variables}


def _without_padding(packed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the inputs of the graph for the encoder's inputs int32[batch, seq]."""
    mask = packed[MASK] > 0
    places = np.flatnonzero(mask)
    tokens = mask.cumsum().reshape(mask.shape) - 1
    return {
        "word_ids": packed[WORD_IDS].ravel()[places].astype(np.int64),
        "type_ids": packed[TYPE_IDS].ravel()[places].astype(np.int64),
        "positions": places % mask.shape[1],
        "places": places,
        "tokens": tokens,
        "starts": np.ascontiguousarray(tokens[:, 0]),
        "bias": np.where(mask, 0.0, onnx_graph.HIDDEN).astype(np.float32)[:, np.newaxis, np.newaxis],
    }
