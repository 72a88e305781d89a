"""The rates at which TensorFlow multiplies matrices of a training step's sizes on this machine."""

import time
from typing import Sequence

import rich.table
import tensorflow as tf

from benchmarks.training.shapes import MatMul

# Large enough for the machine's peak rate; 0.2 s per product at 10 GFLOP/s.
BIG = MatMul("big matrices", 1024, 1024, 1024, 1)
DTYPES = (tf.float32, tf.bfloat16)

_ROUNDS = 5
_PRODUCTS_PER_ROUND = 5


def measure(products: Sequence[MatMul]) -> dict[str, list[float]]:
    """Returns name of the dtype -> rates of the products in GFLOP/s."""
    return {dtype.name: [matmul_rate(dtype, (one.m, one.k, one.n)) / 1e9 for one in products] for dtype in DTYPES}


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


def step_rate(products: Sequence[MatMul], rates: Sequence[float]) -> float:
    """Returns the rate of all products of a step: their operations divided by the time that they take."""
    operations = [product.flops * product.count for product in products]
    return sum(operations) / sum(count / rate for count, rate in zip(operations, rates, strict=True))


def table(products: Sequence[MatMul], rates: dict[str, list[float]]) -> rich.table.Table:
    """Makes the table of rates, of float32 and bfloat16."""
    made = rich.table.Table(title="Matrix products of this machine, GFLOP/s")
    for column in ("product", "m x k x n", *rates, "bfloat16 ÷ float32"):
        made.add_column(column, justify="left" if column == "product" else "right")
    for product, float32, bfloat16 in zip(products, rates["float32"], rates["bfloat16"], strict=True):
        size = f"{product.m} x {product.k} x {product.n}"
        made.add_row(product.what, size, f"{float32:.1f}", f"{bfloat16:.1f}", f"{bfloat16 / float32:.2f}")
    return made
