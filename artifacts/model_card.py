"""The card of an exported model: its task and the layout of its training data, in `assets.extra/reviews.json`.

`assets.extra` is the SavedModel format's folder for files that a model server does not read. `predict` reads the class
names and the file format from it.
"""

import dataclasses
import json
import os
from typing import Any, Mapping, Optional

from core import escape
from core.errors import UserError
from core.files import atomic_write
from schema.task import Task, task_from_json

# The settings under `data` that a file's reader needs, besides the columns of the task.
LAYOUT = {
    "label",
    "quoting",
    "header",
    "encoding",
    "max_line_bytes",
    "delimiter",
    "escape",
    "comment",
    "skip_lines",
    "format",
}

PLAIN_PACKING = "plain"
PREPROCESS_PACKING = "preprocess"

CARD_FILE = os.path.join("assets.extra", "reviews.json")


@dataclasses.dataclass(frozen=True)
class ModelCard:
    """The task of a model and the layout of its data.

    Attributes:
      task: the task that the model was trained for.
      data: the settings in `LAYOUT`, as in `core.config.DataConfig`; a model of an earlier release may lack some.
      max_length: number of tokens to which the model cuts a text; None for a model of an earlier release.
      packing: how the model puts [CLS] and [SEP] around a text's tokens: `plain` TensorFlow operations, or those of
        the encoder's own `preprocess` model.
    """

    task: Task
    data: Mapping[str, Any]
    max_length: Optional[int] = None
    packing: str = PREPROCESS_PACKING


def write(model_dir: str, card: ModelCard) -> None:
    """Writes the card into a model's folder, with `classes`: the meaning of the output `label`, an index in it."""
    path = os.path.join(model_dir, CARD_FILE)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with atomic_write(path) as stream:
        json.dump({**dataclasses.asdict(card), "classes": card.task.label_names}, stream, ensure_ascii=False, indent=2)


def read(model_dir: str) -> ModelCard:
    """Reads the card of a model's folder.

    Raises:
      UserError: the model has no card, or the card is damaged.
    """
    path = os.path.join(model_dir, CARD_FILE)
    try:
        with open(path, encoding="utf-8") as stream:
            content = json.load(stream)
        return ModelCard(
            task_from_json(content["task"]),
            dict(content["data"]),
            content.get("max_length"),
            content.get("packing", PREPROCESS_PACKING),
        )
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; should be the card of a model of this pipeline") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: damaged, or not the card of a model ({escape.quote(str(error))})") from error


def check_same_inputs(served_dir: str, task: Task) -> None:
    """Checks that clients of the model in serving can query a model of this task too.

    Args:
      served_dir: the folder of the model in serving; without a card nothing is checked.
      task: the task of the model that is to replace it.

    Raises:
      UserError: the two take different inputs.
    """
    if not os.path.exists(os.path.join(served_dir, CARD_FILE)):
        return
    served = read(served_dir).task.text_inputs
    if served != task.text_inputs:
        raise UserError(
            f"serving.dir: the model in serving ({served_dir}) takes {' and '.join(served)}, this run's would take "
            f"{' and '.join(task.text_inputs)}: its clients could not query the new model, and the two can't be "
            "compared; set another serving.dir, or another name"
        )
