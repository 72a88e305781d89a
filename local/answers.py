"""Shared by the two ways to predict: the format of answers, their counts, and how to read the input."""

import collections
import dataclasses
import re
import sys
from typing import Any, Iterable, Mapping, Optional, Sequence

import pydantic

from artifacts.model_card import ModelCard
from components.tsv_example_gen import parse, sources
from core.config import DataConfig, describe_faults
from core.errors import UserError
from local.served_model import Model, Prediction
from schema import rejections

# Keys of `data` that are options of `predict` too.
OPTIONS = ("text", "label", "quoting", "delimiter", "encoding")


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

    def predict(self, model: Model, texts: Sequence[Optional[str]]) -> list[Optional[Prediction]]:
        """Predicts and counts; None has no prediction."""
        known = [text for text in texts if text is not None]
        predictions = iter(model.predict(known))
        self.scored += len(known)
        self.cut += model.count_cut(known)
        return [None if text is None else next(predictions) for text in texts]

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
            print(
                f"{self.cut} of {self.scored} texts have more than {card.max_length} tokens (trainer.max_length): the "
                "model has read only their start",
                file=sys.stderr,
            )


def make_layout(card: ModelCard, file: sources.SourceFile, options: Mapping[str, str]) -> DataConfig:
    """Returns how to read a file: as the training data, except for the options.

    Args:
      card: the model's card.
      file: the file.
      options: values by names of `OPTIONS`.

    Raises:
      UserError: an option has a wrong value, or names no column of a file without a header.
    """
    (text_column,) = card.task.text_columns
    # Without ids, which the file may not have.
    keys: dict[str, Any] = {"train": file.path, "id": None, "text": text_column, "labels": card.task.labels}
    header = card.data.get("header", True)
    for name in ("text", "label"):
        if name in options and not isinstance(header, bool):  # A file without a header has the training file's columns.
            parse.find_column(header, f"--{name}", options[name])
    try:
        return DataConfig(**{**keys, **card.data, **options})
    except pydantic.ValidationError as error:
        raise UserError(name_options(describe_faults(error, "data"))) from error


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
