"""The files of the `model_run` artifact, which the Trainer writes beside the model.

| name            | content                                                                   |
|-----------------|---------------------------------------------------------------------------|
| `training.json` | `TrainingFigures`                                                         |
| `golden.json`   | `GoldenAnswers`: predictions for some dev rows before the model was saved |
| `history.png`   | loss and accuracy over the epochs                                         |
| `model.png`     | the model's layers                                                        |
| `logs/`         | TensorBoard logs                                                          |
"""

import dataclasses
import json
import os
from typing import Any, Mapping, Sequence

TRAINING_FILE = "training.json"
GOLDEN_FILE = "golden.json"
HISTORY_PICTURE = "history.png"
MODEL_PICTURE = "model.png"
LOGS_DIR = "logs"


@dataclasses.dataclass(frozen=True)
class TrainingFigures:
    """Measurements of a training run.

    Attributes:
      examples_per_s: training examples per second, without evaluation, checkpoints and steps that trace the graph.
      padding_share: share of padding among the tokens computed in training, 0 to 1.
      seconds: wall time from reading the examples to the exported model.
      best_epoch: the epoch, counted from 1, whose weights were kept.
      history: one mapping per epoch: `epoch`, `loss`, `accuracy`, `dev_loss`, `dev_accuracy`.
      precision: data type of the matrix products in training.
      replicas: number of devices that trained together, on all workers.
      encoder: `native`, or `SavedModel` for an encoder that could not be rebuilt.
      curve: one mapping per point of the training curve, about 50 per epoch: `step` (number of steps done), `loss`,
        `accuracy`, both means over the steps since the previous point, and the `learning_rate` of that step.
      threshold: of two classes, the probability before the bias was moved at which the model changes its answer.
    """

    examples_per_s: float
    padding_share: float
    seconds: float
    best_epoch: int
    history: Sequence[Mapping[str, float]]
    precision: str
    replicas: int
    encoder: str
    curve: Sequence[Mapping[str, float]] = ()
    threshold: float = 0.5


@dataclasses.dataclass(frozen=True)
class GoldenAnswers:
    """Rows, and for each served output of numbers the values that the training process computed for them.

    Attributes:
      text: the text of each row, or the first one of a pair.
      outputs: name of a served output -> a value for each row.
      text_pair: the second text of each pair; empty for single texts.
    """

    text: Sequence[str]
    outputs: Mapping[str, Sequence[float]]
    text_pair: Sequence[str] = ()

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """The texts of each row."""
        return list(zip(*filter(None, (self.text, self.text_pair)), strict=True))


def write_training(folder: str, figures: TrainingFigures) -> None:
    """Writes `training.json`."""
    _write_json(os.path.join(folder, TRAINING_FILE), dataclasses.asdict(figures))


def write_golden(folder: str, answers: GoldenAnswers) -> None:
    """Writes `golden.json`."""
    _write_json(os.path.join(folder, GOLDEN_FILE), dataclasses.asdict(answers))


def read_training(folder: str) -> TrainingFigures:
    """Reads `training.json`."""
    with open(os.path.join(folder, TRAINING_FILE), encoding="utf-8") as stream:
        return TrainingFigures(**json.load(stream))


def read_golden(folder: str) -> GoldenAnswers:
    """Reads `golden.json`."""
    with open(os.path.join(folder, GOLDEN_FILE), encoding="utf-8") as stream:
        return GoldenAnswers(**json.load(stream))


def _write_json(file: str, content: Mapping[str, Any]) -> None:
    with open(file, "w", encoding="utf-8") as stream:
        json.dump(content, stream, ensure_ascii=False, indent=2)
