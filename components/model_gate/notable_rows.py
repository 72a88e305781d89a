"""A TFMA metric that collects rows for the report, in bounded memory.

Which rows are collected depends neither on the order of the rows nor on how they are divided among workers: they are
ranked by rounded scores, and ties by a hash of the text.
"""

import json
from typing import Any, Iterable, Mapping, NamedTuple, Sequence

import apache_beam as beam
from tensorflow_model_analysis.metrics import metric_types, metric_util
from tensorflow_model_analysis.proto import config_pb2
from tensorflow_model_analysis.utils import model_util

from schema import features
from schema.hashing import hash64

# Name of the metric: a `Ranking` of each list, as JSON.
NOTABLE_ROWS = "notable_rows"

# The lists: the candidate's mistakes on the rows of each label, the rows that only the candidate labels correctly, and
# those that only the baseline does.
MISTAKES = ("mistakes_0", "mistakes_1")
FIXED, BROKEN = "fixed", "broken"
LISTS = (*MISTAKES, FIXED, BROKEN)

# Rows in a list: as many as a person reads.
KEPT_ROWS = 20

# Characters of a text that are kept. A row may have a megabyte, and a report with many of them could not be read.
_TEXT_CHARACTERS = 500

# A score may differ in the seventh digit with the rows in its batch, which must not change the ranking.
_DIGITS = 4


class Row(NamedTuple):
    """A test row.

    Attributes:
      id: its id.
      text: its text, or both texts of a pair.
      label: 0 or 1.
      candidate: the candidate's probability of class 1.
      baseline: the baseline's.
    """

    id: str
    text: str
    label: int
    candidate: float
    baseline: float


# A row and its rank, the best first: its score with a minus, and a hash for ties.
Ranking = list[tuple[tuple[float, int], Row]]


class NotableRows(metric_types.Metric):
    """Confident mistakes of the candidate, and rows that only one of both models labels correctly."""

    def __init__(self, name: str = NOTABLE_ROWS) -> None:
        super().__init__(_computations, name=name)


def _computations(
    name: str, eval_config: config_pb2.EvalConfig, model_names: Iterable[str], **unused_kwargs: Any
) -> metric_types.MetricComputations:
    baseline = model_util.get_baseline_model_spec(eval_config).name
    (candidate,) = set(model_names) - {baseline}
    key = metric_types.MetricKey(name, model_name=candidate)
    combiner = _Combiner(eval_config, key, (candidate, baseline))
    preprocessor = metric_types.FeaturePreprocessor([features.ID, *features.TEXTS])
    return [metric_types.MetricComputation(keys=[key], preprocessors=[preprocessor], combiner=combiner)]


class _Combiner(beam.CombineFn):
    """Reads rows from TFMA's inputs and collects them with `add` and `merge`."""

    def __init__(
        self, eval_config: config_pb2.EvalConfig, key: metric_types.MetricKey, models: tuple[str, str]
    ) -> None:
        super().__init__()
        self._eval_config, self._key, self._models = eval_config, key, models

    def create_accumulator(self) -> dict[str, Ranking]:
        return {name: [] for name in LISTS}

    def add_input(
        self, accumulator: dict[str, Ranking], element: metric_types.StandardMetricInputs
    ) -> dict[str, Ranking]:
        add(accumulator, self._read_row(element))
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[dict[str, Ranking]]) -> dict[str, Ranking]:
        return merge(accumulators)

    def extract_output(self, accumulator: dict[str, Ranking]) -> dict[metric_types.MetricKey, str]:
        return {self._key: json.dumps({name: best_rows(ranking) for name, ranking in accumulator.items()})}

    def _read_row(self, element: metric_types.StandardMetricInputs) -> Row:
        inputs = [
            next(
                metric_util.to_label_prediction_example_weight(element, eval_config=self._eval_config, model_name=name)
            )
            for name in self._models
        ]
        label = int(inputs[0][0].item())
        candidate, baseline = (float(prediction.item()) for _, prediction, _ in inputs)
        texts = [_text_feature(element.features, name) for name in features.TEXTS if name in element.features]
        return Row(_text_feature(element.features, features.ID), features.show_texts(texts), label, candidate, baseline)


def _text_feature(row: Mapping[str, Any], name: str) -> str:
    return row[name].item().decode("utf-8", errors="replace")


def add(lists: Mapping[str, Ranking], row: Row) -> None:
    """Adds a row to the lists that it belongs to; a list never has more than twice `KEPT_ROWS` rows."""
    ranked = list(rank(row))
    if not ranked:
        return
    tie = hash64(b"notable", [row.text.encode(), row.id.encode()])
    cut = row._replace(text=row.text[:_TEXT_CHARACTERS] + "…") if len(row.text) > _TEXT_CHARACTERS else row
    for name, score in ranked:
        lists[name].append(((-round(score, _DIGITS), tie), cut))
        if len(lists[name]) > 2 * KEPT_ROWS:
            _prune(lists[name])


def rank(row: Row) -> Iterable[tuple[str, float]]:
    """Yields the lists that a row belongs to, with its score there, 0 to 1; the highest scores are kept."""
    correct, before = ((score > 0.5) == bool(row.label) for score in (row.candidate, row.baseline))
    if not correct:
        yield MISTAKES[row.label], abs(row.label - row.candidate)
    if correct != before:
        yield FIXED if correct else BROKEN, abs(row.candidate - row.baseline)


def merge(accumulators: Iterable[Mapping[str, Ranking]]) -> dict[str, Ranking]:
    """Merges the lists of several workers."""
    merged: dict[str, Ranking] = {name: [] for name in LISTS}
    for accumulator in accumulators:
        for name, ranking in accumulator.items():
            merged[name] += ranking
            _prune(merged[name])
    return merged


def best_rows(ranking: Sequence[tuple[tuple[float, int], Row]]) -> list[Row]:
    """Returns the best `KEPT_ROWS` rows, the best first."""
    return [row for _, row in sorted(ranking)[:KEPT_ROWS]]


def _prune(ranking: Ranking) -> None:
    ranking.sort()
    del ranking[KEPT_ROWS:]
