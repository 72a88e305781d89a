"""The precision of matrix products: the configured one, or the fastest one of this device."""

from typing import Sequence

import tensorflow as tf

# Compute capabilities from which tensor cores multiply bfloat16 (Ampere) and float16 (Volta).
_BFLOAT16_CAPABILITY = (8, 0)
_FLOAT16_CAPABILITY = (7, 0)

# Instructions that multiply bfloat16: AMX of Intel's Sapphire Rapids, and AVX-512 of Cooper Lake and of AMD's Zen 4. On
# an EPYC with the latter, products of BERT's sizes were 1.5 to 1.8 times as fast as in float32.
_BFLOAT16_INSTRUCTIONS = {"amx_bf16", "avx512_bf16"}

# What Linux says of the processors.
_CPU_INFO = "/proc/cpuinfo"


def choose(precision: str, gpus: Sequence[tf.config.PhysicalDevice]) -> tf.DType:
    """Returns the data type for matrix products: float32, bfloat16 or float16.

    `auto` chooses by the device and measures nothing, so that the same seed gives the same model on the same machine
    whatever else is running.

    Args:
      precision: `trainer.precision`.
      gpus: the GPUs that will be used; if there are none, `auto` is the choice for the CPU.
    """
    if precision != "auto":
        return tf.as_dtype(precision)
    if gpus:
        capability = min(tf.config.experimental.get_device_details(gpu)["compute_capability"] for gpu in gpus)
        return for_capability(capability)
    return for_instructions(cpu_instructions())


def for_capability(capability: tuple[int, int]) -> tf.DType:
    """Returns the fastest data type without loss of accuracy for a GPU's compute capability."""
    if capability >= _BFLOAT16_CAPABILITY:
        return tf.bfloat16
    return tf.float16 if capability >= _FLOAT16_CAPABILITY else tf.float32


def for_instructions(instructions: set[str]) -> tf.DType:
    """Returns the fastest data type without loss of accuracy for a CPU's instructions, named as by Linux."""
    return tf.bfloat16 if instructions & _BFLOAT16_INSTRUCTIONS else tf.float32


def cpu_instructions(path: str = _CPU_INFO) -> set[str]:
    """Returns the names of the CPU's instruction sets; none if the system is not Linux on x86."""
    try:
        with open(path, encoding="utf-8", errors="replace") as lines:
            return next((set(line.partition(":")[2].split()) for line in lines if line.startswith("flags")), set())
    except OSError:
        return set()
