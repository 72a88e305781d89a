"""The graph of a SavedModel: its nodes, and the operations that a server has to know."""

import os
from typing import Iterator

import tensorflow as tf
from tensorflow.core.framework import node_def_pb2
from tensorflow.core.protobuf import saved_model_pb2

# Operations of TF Text since 2.13. TensorFlow Serving 2.14 to 2.19 has TF Text 2.12, and can't load a model with them.
NEW_TEXT_OPERATIONS = frozenset({"TFText>RoundRobinGenerateMasks", "TFText>RoundRobinTrim", "TFText>Utf8Binarize"})


def read_nodes(folder: str) -> Iterator[node_def_pb2.NodeDef]:
    """Yields the nodes of a SavedModel's graph and of all its functions, called or not.

    Args:
      folder: the model's folder.
    """
    with tf.io.gfile.GFile(os.path.join(folder, tf.saved_model.SAVED_MODEL_FILENAME_PB), "rb") as stream:
        model = saved_model_pb2.SavedModel.FromString(stream.read())
    for meta_graph in model.meta_graphs:
        yield from meta_graph.graph_def.node
        for function in meta_graph.graph_def.library.function:
            yield from function.node_def


def read_operations(folder: str) -> set[str]:
    """Returns the names of all operations in a SavedModel."""
    return {node.op for node in read_nodes(folder)}


def needs_new_text_operations(folder: str) -> bool:
    """Returns whether loading a SavedModel needs TF Text 2.13, or TensorFlow Serving 2.20."""
    return not NEW_TEXT_OPERATIONS.isdisjoint(read_operations(folder))
