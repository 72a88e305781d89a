"""ONNX Runtime (https://onnxruntime.ai) as the engine of a loaded model: the `onnx` extra."""

import os
import tempfile
from typing import Any, Mapping, Sequence

import numpy as np
import onnx
import onnxruntime
import tensorflow as tf
from onnxruntime import quantization

from local.engines import onnx_graph
from schema.task import Task
from trainer.tokens import MASK, TYPE_IDS, WORD_IDS


class OnnxEngine:
    """Computes the outputs of `serving_default`, of which only the tokeniser runs in TensorFlow."""

    def __init__(self, loaded: Any, task: Task, int8: bool):
        """Converts a model.

        Args:
          loaded: the SavedModel.
          task: its task.
          int8: whether matrix products are computed in 8-bit integers: weights are rounded once, for each output
            of a kernel by its own scale, and activations in every call.

        Raises:
          AttributeError: an earlier release exported the model.
          KeyError: the same, or its network is not one that `onnx_graph.build` knows.
        """
        graph = onnx_graph.build(read_weights(loaded))
        content = _quantise(graph) if int8 else graph.SerializeToString()
        options = onnxruntime.SessionOptions()
        # As many as TensorFlow may use; 0 is the default of both.
        options.intra_op_num_threads = tf.config.threading.get_intra_op_parallelism_threads()
        self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        self._pack = loaded.pack
        logits = tf.TensorSpec([None, task.head_units], tf.float32)
        self._outputs = tf.function(task.served_outputs, input_signature=[logits])

    def compute(self, columns: Sequence[tf.Tensor]) -> dict[str, np.ndarray]:
        """Returns the served outputs by name for texts string[batch], or both texts of pairs."""
        packed = {name: tensor.numpy() for name, tensor in self._pack(*columns).items()}
        (logits,) = self._session.run(None, _without_padding(packed))
        return {name: tensor.numpy() for name, tensor in self._outputs(tf.constant(logits)).items()}


def read_weights(loaded: Any) -> dict[str, np.ndarray]:
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


def _quantise(graph: onnx.ModelProto) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file, result = (os.path.join(folder, name) for name in ("float32.onnx", "int8.onnx"))
        onnx.save(graph, file)
        quantization.quantize_dynamic(
            file,
            result,
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            weight_type=quantization.QuantType.QInt8,
            # Of attention, both factors are activations, which stay in float32.
            extra_options={"MatMulConstBOnly": True},
        )
        with open(result, "rb") as stream:
            return stream.read()
