"""`pretraining.json` beside an encoder's card: how EncoderPretrainer trained it."""

import dataclasses
import json
import os
from typing import Mapping, Optional, Sequence

PRETRAINING_FILE = "pretraining.json"


@dataclasses.dataclass(frozen=True)
class PretrainingFigures:
    """Measurements of a pre-training.

    Attributes:
      objective: `mlm` or `electra`.
      texts: number of different texts by use: `trained`, `held_out`, `with_score`, `without_pieces` (only unknown
        words), and `left_out_dev` and `left_out_test`, because they are in that split.
      rejected: rejected rows of further tables by reason.
      steps: number of steps.
      passes: how often each text was trained on.
      seconds: time spent on training steps, in all attempts.
      examples_per_s: texts per second, without the steps that trace the graph.
      tokens_per_s: the same in tokens, without padding.
      precision: data type of the matrix products.
      replicas: number of devices that trained together.
      curve: one mapping per point of the training curve: `step` (number of steps done), and means over the steps since
        the previous point, named as by `history`.
      history: one mapping per measurement on held-out texts: `step`, `loss`, `accuracy` and others of the objective.
    """

    objective: str
    texts: Mapping[str, int]
    rejected: Mapping[str, int]
    steps: int
    passes: float
    seconds: float
    examples_per_s: float
    tokens_per_s: float
    precision: str
    replicas: int
    curve: Sequence[Mapping[str, float]] = ()
    history: Sequence[Mapping[str, float]] = ()


def write(folder: str, figures: PretrainingFigures) -> None:
    """Writes `pretraining.json` into an encoder's folder."""
    with open(os.path.join(folder, PRETRAINING_FILE), "w", encoding="utf-8") as stream:
        json.dump(dataclasses.asdict(figures), stream, indent=2)


def read(folder: str) -> Optional[PretrainingFigures]:
    """Reads `pretraining.json` from an encoder's folder; None if the encoder was not pretrained here."""
    path = os.path.join(folder, PRETRAINING_FILE)
    if not os.path.exists(path):
        return None
    with open(path, encoding="utf-8") as stream:
        return PretrainingFigures(**json.load(stream))
