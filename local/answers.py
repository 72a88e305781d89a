"""Shared by the two ways to predict: the format of answers, their counts, and how to read the input."""

import collections
import dataclasses
import re
import sys
from typing import Any, Iterable, Mapping, Optional, Sequence, Union

import numpy as np
import pydantic

from artifacts.model_card import ModelCard
from components.tsv_example_gen import parse, sources
from core.config import DataConfig, describe_faults
from core.errors import UserError
from local.predictions import Prediction
from local.served_model import Model, Texts
from schema import rejections
from schema.task import Task

# Keys of `data` that are options of `predict` too.
OPTIONS = ("text", "label", "quoting", "delimiter", "header", "encoding")


@dataclasses.dataclass(frozen=True)
class Format:
    """How to write answers.

    Attributes:
      as_json: one JSON object per answer.
      with_scores: with the probability of every class.
    """

    as_json: bool = False
    with_scores: bool = False


class Counts:
    """Counts of the lines or rows of an input.

    Attributes:
      scored: number of answers.
      cut: those whose text the model has read only in part.
      failures: reason, as in `schema.rejections` -> number of rows without an answer.
    """

    def __init__(self) -> None:
        self.scored = self.cut = 0
        self.failures: collections.Counter[str] = collections.Counter()

    def predict(self, model: Model, rows: Sequence[Optional[Texts]]) -> list[Optional[Prediction]]:
        """Predicts and counts; None has no prediction."""
        known = [row for row in rows if row is not None]
        predictions = iter(model.predict(known))
        self.scored += len(known)
        self.cut += model.count_cut(known)
        return [None if row is None else next(predictions) for row in rows]

    def describe_failure(self, items: str) -> str:
        """Returns a clause about an input of `items` (`rows`, `lines`) without a single answer."""
        if not self.failures:
            return f"has no {items} to score"
        reasons = ", ".join(f"{reason} {count}" for reason, count in self.failures.most_common())
        options = [f"--{name}" for name in OPTIONS if name in _settings(self.failures)]
        hint = f"; check {' and '.join(options)}" if options else ""
        return f"none of the {self.failures.total()} {items} could be scored ({reasons}){hint}"

    def report_cut(self, card: ModelCard) -> None:
        """Prints on standard error how many texts were cut."""
        if self.cut:
            items = "texts" if len(card.task.text_inputs) == 1 else "pairs"
            print(
                f"{self.cut} of {self.scored} {items} have more than {card.max_length} tokens (trainer.max_length): "
                "the model has read only their start",
                file=sys.stderr,
            )


def count_labels(task: Task, predictions: Sequence[Prediction]) -> dict[str, int]:
    """Returns the number of answers in each of `Task.label_groups`, by its name."""
    labels = np.array([task.answer_label(prediction.values) for prediction in predictions])
    counts = np.bincount(task.group_labels(labels), minlength=len(task.label_groups))
    return dict(zip(task.label_groups, counts.tolist(), strict=True))


def make_layout(card: ModelCard, file: sources.SourceFile, options: Mapping[str, Any]) -> DataConfig:
    """Returns how to read a file: as the training data, except for the options.

    Args:
      card: the model's card.
      file: the file.
      options: values by names of `OPTIONS`.

    Raises:
      UserError: an option has a wrong value, or names no column of a file without a header.
    """
    # Without ids, which the file may not have.
    keys: dict[str, Any] = {"train": file.path, "id": None, "text": card.task.text_columns, **card.task.settings}
    header = read_header(options["header"]) if "header" in options else card.data.get("header", True)
    for name in ("text", "label"):
        if name in options and not isinstance(header, bool):  # A file without a header has the training file's columns.
            for column in [options[name]] if isinstance(options[name], str) else options[name]:
                parse.find_column(header, f"--{name}", column)
    columns = options.get("text", card.task.text_columns)
    if not isinstance(columns, str) and len(columns) != len(card.task.text_columns):
        raise UserError(
            f"--text {' '.join(columns)}: should be {len(card.task.text_columns)} of the columns, as the model takes "
            f"{' and '.join(card.task.text_inputs)}"
        )
    try:
        layout = DataConfig(**{**keys, **card.data, **options, "header": True})
    except pydantic.ValidationError as error:
        raise UserError(name_options(describe_faults(error, "data"))) from error
    # Not checked above: unlike a training file, this one needs no label.
    return layout.model_copy(update={"header": header if isinstance(header, bool) else tuple(header)})


def read_header(text: str) -> Union[bool, tuple[str, ...]]:
    """Returns the value of `--header`: `true`, or the names of the columns of a file without a header.

    Raises:
      UserError: a name is missing or appears twice.
    """
    if text == "true":
        return True
    names = tuple(name.strip() for name in text.split(","))
    if not all(names) or len(set(names)) < len(names):
        raise UserError(
            f"--header = {text!r}: should be true, or the column names of a file without a header, each different, "
            "such as id,document,label"
        )
    return names


def name_options(text: str) -> str:
    """Replaces the names of settings in a message by those of the options: `data.text` by `--text`."""
    return re.sub(rf"\bdata\.({'|'.join(OPTIONS)})\b", r"--\1", text)


def scores(card: ModelCard, prediction: Optional[Prediction]) -> Optional[dict[str, float]]:
    """Returns class name -> probability, rounded to six digits; None without a prediction."""
    if prediction is None:
        return None
    return {
        name: round(value, 6) for name, value in zip(card.task.label_names, prediction.class_probabilities, strict=True)
    }


def _settings(reasons: Iterable[str]) -> set[str]:
    """Returns the keys of `data` that the reasons point to."""
    return set(re.findall(r"data\.(\w+)", " ".join(rejections.SETTINGS.get(reason, "") for reason in reasons)))
