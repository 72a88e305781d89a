"""The parameter `gate` that every gate's component takes: the task and the gate's bounds, as JSON."""

import dataclasses
import json
from typing import Collection, Optional, TypeVar

from core.section import Section
from schema.task import Task, task_from_json

PARAMETER = "gate"

Bounds = TypeVar("Bounds", bound=Section)


def dump(task: Task, bounds: Section, include: Optional[Collection[str]] = None) -> str:
    """Returns the JSON object `{"task": ..., "bounds": ...}`.

    Args:
      task: the task of the model.
      bounds: a section of the configuration.
      include: the fields of `bounds` that the gate reads, so that the others don't invalidate its cache; None for all.
    """
    fields = None if include is None else set(include)
    return json.dumps({"task": dataclasses.asdict(task), "bounds": bounds.model_dump(include=fields)})


def load(gate: str, section: type[Bounds]) -> tuple[Task, Bounds]:
    """Parses the result of `dump`, with bounds of the type `section`."""
    content = json.loads(gate)
    return task_from_json(content["task"]), section.model_validate(content["bounds"])
