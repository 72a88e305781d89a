"""`shadow`: asks a candidate and the served model the requests of a log, and finds where they part.

Two answers agree if they name the same class; scores agree if they are so close that one counts as right where the
other is the label. The difference of two answers is that of the probability, the largest of any class, or of a score as
a share of its range.
"""

import collections
import dataclasses
import functools
import heapq
import os
from typing import Any, Iterator, Mapping, Optional

import numpy as np

from artifacts import model_files
from core import intervals
from core.errors import UserError
from local import answers, comparison, history, prediction, row_comparison, serving
from local.monitoring import logs
from local.monitoring.logs import Log
from local.predictions import Prediction, read_outputs
from local.served_model import Model, Texts
from schema import features, slices
from schema.task import Task

# Texts with the largest differences that are kept; all are counted.
SHOWN_TEXTS = 50


@dataclasses.dataclass
class Group:
    """Texts of a log, such as those of a slice.

    Attributes:
      texts: their number.
      same: on how many the models agree.
      total: sum of the differences.
      largest: the largest difference.
    """

    texts: int = 0
    same: int = 0
    total: float = 0.0
    largest: float = 0.0

    def add(self, same: bool, difference: float) -> None:
        """Adds a text."""
        self.texts += 1
        self.same += same
        self.total += difference
        self.largest = max(self.largest, difference)

    @property
    def same_share(self) -> float:
        """Share of the texts on which the models agree."""
        return self.same / max(self.texts, 1)

    @property
    def mean(self) -> float:
        """Mean difference."""
        return self.total / max(self.texts, 1)


@dataclasses.dataclass(frozen=True)
class DifferentText:
    """A text, both models' answers as people read them, whether these agree, and their difference, 0 to 1."""

    text: str
    served: str
    candidate: str
    same: bool
    difference: float


@dataclasses.dataclass(frozen=True)
class Shadow:
    """Where two models part on the texts of a log.

    Attributes:
      log: the log, read to its end.
      served: name of the served model in messages.
      candidate: name of the candidate.
      overall: all texts.
      slices: name of a slice, as in `schema.slices` -> its texts.
      labels: group of labels -> number of answers of the served model and of the candidate.
      largest: the texts with the largest differences, at most `SHOWN_TEXTS`.
    """

    log: Log
    served: str
    candidate: str
    overall: Group
    slices: dict[str, Group]
    labels: dict[str, tuple[int, int]]
    largest: list[DifferentText]

    @property
    def interval(self) -> Optional[intervals.Interval]:
        """95 % confidence interval of `same_share` of all texts."""
        return intervals.wilson(self.overall.same_share, self.overall.texts)

    def sentence(self) -> str:
        """Says how far the models are apart."""
        overall = self.overall
        models = f"{self.candidate} and {self.served}"
        texts = f"{overall.texts:,} texts of {self.log.file.name}"
        if not overall.largest:
            return f"{models} give the same answers to {texts}"
        low, high = self.interval or (0.0, 1.0)
        return (
            f"{models} agree on {overall.same_share:.1%} of {texts} (95 % interval: {low:.1%} to {high:.1%}); their "
            f"answers differ by {overall.mean:.3f} on average, by {overall.largest:.3f} at most"
        )


def find_model(word: str, root: str) -> tuple[str, str]:
    """Finds a model: a version's or any other folder of a model, the newest of a serving folder, or that of a run.

    Returns:
      Its folder, and its name in messages.

    Raises:
      UserError: no model was found.
    """
    newest = model_files.newest_served(word) if os.path.isdir(word) else None
    if newest is not None or model_files.has_model(word):
        return _with_name(newest or word)
    run = history.find_run(word, root, None)
    folder = comparison.model_folder(run)
    if folder is None:
        raise UserError(f"--model {word}: the model of this run is not on disk any more")
    return folder, f"run {run.id}"


def find_served(candidate: str, word: Optional[str], root: str) -> tuple[str, str]:
    """Finds the model to compare a candidate with.

    Args:
      candidate: the candidate's folder.
      word: as in `find_model`; None for the newest model under the run root.
      root: the run root.

    Returns:
      As `find_model`.

    Raises:
      UserError: no model was found, or the newest one is the candidate itself.
    """
    if word is not None:
        return find_model(word, root)
    folder = serving.newest_model(root)
    if os.path.samefile(folder, candidate):
        raise UserError(f"--model {candidate}: is the served model; set --served to the model to compare it with")
    return _with_name(folder)


