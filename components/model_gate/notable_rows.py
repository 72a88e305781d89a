"""A TFMA metric that collects rows for the report, in bounded memory.

Which rows are collected depends neither on the order of the rows nor on how they are divided among workers: they are
ranked by rounded scores, and ties by a hash of the text.
"""

import functools
import json
from typing import Any, Callable, Iterable, Mapping, Sequence

import apache_beam as beam
from tensorflow_model_analysis.metrics import metric_types, metric_util
from tensorflow_model_analysis.proto import config_pb2
from tensorflow_model_analysis.utils import model_util

from components.model_gate.results import BROKEN, FIXED, MISTAKES, NOTABLE_ROWS, Row
from schema import features
from schema.hashing import hash64

# Rows in a list: as many as a person reads.
KEPT_ROWS = 20

# Characters of a text that are kept. A row may have a megabyte, and a report with many of them could not be read.
_TEXT_CHARACTERS = 500

# A score may differ in the seventh digit with the rows in its batch, which must not change the ranking.
_DIGITS = 4


# A row and its rank, the best first: its score with a minus, and a hash for ties.
Ranking = list[tuple[tuple[float, int], Row]]


class NotableRows(metric_types.Metric):
    """The candidate's worst mistakes, and rows that only one of both models answers correctly."""

    def __init__(self, ranking: str = "binary", right: float = 0.0, name: str = NOTABLE_ROWS) -> None:
        """Chooses how to rank.

        Args:
          ranking: `binary`, `classes` or `scores`.
          right: for `scores`, the largest error of a correct answer.
          name: name of the metric.
        """
        super().__init__(_computations, name=name, ranking=ranking, right=right)


def _computations(
    name: str,
    ranking: str,
    right: float,
    eval_config: config_pb2.EvalConfig,
    model_names: Iterable[str],
    **unused_kwargs: Any,
) -> metric_types.MetricComputations:
    baseline = model_util.get_baseline_model_spec(eval_config).name
    (candidate,) = set(model_names) - {baseline}
    key = metric_types.MetricKey(name, model_name=candidate)
    rank = functools.partial(_RANKINGS[ranking], right=right)
    combiner = _Combiner(eval_config, key, (candidate, baseline), rank)
    preprocessor = metric_types.FeaturePreprocessor([features.ID, *features.TEXTS])
    return [metric_types.MetricComputation(keys=[key], preprocessors=[preprocessor], combiner=combiner)]


class _Combiner(beam.CombineFn):
    """Reads rows from TFMA's inputs and collects them with `add` and `merge`."""

    def __init__(
        self,
        eval_config: config_pb2.EvalConfig,
        key: metric_types.MetricKey,
        models: tuple[str, str],
        rank: Callable[[Row], Iterable[tuple[str, float]]],
    ) -> None:
        super().__init__()
        self._eval_config, self._key, self._models, self._rank = eval_config, key, models, rank

    def create_accumulator(self) -> dict[str, Ranking]:
        return {}

    def add_input(
        self, accumulator: dict[str, Ranking], element: metric_types.StandardMetricInputs
    ) -> dict[str, Ranking]:
        add(accumulator, self._read_row(element), self._rank)
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[dict[str, Ranking]]) -> dict[str, Ranking]:
        return merge(accumulators)

    def extract_output(self, accumulator: dict[str, Ranking]) -> dict[metric_types.MetricKey, str]:
        return {self._key: json.dumps({name: best_rows(ranking) for name, ranking in accumulator.items()})}

    def _read_row(self, element: metric_types.StandardMetricInputs) -> Row:
        inputs = [
            next(
                metric_util.to_label_prediction_example_weight(
                    element, eval_config=self._eval_config, model_name=name, flatten=False
                )
            )
            for name in self._models
        ]
        label, (candidate, baseline) = inputs[0][0].item(), [prediction for _, prediction, _ in inputs]
        texts = [_text_feature(element.features, name) for name in features.TEXTS if name in element.features]
        # The largest of the probabilities; of a single number, that number.
        answers = (float(candidate.max()), float(baseline.max()))
        classes = (int(candidate.argmax()), int(baseline.argmax())) if candidate.size > 1 else None
        row_id = _text_feature(element.features, features.ID)
        return Row(row_id, features.show_texts(texts), label, *answers, classes)


def _text_feature(row: Mapping[str, Any], name: str) -> str:
    return row[name].item().decode("utf-8", errors="replace")


def add(lists: dict[str, Ranking], row: Row, rank: Callable[[Row], Iterable[tuple[str, float]]]) -> None:
    """Adds a row to the lists that it belongs to; a list never has more than twice `KEPT_ROWS` rows.

    Args:
      lists: the lists by name; missing ones are added.
      row: the row.
      rank: yields the lists that a row belongs to, with its score there; the highest scores are kept.
    """
    ranked = list(rank(row))
    if not ranked:
        return
    tie = hash64(b"notable", [row.text.encode(), row.id.encode()])
    cut = row._replace(text=row.text[:_TEXT_CHARACTERS] + "…") if len(row.text) > _TEXT_CHARACTERS else row
    for name, score in ranked:
        lists.setdefault(name, []).append(((-round(score, _DIGITS), tie), cut))
        if len(lists[name]) > 2 * KEPT_ROWS:
            _prune(lists[name])


def rank_binary(row: Row, right: float = 0.0) -> Iterable[tuple[str, float]]:
    """Ranks by the probability of the wrong class, and by the change of the probability."""
    del right
    correct, before = ((score > 0.5) == bool(row.label) for score in (row.candidate, row.baseline))
    if not correct:
        yield f"{MISTAKES}_{int(row.label)}", abs(row.label - row.candidate)
    if correct != before:
        yield FIXED if correct else BROKEN, abs(row.candidate - row.baseline)


def rank_classes(row: Row, right: float = 0.0) -> Iterable[tuple[str, float]]:
    """Ranks by the probability of the class that the candidate answers."""
    del right
    assert row.classes is not None
    correct, before = (answer == row.label for answer in row.classes)
    if not correct:
        yield f"{MISTAKES}_{int(row.label)}", row.candidate
    if correct != before:
        yield FIXED if correct else BROKEN, row.candidate


def rank_scores(row: Row, right: float) -> Iterable[tuple[str, float]]:
    """Ranks by the error, and by its change; an error up to `right` is none."""
    error, before = abs(row.candidate - row.label), abs(row.baseline - row.label)
    if error > right:
        yield MISTAKES, error
    if abs(error - before) >= right:
        yield FIXED if error < before else BROKEN, abs(error - before)


_RANKINGS = {"binary": rank_binary, "classes": rank_classes, "scores": rank_scores}


def merge(accumulators: Iterable[Mapping[str, Ranking]]) -> dict[str, Ranking]:
    """Merges the lists of several workers."""
    merged: dict[str, Ranking] = {}
    for accumulator in accumulators:
        for name, ranking in accumulator.items():
            merged.setdefault(name, []).extend(ranking)
            _prune(merged[name])
    return merged


def best_rows(ranking: Sequence[tuple[tuple[float, int], Row]]) -> list[Row]:
    """Returns the best `KEPT_ROWS` rows, the best first."""
    return [row for _, row in sorted(ranking)[:KEPT_ROWS]]


def _prune(ranking: Ranking) -> None:
    ranking.sort()
    del ranking[KEPT_ROWS:]
