"""Finds what a SavedModel's graph names that is not part of it."""

import os
from typing import Iterable

import tensorflow as tf
from tensorflow.core.framework import node_def_pb2
from tensorflow.core.protobuf import saved_model_pb2


def outside_files(model_path: str) -> list[str]:
    """Returns the files of this machine, and the places in the model's own folder, that constants of the graph name.

    A model has its files as assets, by names that move with it. A path that is a constant is found where the model was
    made, and nowhere else.

    Args:
      model_path: folder in which the SavedModel was made; it can be loaded.
    """
    with tf.io.gfile.GFile(os.path.join(model_path, tf.saved_model.SAVED_MODEL_FILENAME_PB), "rb") as stream:
        model = saved_model_pb2.SavedModel.FromString(stream.read())
    paths = {path for node in _nodes(model) for path in _absolute_paths(node)}
    inside = os.path.join(os.path.abspath(model_path), "")
    return sorted(path for path in paths if os.path.join(path, "").startswith(inside) or os.path.isfile(path))


def _nodes(model: saved_model_pb2.SavedModel) -> Iterable[node_def_pb2.NodeDef]:
    for meta_graph in model.meta_graphs:
        yield from meta_graph.graph_def.node
        for function in meta_graph.graph_def.library.function:
            yield from function.node_def


def _absolute_paths(node: node_def_pb2.NodeDef) -> Iterable[str]:
    if node.op != "Const" or node.attr["dtype"].type != tf.string.as_datatype_enum:
        return
    for value in tf.make_ndarray(node.attr["value"].tensor).ravel():
        # No path of a file holds a NUL, and asking the system for one that does is an error.
        if value.startswith(b"/") and b"\0" not in value:
            yield os.fsdecode(value)
