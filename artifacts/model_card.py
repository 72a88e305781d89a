"""What an exported model says of itself, in `assets.extra/reviews.json` of its folder.

`assets.extra` is the SavedModel format's place for files that a server does not read; whoever asks the model
finds there how the classes are called and how its training file was laid out.
"""

import dataclasses
import json
import os
from typing import Any, Mapping

from schema.task import Task, task_from_json

CARD_FILE = os.path.join("assets.extra", "reviews.json")


@dataclasses.dataclass(frozen=True)
class ModelCard:
    """The task of a model and the layout of its data.

    Attributes:
      task: what it predicts.
      data: `label`, `quoting`, `header` and `encoding` as in `core.config.DataConfig`.
    """

    task: Task
    data: Mapping[str, Any]


def write(model_dir: str, card: ModelCard) -> None:
    """Writes the card into a model's folder."""
    path = os.path.join(model_dir, CARD_FILE)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as stream:
        json.dump(
            {"task": dataclasses.asdict(card.task), "data": dict(card.data)}, stream, ensure_ascii=False, indent=2
        )


def read(model_dir: str) -> ModelCard:
    """Reads the card of a model's folder.

    Raises:
      FileNotFoundError: the model has none.
    """
    with open(os.path.join(model_dir, CARD_FILE), encoding="utf-8") as stream:
        content = json.load(stream)
    return ModelCard(task_from_json(content["task"]), content["data"])
