"""Shapes of encoders, and the arithmetic of a training step on them."""

import dataclasses
import re
from typing import Sequence

import numpy as np

# BERT's own ratios (Devlin et al. 2019).
_HEAD_WIDTH = 64
_FEED_FORWARD_RATIO = 4
# The gradients with respect to a product's two factors take a product of the same size each.
_TRAINING_RATIO = 3


@dataclasses.dataclass(frozen=True)
class Shape:
    """The size of a BERT; heads are 64 wide, the feed-forward layer is 4 times as wide as the others."""

    layers: int
    hidden: int

    @property
    def heads(self) -> int:
        """Number of attention heads of a layer."""
        return self.hidden // _HEAD_WIDTH

    @property
    def feed_forward(self) -> int:
        """Width of the feed-forward layer."""
        return self.hidden * _FEED_FORWARD_RATIO

    def __str__(self) -> str:
        return f"{self.layers}x{self.hidden}"


def parse_shape(text: str) -> Shape:
    """Parses `4x256`: layers and width.

    Raises:
      ValueError: wrong format, or the width is not a multiple of 64.
    """
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if not match or int(match[2]) % _HEAD_WIDTH:
        raise ValueError(f"{text!r} should be layers x width, such as 4x256; the width a multiple of {_HEAD_WIDTH}")
    return Shape(int(match[1]), int(match[2]))


def step_flops(lengths: Sequence[int], layers: int, hidden: int, feed_forward: int) -> int:
    """Counts the floating-point operations of the matrix products in training a BERT classifier on some rows.

    A multiplication of [m, k] by [k, n] takes 2mkn. A layer takes 8nh^2 for the projections to query, key, value
    and output of n tokens of width h, 4n^2h for attention scores and the weighted sums, 4nhf for the
    feed-forward layer of width f (Narayanan et al. 2021, "Efficient Large-Scale Language Model Training on GPU
    Clusters", appendix). Of the last layer only the first token's output is used: all tokens' keys and values,
    the rest for one token. Then the pooler, 2h^2, and one logit, 2h. The backward pass takes twice as much.
    Padding is not counted. Embeddings are looked up, and the other operations take O(h) per token.

    Args:
      lengths: number of tokens of each row.
      layers: at least 1.
      hidden: h.
      feed_forward: f.

    Returns:
      Number of operations of one forward and one backward pass over all rows.
    """
    n = np.asarray(lengths, np.int64)
    full_layer = 8 * n * hidden**2 + 4 * n**2 * hidden + 4 * n * hidden * feed_forward
    last_layer = 4 * n * hidden**2 + 4 * hidden**2 + 4 * n * hidden + 4 * hidden * feed_forward
    head = 2 * hidden**2 + 2 * hidden
    return _TRAINING_RATIO * int(((layers - 1) * full_layer + last_layer + head).sum())


@dataclasses.dataclass(frozen=True)
class MatMul:
    """A product [m, k] x [k, n] that a training step computes `count` times per layer."""

    what: str
    m: int
    k: int
    n: int
    count: int

    @property
    def flops(self) -> int:
        """Number of operations of one such product."""
        return 2 * self.m * self.k * self.n


def step_matmuls(tokens: int, shape: Shape) -> list[MatMul]:
    """Lists the matrix products of a layer (not the last) in a step over some tokens, without attention scores.

    Forward, for the gradient with respect to the input, and with respect to the weight; query, key and value are
    one product.
    """
    t, h, f = tokens, shape.hidden, shape.feed_forward
    return [
        MatMul("query, key, value", t, h, 3 * h, 1),
        MatMul("query, key, value: to input", t, 3 * h, h, 1),
        MatMul("query, key, value: to weight", h, t, 3 * h, 1),
        MatMul("attention output, and to input", t, h, h, 2),
        MatMul("attention output: to weight", h, t, h, 1),
        MatMul("feed-forward in; out to input", t, h, f, 2),
        MatMul("feed-forward out; in to input", t, f, h, 2),
        MatMul("feed-forward: to weight", h, t, f, 2),
    ]
