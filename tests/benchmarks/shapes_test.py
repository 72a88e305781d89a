import numpy as np
import pytest
import tensorflow as tf

from benchmarks.training import floor, rates
from benchmarks.training.shapes import Shape, parse_shape, step_flops, step_matmuls


def test_flops_of_one_row_counted_by_hand():
    # Two tokens, width 3, feed-forward 5, one layer. Forward: keys and values of both tokens 2 * 2*2*3*3 = 72, query
    # and output of one 2 * 2*3*3 = 36, scores and weighted sum 2 * 2*2*3 = 24, feed-forward 2 * 2*3*5 = 60, pooler
    # 2*3*3 = 18, logit 2*3 = 6: 216. Backward twice that.
    assert step_flops([2], layers=1, hidden=3, feed_forward=5) == 3 * 216


def test_a_layer_before_the_last_counts_all_tokens():
    # Two tokens: four projections 4 * 2*2*3*3 = 144, scores and weighted sums 2 * 2*2*2*3 = 48, feed-forward
    # 2 * 2*2*3*5 = 120: 312.
    two, one = (step_flops([2], layers, hidden=3, feed_forward=5) for layers in (2, 1))
    assert two - one == 3 * 312


def test_flops_of_rows_add_up_without_overflow():
    lengths = np.full(150_000, 128, np.int32)
    assert step_flops(lengths, 12, 768, 3072) == 150_000 * step_flops([128], 12, 768, 3072)


def test_a_steps_products_are_nearly_all_flops_of_a_layer():
    rows = [20] * 32
    products = sum(product.flops * product.count for product in step_matmuls(sum(rows), Shape(2, 768)))
    layer = step_flops(rows, 2, 768, 3072) - step_flops(rows, 1, 768, 3072)
    # Attention's own products are the rest.
    assert products < layer < 1.01 * products


def test_shapes_are_parsed():
    shape = parse_shape("12x768")
    assert (shape.layers, shape.hidden, shape.heads, shape.feed_forward) == (12, 768, 12, 3072)


@pytest.mark.parametrize("text", ["4", "4x", "0x256", "4x100", "4x256x4", "four"])
def test_a_malformed_shape_is_refused(text):
    with pytest.raises(ValueError, match="layers x width"):
        parse_shape(text)


def test_the_floor_is_the_rate_over_an_examples_operations():
    flops = step_flops([2, 4], 1, 64, 256) / 2
    (found,) = floor.floors([2, 4], Shape(1, 64), {"big": 1.0})
    assert found.examples_per_s == pytest.approx(1e9 / flops)


def test_the_measured_rate_is_plausible():
    # Loose bounds for any processor.
    assert 1e6 < rates.matmul_rate(tf.float32, (64, 64, 64)) < 1e15
