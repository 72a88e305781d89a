"""Finds files outside a SavedModel that its graph refers to."""

import os
from typing import Iterable

import tensorflow as tf
from tensorflow.core.framework import node_def_pb2

from artifacts import saved_model


def outside_files(model_path: str) -> list[str]:
    """Returns the constants of the graph that are files on this machine, or paths into the model's own folder.

    The files of a model should be assets, whose paths move with it. A constant path is only valid where the model was
    saved.

    Args:
      model_path: folder where the SavedModel was saved; it must be loadable.
    """
    paths = {path for node in saved_model.read_nodes(model_path) for path in _absolute_paths(node)}
    inside = os.path.join(os.path.abspath(model_path), "")
    return sorted(path for path in paths if os.path.join(path, "").startswith(inside) or os.path.isfile(path))


def _absolute_paths(node: node_def_pb2.NodeDef) -> Iterable[str]:
    if node.op != "Const" or node.attr["dtype"].type != tf.string.as_datatype_enum:
        return
    for value in tf.make_ndarray(node.attr["value"].tensor).ravel():
        # A path can't contain NUL; `os.path.isfile` would raise.
        if value.startswith(b"/") and b"\0" not in value:
            yield os.fsdecode(value)
