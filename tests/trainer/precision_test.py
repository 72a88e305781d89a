"""The choice of the precision."""

import pytest
import tensorflow as tf

from trainer import precision


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
def test_the_configured_precision_is_chosen(name):
    assert precision.choose(name, []) == tf.as_dtype(name)


@pytest.mark.parametrize(("speedup", "chosen"), [(0.6, tf.float32), (1.4, tf.float32), (1.6, tf.bfloat16)])
def test_the_precision_of_a_cpu_depends_on_a_measurement(monkeypatch, speedup, chosen):
    rates = {tf.float32: 1e11, tf.bfloat16: speedup * 1e11}
    monkeypatch.setattr(precision, "matmul_rate", lambda dtype, shape: rates[dtype])
    assert precision.choose("auto", []) == chosen


@pytest.mark.parametrize(
    ("capability", "chosen"),
    [((6, 1), tf.float32), ((7, 0), tf.float16), ((7, 5), tf.float16), ((8, 0), tf.bfloat16), ((9, 0), tf.bfloat16)],
)
def test_the_precision_of_a_gpu_depends_on_its_capability(capability, chosen):
    assert precision.for_capability(capability) == chosen


def test_the_measured_rate_is_plausible():
    # Loose bounds for any processor.
    assert 1e6 < precision.matmul_rate(tf.float32, (64, 64, 64)) < 1e15
