"""The signatures of a SavedModel, in the form of TensorFlow Serving's metadata."""

import os
from typing import Any, Mapping

import tensorflow as tf
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import saved_model_pb2

_SERVE = "serve"


def read_signatures(folder: str) -> dict[str, Any]:
    """Returns name -> signature of a SavedModel."""
    with open(os.path.join(folder, tf.saved_model.SAVED_MODEL_FILENAME_PB), "rb") as stream:
        content = saved_model_pb2.SavedModel.FromString(stream.read())
    (graph,) = [graph for graph in content.meta_graphs if _SERVE in graph.meta_info_def.tags]
    return {
        name: {
            "inputs": _describe_tensors(signature.inputs),
            "outputs": _describe_tensors(signature.outputs),
            "method_name": signature.method_name,
        }
        for name, signature in sorted(graph.signature_def.items())
    }


def _describe_tensors(tensors: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: {
            "dtype": types_pb2.DataType.Name(tensor.dtype),
            "tensor_shape": {
                "dim": [{"size": str(dim.size), "name": dim.name} for dim in tensor.tensor_shape.dim],
                "unknown_rank": tensor.tensor_shape.unknown_rank,
            },
            "name": tensor.name,
        }
        for name, tensor in sorted(tensors.items())
    }
