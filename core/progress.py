"""Progress of long work, as log records: a terminal draws them, a cluster's log prints them."""

import logging
from typing import Union

from core import escape

LOGGER = logging.getLogger("reviews.progress")


def report(stage: str, done: int, total: int, **figures: Union[float, str]) -> None:
    """Logs how far a piece of work is.

    Args:
      stage: what is being done, in words for a person ("epoch 2/5"); names of files in it are made safe to show.
      done: units finished, 0 to `total`.
      total: units in all; 0 where it is not known.
      **figures: what else is worth a look, by name (`loss=0.31`); texts are made safe to show.
    """
    stage = escape.shown(stage)
    figures = {name: escape.shown(value) if isinstance(value, str) else value for name, value in figures.items()}
    shown = "".join(
        f" {name}={value:.4g}" if isinstance(value, float) else f" {name}={value}" for name, value in figures.items()
    )
    LOGGER.info(
        "%s: %d of %d%s",
        stage,
        done,
        total,
        shown,
        extra={"stage": stage, "done": done, "total": total, "figures": figures},
    )
