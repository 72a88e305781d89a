"""In which precision to multiply matrices: what the configuration says, or what this device does faster."""

import logging
import time
from typing import Sequence

import tensorflow as tf

# bfloat16 has to be that much faster in products alone to pay for the casts around them.
WORTHWHILE_SPEEDUP = 1.5

# From this compute capability on a GPU multiplies bfloat16 in its tensor cores (Ampere), or float16 (Volta).
_BFLOAT16_CAPABILITY = (8, 0)
_FLOAT16_CAPABILITY = (7, 0)

# A batch of 32 reviews of 20 tokens through BERT-base's inner layer.
_SHAPE = (640, 768, 3072)
_ROUNDS = 5
_PRODUCTS_A_ROUND = 5


def choose(precision: str, gpus: Sequence[tf.config.PhysicalDevice]) -> tf.DType:
    """Returns the type to multiply in: float32, bfloat16 or float16.

    Args:
      precision: `trainer.precision`; `auto` decides by the GPUs' capability or, without one, by a measurement of
        about a second.
      gpus: those that will be used.
    """
    if precision != "auto":
        return tf.as_dtype(precision)
    if gpus:
        capability = min(tf.config.experimental.get_device_details(gpu)["compute_capability"] for gpu in gpus)
        return for_capability(capability)
    rates = {dtype: matmul_rate(dtype, _SHAPE) for dtype in (tf.float32, tf.bfloat16)}
    speedup = rates[tf.bfloat16] / rates[tf.float32]
    logging.info("bfloat16 products are %.2f times as fast as float32's here", speedup)
    return tf.bfloat16 if speedup >= WORTHWHILE_SPEEDUP else tf.float32


def for_capability(capability: tuple[int, int]) -> tf.DType:
    """Returns the type that a GPU of a compute capability multiplies fastest in without loss of accuracy."""
    if capability >= _BFLOAT16_CAPABILITY:
        return tf.bfloat16
    return tf.float16 if capability >= _FLOAT16_CAPABILITY else tf.float32


def matmul_rate(dtype: tf.DType, shape: tuple[int, int, int]) -> float:
    """Measures products of two matrices: the best of some rounds, since others work on the machine too.

    Args:
      dtype: the matrices'.
      shape: rows, inner size and columns.

    Returns:
      Floating-point operations a second.
    """
    rows, inner, columns = shape
    left, right = tf.ones([rows, inner], dtype), tf.ones([inner, columns], dtype)
    product = tf.function(tf.matmul, autograph=False)
    product(left, right).numpy()
    seconds = []
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        for _ in range(_PRODUCTS_A_ROUND):
            made = product(left, right)
        # The last product is only done once it is read.
        made.numpy()
        seconds.append(time.perf_counter() - start)
    return 2.0 * rows * inner * columns * _PRODUCTS_A_ROUND / min(seconds)