def _with_name(folder: str) -> tuple[str, str]:
    version = os.path.basename(os.path.normpath(folder))
    return folder, f"version {version}" if model_files.is_version(version) else folder


def compare(log: Log, served: Model, candidate: Model, names: tuple[str, str], rows: Optional[int] = None) -> Shadow:
    """Asks two models the texts of a log.

    Args:
      log: the log.
      served: the served model.
      candidate: the candidate.
      names: of both in messages, in this order.
      rows: how many texts to ask, chosen by their hashes; None for all.

    Raises:
      UserError: the log can't be read or has no texts, or the answers can't be compared.
    """
    task = served.card.task
    row_comparison.check_comparable(task, candidate.card.task)
    overall, by_slice = Group(), {name: Group() for name in slices.NAMES}
    labels: tuple[collections.Counter[str], ...] = (collections.Counter(), collections.Counter())
    largest: list[DifferentText] = []
    for texts in log.chunks() if rows is None else _sample(log, rows):
        outputs = [model.compute(texts) for model in (served, candidate)]
        first, second = map(read_outputs, (served.card.task, candidate.card.task), outputs)
        differences = np.abs(np.subtract(*(task.comparable(each) for each in outputs)))
        differences = differences.reshape(len(texts), -1).max(axis=1).tolist()
        found = list(map(functools.partial(_describe, task), texts, first, second, differences))
        for parts, each in zip(texts, found, strict=True):
            for group in (overall, *(by_slice[name] for name in _slices(parts))):
                group.add(each.same, each.difference)
        for counts, predictions in zip(labels, (first, second), strict=True):
            counts.update(answers.count_labels(task, predictions))
        largest = heapq.nlargest(SHOWN_TEXTS, [*largest, *found], key=lambda each: each.difference)
    return Shadow(
        log,
        # Versions of two serving folders may have the same number.
        *(names if names[0] != names[1] else (served.folder, candidate.folder)),
        overall=overall,
        slices={name: group for name, group in by_slice.items() if group.texts},
        labels={name: (labels[0][name], labels[1][name]) for name in task.label_groups},
        largest=[each for each in largest if each.difference],
    )


def _sample(log: Log, rows: int) -> Iterator[list[Texts]]:
    """Yields a sample of a log's texts."""
    kept: list[tuple[int, Texts]] = []
    for texts in log.chunks():
        kept = logs.keep_sample(kept, texts, rows)
    chosen = [texts for _, texts in kept]
    for start in range(0, len(chosen), prediction.CHUNK_ROWS):
        yield chosen[start : start + prediction.CHUNK_ROWS]


def _describe(task: Task, texts: Texts, served: Prediction, candidate: Prediction, difference: float) -> DifferentText:
    first, second = (" ".join(map(str.strip, task.describe_answer(each.values))) for each in (served, candidate))
    same = task.is_right(task.answer_label(served.values), candidate.values)
    return DifferentText(features.show_texts(texts), first, second, same, difference)


def _slices(texts: Texts) -> list[str]:
    # Of a pair, as in the evaluation, the length of both texts together.
    text = "".join(texts)
    scripts = [f"{slices.SCRIPT}:{script}" for script in slices.scripts(text)]
    return [f"{slices.LENGTH}:{slices.length_band(text)}", *scripts]


def to_json(shadow: Shadow) -> dict[str, Any]:
    """Returns the result for programs."""

    def describe(group: Group) -> Mapping[str, float]:
        return {
            "texts": group.texts,
            "agree_share": group.same_share,
            "mean_difference": group.mean,
            "largest_difference": group.largest,
        }

    return {
        "log": shadow.log.file.name,
        "kind": shadow.log.kind,
        "served": shadow.served,
        "candidate": shadow.candidate,
        "sentence": shadow.sentence(),
        **describe(shadow.overall),
        "interval": shadow.interval,
        "slices": {name: describe(group) for name, group in shadow.slices.items()},
        "labels": {name: {"served": a, "candidate": b} for name, (a, b) in shadow.labels.items()},
        "largest": [dataclasses.asdict(each) for each in shadow.largest],
        "left_out": {**shadow.log.rejected, **shadow.log.skipped},
        "damage": shadow.log.damage or None,
    }
