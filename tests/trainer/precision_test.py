"""The choice of the precision."""

import pytest
import tensorflow as tf

from trainer import precision

XEON = "processor\t: 0\nmodel name\t: X\nflags\t\t: fpu avx512f avx512_bf16 amx_bf16 amx_tile\nbugs\t\t: spectre\n"


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
def test_the_configured_precision_is_chosen(name):
    assert precision.choose(name, []) == tf.as_dtype(name)


@pytest.mark.parametrize(
    ("content", "chosen"),
    [
        (XEON, tf.bfloat16),
        ("flags\t\t: fpu avx512f avx512_bf16\n", tf.bfloat16),
        ("flags\t\t: fpu avx512f avx512_vnni\n", tf.float32),
        ("model name\t: avx512_bf16\n", tf.float32),
        ("", tf.float32),
        (None, tf.float32),
    ],
)
def test_the_precision_of_a_cpu_depends_on_its_instructions(tmp_path, content, chosen):
    if content is not None:
        (tmp_path / "cpuinfo").write_text(content)
    assert precision.for_instructions(precision.cpu_instructions(str(tmp_path / "cpuinfo"))) == chosen


def test_the_choice_is_the_same_at_every_time():
    assert len({precision.choose("auto", []) for _ in range(20)}) == 1


@pytest.mark.parametrize(
    ("capability", "chosen"),
    [((6, 1), tf.float32), ((7, 0), tf.float16), ((7, 5), tf.float16), ((8, 0), tf.bfloat16), ((9, 0), tf.bfloat16)],
)
def test_the_precision_of_a_gpu_depends_on_its_capability(capability, chosen):
    assert precision.for_capability(capability) == chosen
