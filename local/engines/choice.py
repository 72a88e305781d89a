"""Makes the engine of a model, and lets it answer only if its answers are those of TensorFlow."""

import dataclasses
import functools
import itertools
import os
from typing import Any, Callable, Mapping, Optional, Protocol, Sequence

import numpy as np
import tensorflow as tf

from core import installation
from core.errors import UserError
from local.engines import ONNX, ONNX_INT8, OPENVINO, TENSORFLOW
from schema.task import Task

# Texts of the gate: enough that one wrong weight shows, few enough to add only a second to the load of BERT-base.
_TEXTS = 64

Outputs = Mapping[str, np.ndarray]


class Engine(Protocol):
    """Computes answers."""

    def compute(self, columns: Sequence[tf.Tensor]) -> dict[str, np.ndarray]:
        """Returns the served outputs by name for texts string[batch], or both texts of pairs."""


@dataclasses.dataclass(frozen=True)
class Bounds:
    """How far an engine's answers may be from TensorFlow's.

    Attributes:
      mean: mean difference of the answers to a text: of the probability, the largest of any class, or of a score as a
        share of its range.
      largest: the largest difference.
    """

    mean: float
    largest: float


# Float32 sums in another order; and 8-bit integers, which moved trained models' probabilities by 0.001 on average.
BOUNDS = {ONNX: Bounds(1e-4, 1e-3), ONNX_INT8: Bounds(0.01, 0.1), OPENVINO: Bounds(1e-4, 1e-3)}


def make_engine(
    name: str, folder: str, loaded: Any, task: Task, expected: Callable[[Any], Outputs]
) -> Optional[Engine]:
    """Makes an engine for a loaded model, whose answers are close to the model's own.

    Args:
      name: one of `local.engines.NAMES`.
      folder: the model's folder.
      loaded: the SavedModel.
      task: the model's task.
      expected: rows of texts -> the model's own outputs.

    Returns:
      The engine; None for TensorFlow itself.

    Raises:
      UserError: the engine is not installed, can't compute this model, or is refused by the gate.
    """
    if name == TENSORFLOW:
        return None
    try:
        convert = _import(name)
    except ImportError as error:
        raise UserError(
            f"--engine {name}: {error.name or 'a package'} is not installed; install the extra onnx: "
            "sh scripts/setup.sh onnx, or the packages of requirements/*/onnx.txt"
        ) from error
    try:
        engine = convert(loaded, task)
    except (AttributeError, KeyError) as error:  # No `pack`, or not the expected weights.
        raise UserError(
            f"--engine {name}: {folder}: can't be converted; its encoder should be a BERT whose layers do not share "
            "weights, with trainer.pooling = pooler, exported by this release or a later one; leave --engine out"
        ) from error
    check(name, engine, task, expected)
    return engine


def _import(name: str) -> Callable[[Any, Task], Engine]:
    """Returns what makes the engine of a SavedModel, from an optional extra."""
    from local.engines import onnx_engine

    if name == OPENVINO:
        from local.engines import openvino_runtime

        return functools.partial(onnx_engine.OnnxEngine, compile_graph=openvino_runtime.compile_float32)
    from local.engines import onnx_runtime

    compile_graph = onnx_runtime.compile_int8 if name == ONNX_INT8 else onnx_runtime.compile_float32
    return functools.partial(onnx_engine.OnnxEngine, compile_graph=compile_graph)


def check(name: str, engine: Engine, task: Task, expected: Callable[[Any], Outputs]) -> None:
    """Compares an engine's answers with the model's own.

    Raises:
      UserError: they differ by more than `BOUNDS`.
    """
    rows = _rows(len(task.text_inputs))
    answers = engine.compute([tf.constant(column) for column in zip(*rows, strict=True)])
    differences = np.abs(task.comparable(answers) - task.comparable(expected(rows))).reshape(len(rows), -1).max(axis=1)
    bounds, mean, largest = BOUNDS[name], float(differences.mean()), float(differences.max())
    # NaN is within no bounds.
    if not (mean <= bounds.mean and largest <= bounds.largest):
        raise UserError(
            f"--engine {name}: its answers to {len(rows)} texts differ from TensorFlow's by {mean:.2g} on average and "
            f"{largest:.2g} at most; at most {bounds.mean:g} and {bounds.largest:g} are accepted; leave --engine out"
        )


def _rows(texts: int) -> list[tuple[str, ...]]:
    """Returns rows of so many texts each, from the bundled sample: reviews of all lengths."""
    path = os.path.join(installation.ROOT, "data", "sample", "ratings_test.txt")
    with open(path, encoding="utf-8") as stream:
        fields = (line.split("\t") for line in itertools.islice(stream, 1, None))
        found = list(itertools.islice((field[1] for field in fields if len(field) > 1), _TEXTS * texts))
    return list(zip(*(found[index::texts] for index in range(texts)), strict=True))
