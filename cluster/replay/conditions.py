"""When a task runs at all: its `triggerPolicy.condition`, which is written in CEL."""

import json
from typing import Any, Mapping

import celpy
from celpy import adapter

from core.errors import UserError

# The one function that the backend adds to the language.
_FUNCTIONS = {"parseJson": lambda text: adapter.json_to_cel(json.loads(text))}


def check(where: str, condition: str) -> None:
    """Raises UserError for what is no expression.

    Args:
      where: words that name the task.
      condition: as the spec has it.
    """
    try:
        celpy.Environment().compile(condition)
    except celpy.CELParseError as error:
        first_line = str(error).splitlines()[0]
        raise UserError(
            f"{where}: triggerPolicy.condition: {condition!r} is no CEL expression: {first_line}"
        ) from error


def holds(condition: str, inputs: Mapping[str, Any]) -> bool:
    """Evaluates a condition.

    Args:
      condition: one that `check` passed; sees `inputs` with the names of the proto's fields.
      inputs: those of the task's ExecutorInput.

    Raises:
      ValueError: it asks for what is not there, mixes types, or is neither true nor false.
    """
    environment = celpy.Environment()
    program = environment.program(environment.compile(condition), functions=_FUNCTIONS)
    fields = {"parameter_values": inputs.get("parameterValues", {}), "artifacts": inputs.get("artifacts", {})}
    try:
        result = program.evaluate({"inputs": adapter.json_to_cel(fields)})
    except celpy.CELEvalError as error:
        raise ValueError(f"triggerPolicy.condition: {condition!r}: {error.args[0]}") from error
    if not isinstance(result, celpy.celtypes.BoolType):
        raise ValueError(f"triggerPolicy.condition: {condition!r} is {result!r}; should be true or false")
    return bool(result)
