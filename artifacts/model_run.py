"""What training leaves beside the model, in the `model_run` artifact: the one owner of its files.

| name            | what                                                                      |
|-----------------|---------------------------------------------------------------------------|
| `training.json` | `TrainingFigures`                                                         |
| `golden.json`   | `GoldenAnswers`: what the model said of some dev rows before it was saved |
| `history.png`   | loss and accuracy over the epochs                                         |
| `model.png`     | the model's layers                                                        |
| `logs/`         | TensorBoard's                                                             |
"""

import dataclasses
import json
import os
from typing import Mapping, Sequence

TRAINING_FILE = "training.json"
GOLDEN_FILE = "golden.json"
HISTORY_PICTURE = "history.png"
MODEL_PICTURE = "model.png"
LOGS_DIR = "logs"


@dataclasses.dataclass(frozen=True)
class TrainingFigures:
    """How training went.

    Attributes:
      examples_per_s: training examples a second; evaluation, checkpoints and the steps that trace are left out.
      padding_share: padding among the tokens computed in training, 0 to 1.
      seconds: wall time from reading the examples to the exported model.
      best_epoch: the epoch (from 1) whose weights were kept.
      history: one mapping an epoch: `epoch`, `loss`, `accuracy`, `dev_loss`, `dev_accuracy`.
      precision: type of the matrix products in training.
      replicas: devices that trained together, on all workers.
      encoder: `native`, or `SavedModel` for one that could not be rebuilt.
    """

    examples_per_s: float
    padding_share: float
    seconds: float
    best_epoch: int
    history: Sequence[Mapping[str, float]]
    precision: str
    replicas: int
    encoder: str


@dataclasses.dataclass(frozen=True)
class GoldenAnswers:
    """Texts, and for each served output the answers of the model in the training process."""

    text: Sequence[str]
    outputs: Mapping[str, Sequence[float]]


def write_json(folder: str, name: str, content: "TrainingFigures | GoldenAnswers") -> None:
    """Writes one of the JSON files."""
    with open(os.path.join(folder, name), "w", encoding="utf-8") as stream:
        json.dump(dataclasses.asdict(content), stream, ensure_ascii=False, indent=2)


def read_training(folder: str) -> TrainingFigures:
    """Reads `training.json`."""
    with open(os.path.join(folder, TRAINING_FILE), encoding="utf-8") as stream:
        return TrainingFigures(**json.load(stream))


def read_golden(folder: str) -> GoldenAnswers:
    """Reads `golden.json`."""
    with open(os.path.join(folder, GOLDEN_FILE), encoding="utf-8") as stream:
        return GoldenAnswers(**json.load(stream))
