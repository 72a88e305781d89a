"""Progress of long work, as log records: a terminal draws a bar, a cluster prints lines."""

import logging
from typing import Union

from core import escape

LOGGER = logging.getLogger("reviews.progress")


def report(stage: str, done: int, total: int, *, keep: bool = False, **figures: Union[float, str]) -> None:
    """Logs the progress of a stage.

    Args:
      stage: a short description ("epoch 2/5"); control characters in it are escaped.
      done: units finished, 0 to `total`.
      total: number of units; 0 if unknown.
      keep: whether a terminal keeps it as a line, such as the end of an epoch.
      **figures: values by name (`loss=0.31`); control characters in text are escaped.
    """
    stage = escape.line(stage)
    figures = {name: escape.line(value) if isinstance(value, str) else value for name, value in figures.items()}
    details = "".join(
        f" {name}={value:.4g}" if isinstance(value, float) else f" {name}={value}" for name, value in figures.items()
    )
    LOGGER.info(
        "%s: %d of %d%s",
        stage,
        done,
        total,
        details,
        extra={"stage": stage, "done": done, "total": total, "keep": keep, "figures": figures},
    )
