"""Excludes Keras from AutoGraph's conversion."""

import contextlib
from typing import Iterator

from tensorflow.python.autograph.core import config

# Keras 2, and packages built on it whose code has no data-dependent control flow.
_LIBRARIES = ("tf_keras", "official", "tensorflow_text")


@contextlib.contextmanager
def libraries_as_written() -> Iterator[None]:
    """Makes TensorFlow trace Keras 2, and packages built on it, without AutoGraph's conversion.

    AutoGraph skips modules that need no conversion. Its list contains `keras`, the former name of Keras 2, but not
    `tf_keras` (TensorFlow 2.16), so it converts hundreds of Keras functions, which takes 27 of the 48 CPU seconds to
    build, trace and export a two-layer BERT with its preprocess model.
    """
    rules = config.CONVERSION_RULES
    config.CONVERSION_RULES = rules + tuple(config.DoNotConvert(name) for name in _LIBRARIES)
    try:
        yield
    finally:
        config.CONVERSION_RULES = rules
