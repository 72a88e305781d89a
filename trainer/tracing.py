"""Keeps AutoGraph from rewriting Keras."""

import contextlib
from typing import Iterator

from tensorflow.python.autograph.core import config

# Keras 2's present name, and packages on top of it whose code has no control flow that depends on data.
_LIBRARIES = ("tf_keras", "official", "tensorflow_text")


@contextlib.contextmanager
def libraries_as_written() -> Iterator[None]:
    """Lets TensorFlow trace Keras 2 and what is built on it without rewriting their source first.

    AutoGraph passes over modules that need no rewriting. Its list has `keras`, as Keras 2 was once called, but
    not `tf_keras` (TensorFlow 2.16), so it parses and rewrites hundreds of Keras's own functions: of 48 CPU
    seconds to build, trace and export a two-layer BERT with its preprocess model, 27 go there.
    """
    rules = config.CONVERSION_RULES
    config.CONVERSION_RULES = rules + tuple(config.DoNotConvert(name) for name in _LIBRARIES)
    try:
        yield
    finally:
        config.CONVERSION_RULES = rules
