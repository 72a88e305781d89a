"""The run parameters: values that a user or a schedule may change in a compiled pipeline.

TFX's `RuntimeParameter` can only replace a whole execution property, and ours are sections of the configuration as
JSON. So the compiler adds inputs to the tasks, and the entrypoint merges their values into the property before TFX
reads it.
"""

import dataclasses
import json
from typing import Any, Mapping, Optional, Union

import pydantic

from core.config import Config, DataConfig, TrainerConfig, describe_faults
from core.errors import UserError

Value = Union[str, int]

# Names of the types in the pipeline spec.
STRING, INTEGER = "STRING", "NUMBER_INTEGER"


@dataclasses.dataclass(frozen=True)
class RunParameter:
    """One parameter.

    Attributes:
      name: its name in the cluster's form and after `--param`.
      type: its type in the pipeline spec.
      description: text in the cluster's form.
      key: configuration key that it sets; None if it sets none.
      optional: whether an empty text, or 0, means null: KFP parameters have no null.
    """

    name: str
    type: str
    description: str
    key: Optional[str] = None
    optional: bool = False


_NULL: Mapping[str, Value] = {STRING: "", INTEGER: 0}

PIPELINE_ROOT = RunParameter("pipeline_root", STRING, "where artifacts are written; empty: the cluster's default")
RUN_TOKEN = RunParameter("run_token", STRING, "a new value runs every task again, without the cache")

LOCATIONS = (
    RunParameter("train", STRING, "training reviews: an address, or a path on a volume", "data.train"),
    RunParameter("dev", STRING, "dev reviews; empty: a share of the training reviews is held out", "data.dev", True),
    RunParameter("test", STRING, "test reviews; empty: a share of the training reviews is held out", "data.test", True),
)
RUN_PARAMETERS = (
    *LOCATIONS,
    RunParameter("span", STRING, "digits for {SPAN} in the locations; empty: the newest span", "data.span", True),
    RunParameter("sample_size", INTEGER, "number of training rows sampled; 0: all", "data.sample_size", True),
    RunParameter("epochs", INTEGER, "passes over the training rows", "trainer.epochs"),
    PIPELINE_ROOT,
    RUN_TOKEN,
)

# Where a task's properties contain a section of the configuration: task -> (property, keys in its JSON, section class).
_SECTIONS: Mapping[str, tuple[str, tuple[str, ...], type[pydantic.BaseModel]]] = {
    "tsv-example-gen": ("data", (), DataConfig),
    "trainer": ("custom_config", ("trainer",), TrainerConfig),
}
_TASKS = {"data": "tsv-example-gen", "trainer": "trainer"}


def sections() -> Mapping[str, str]:
    """Returns the tasks whose properties contain a section that run parameters change: task -> property."""
    return {task: name for task, (name, _, _) in _SECTIONS.items()}


def of_task(task: str, cached: bool) -> tuple[RunParameter, ...]:
    """Returns the parameters that a task takes: those of its section, and the one that changes its cache key.

    Args:
      task: id of the task.
      cached: whether its outputs may come from the cache.
    """
    return tuple(
        parameter
        for parameter in RUN_PARAMETERS
        if (parameter.key and _TASKS[parameter.key.split(".")[0]] == task)
        or (parameter is PIPELINE_ROOT and task == "tsv-example-gen")
        or (parameter is RUN_TOKEN and cached)
    )


def default(parameter: RunParameter, config: Config) -> Value:
    """Returns a parameter's default: the configuration's value."""
    if parameter.key is None:
        # Including the root: the cluster's form has its own field for it, which takes precedence.
        return ""
    section, name = parameter.key.split(".")
    value: Optional[Value] = getattr(getattr(config, section), name)
    if value is None:
        return _NULL[parameter.type]
    return value if parameter.type == INTEGER else str(value)


def take(task: str, values: dict[str, Any]) -> dict[str, Value]:
    """Removes the run parameters from a task's parameter values, in place; returns them.

    Args:
      task: id of the task.
      values: name -> value of all its parameters; integers are floats, because the backend sends them as JSON numbers.
    """
    taken = {}
    for parameter in of_task(task, cached=True):
        if parameter.name in values:
            value = values.pop(parameter.name)
            taken[parameter.name] = int(value) if parameter.type == INTEGER else value
    return taken


def merge(task: str, properties: Mapping[str, Any], values: Mapping[str, Value]) -> dict[str, Any]:
    """Merges run parameters into a task's execution properties.

    Args:
      task: id of the task.
      properties: name -> value of the execution properties.
      values: name -> value of run parameters, from `take`.

    Raises:
      UserError: the configuration does not allow a value.
    """
    settings = {p.key: p for p in RUN_PARAMETERS if p.key and p.name in values}
    if task not in _SECTIONS or not settings:
        return dict(properties)
    name, keys, section_class = _SECTIONS[task]
    content = json.loads(properties[name])
    section = content
    for key in keys:
        section = section[key]
    for key, parameter in settings.items():
        _set(section, key.split(".")[1], values[parameter.name], parameter)
    try:
        section_class.model_validate(section)
    except pydantic.ValidationError as error:
        raise UserError(f"run parameters: {describe_faults(error, _section_name(task))}") from error
    return {**properties, name: json.dumps(content, ensure_ascii=False)}


def _set(section: dict[str, Any], key: str, value: Value, parameter: RunParameter) -> None:
    wanted = None if parameter.optional and value == _NULL[parameter.type] else value
    if section.get(key) != wanted and f"{key}_sha256" in section:
        # The digest belongs to the old location.
        section[f"{key}_sha256"] = None
    section[key] = wanted


def _section_name(task: str) -> str:
    return next(section for section, of in _TASKS.items() if of == task)
