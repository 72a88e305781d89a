"""The precision of matrix products: the configured one, or the fastest one on this device."""

import logging
import time
from typing import Sequence

import tensorflow as tf

# The speedup of bfloat16 products that compensates for the casts around them.
WORTHWHILE_SPEEDUP = 1.5

# Compute capabilities from which tensor cores multiply bfloat16 (Ampere) and float16 (Volta).
_BFLOAT16_CAPABILITY = (8, 0)
_FLOAT16_CAPABILITY = (7, 0)

# A batch of 32 reviews of 20 tokens through BERT-base's inner layer.
_SHAPE = (640, 768, 3072)
_ROUNDS = 5
_PRODUCTS_PER_ROUND = 5


def choose(precision: str, gpus: Sequence[tf.config.PhysicalDevice]) -> tf.DType:
    """Returns the data type for matrix products: float32, bfloat16 or float16.

    Args:
      precision: `trainer.precision`; `auto` chooses by the GPUs' compute capability or, without a GPU, by a
        measurement of about a second.
      gpus: the GPUs that will be used.
    """
    if precision != "auto":
        return tf.as_dtype(precision)
    if gpus:
        capability = min(tf.config.experimental.get_device_details(gpu)["compute_capability"] for gpu in gpus)
        return for_capability(capability)
    rates = {dtype: matmul_rate(dtype, _SHAPE) for dtype in (tf.float32, tf.bfloat16)}
    speedup = rates[tf.bfloat16] / rates[tf.float32]
    logging.info("bfloat16 products are %.2f times as fast as float32 products on this device", speedup)
    return tf.bfloat16 if speedup >= WORTHWHILE_SPEEDUP else tf.float32


def for_capability(capability: tuple[int, int]) -> tf.DType:
    """Returns the fastest data type without loss of accuracy for a GPU's compute capability."""
    if capability >= _BFLOAT16_CAPABILITY:
        return tf.bfloat16
    return tf.float16 if capability >= _FLOAT16_CAPABILITY else tf.float32


def matmul_rate(dtype: tf.DType, shape: tuple[int, int, int]) -> float:
    """Measures the speed of matrix products: the best of several rounds, since the machine may be shared.

    Args:
      dtype: data type of the matrices.
      shape: rows, inner size and columns.

    Returns:
      Floating-point operations per second.
    """
    rows, inner, columns = shape
    left, right = tf.ones([rows, inner], dtype), tf.ones([inner, columns], dtype)
    product = tf.function(tf.matmul, autograph=False)
    product(left, right).numpy()
    seconds = []
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        for _ in range(_PRODUCTS_PER_ROUND):
            result = product(left, right)
        # Waits for the last product.
        result.numpy()
        seconds.append(time.perf_counter() - start)
    return 2.0 * rows * inner * columns * _PRODUCTS_PER_ROUND / min(seconds)
