"""The result of the evaluation: the names of its metrics, and what TFMA's files say.

Read without TFMA, whose import takes seconds in each task that only wants the numbers.
"""

import dataclasses
import functools
import importlib.util
import json
import os
import sys
from typing import Any, Iterator, Mapping, NamedTuple, Optional

import tensorflow as tf

from schema.task import Label

CANDIDATE = "candidate"
BASELINE = "baseline"

# The slice of all rows.
OVERALL = "overall"

EXAMPLE_COUNT = "example_count"

# Suffix of the standard error of a metric's difference between the candidate and the baseline.
ERROR_SUFFIX = "_diff_error"

# Suffixes of the ends of the 95 % confidence interval of the candidate's metric.
LOW_SUFFIX, HIGH_SUFFIX = "_low", "_high"

# Name of the metric with `paired.Results.details`, as JSON.
SCORES = "scores"

# Name of the metric with the `Row`s of each list, as JSON.
NOTABLE_ROWS = "notable_rows"

# The lists: the candidate's mistakes, for classes on the rows of each label; the rows that only the candidate answers
# correctly, and those that only the baseline does.
MISTAKES = "mistakes"
FIXED, BROKEN = "fixed", "broken"

_METRICS_FILES = "metrics-*-of-*"
_MESSAGES = "tensorflow_model_analysis.proto.metrics_for_slice_pb2"


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Both models on the same rows: all of them, or a slice.

    Attributes:
      rows: number of rows.
      candidate: metric name -> value; `nan` if it is undefined on these rows.
      baseline: the same for the baseline.
      errors: metric name -> standard error of the difference between the two.
      bounds: metric name -> ends of the 95 % confidence interval of the candidate's value; nan if they are unknown.
    """

    rows: int
    candidate: Mapping[str, float]
    baseline: Mapping[str, float]
    errors: Mapping[str, float]
    bounds: Mapping[str, tuple[float, float]] = dataclasses.field(default_factory=dict)


class Row(NamedTuple):
    """A test row.

    Attributes:
      id: its id.
      text: its text, or both texts of a pair.
      label: its label feature.
      candidate: what the candidate says of it: for two classes the probability of class 1, for more that of its class;
        a score.
      baseline: the same of the baseline.
      classes: for more than two classes, those of the candidate and of the baseline.
    """

    id: str
    text: str
    label: Label
    candidate: float
    baseline: float
    classes: Optional[tuple[int, int]] = None


def read_comparisons(folder: str) -> dict[str, Comparison]:
    """Reads an evaluation's folder.

    Returns:
      `OVERALL` and the name of each slice that has rows (`schema.slices.NAMES`) -> both models on its rows.
    """
    result = {}
    for in_slice in _read(folder):
        candidate, baseline = (
            {
                each.key.name: each.value.double_value.value
                for each in _of_model(in_slice, model)
                # TFMA's differences are redundant: both values are there.
                if each.value.HasField("double_value") and not each.key.is_diff
            }
            for model in (CANDIDATE, BASELINE)
        )
        result[_slice_name(in_slice.slice_key)] = _comparison(candidate, baseline)
    return result


def read_details(folder: str) -> dict[str, Any]:
    """Reads the overall metrics of an evaluation that are JSON: `SCORES` and `NOTABLE_ROWS`."""
    overall = next(in_slice for in_slice in _read(folder) if not in_slice.slice_key.single_slice_keys)
    return {
        each.key.name: json.loads(each.value.bytes_value)
        for each in _of_model(overall, CANDIDATE)
        if each.value.HasField("bytes_value")
    }


def _read(folder: str) -> Iterator[Any]:
    """Yields TFMA's `MetricsForSlice` messages."""
    files = tf.io.gfile.glob(os.path.join(folder, _METRICS_FILES))
    for record in tf.data.TFRecordDataset(sorted(files)).as_numpy_iterator():
        yield _messages().MetricsForSlice.FromString(record)


@functools.cache
def _messages() -> Any:
    """Imports the module of the messages alone: it imports only protobuf, but its package all of TFMA and Beam."""
    if _MESSAGES in sys.modules:
        return sys.modules[_MESSAGES]
    package, *path = _MESSAGES.split(".")
    found = importlib.util.find_spec(package)  # Imports nothing.
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError(package)
    file = os.path.join(found.submodule_search_locations[0], *path) + ".py"
    spec = importlib.util.spec_from_file_location(_MESSAGES, file)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(_MESSAGES)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _of_model(in_slice: Any, model: str) -> Iterator[Any]:
    """Yields the metrics of a model, and those that are the same for all."""
    return (each for each in in_slice.metric_keys_and_values if each.key.model_name in ("", model))


def _slice_name(key: Any) -> str:
    """Converts a key, such as of the column `length` and the value `1-9` -> `length:1-9`; the overall one is empty."""
    if not key.single_slice_keys:
        return OVERALL
    (only,) = key.single_slice_keys
    return f"{only.column}:{only.bytes_value.decode('utf-8')}"


def _comparison(candidate: Mapping[str, float], baseline: Mapping[str, float]) -> Comparison:
    low, high = (_with_suffix(candidate, suffix) for suffix in (LOW_SUFFIX, HIGH_SUFFIX))
    suffixes = (ERROR_SUFFIX, LOW_SUFFIX, HIGH_SUFFIX)
    return Comparison(
        rows=int(candidate[EXAMPLE_COUNT]),
        candidate={name: value for name, value in candidate.items() if not name.endswith(suffixes)},
        baseline=baseline,
        errors=_with_suffix(candidate, ERROR_SUFFIX),
        bounds={name: (low[name], high[name]) for name in low},
    )


def _with_suffix(values: Mapping[str, float], suffix: str) -> dict[str, float]:
    """Returns the values whose names end in a suffix, by their names without it."""
    return {name.removesuffix(suffix): value for name, value in values.items() if name.endswith(suffix)}
