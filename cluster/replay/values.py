"""Values of parameters: as text, as JSON, and by the types that a spec declares."""

import decimal
import json
from typing import Any, Mapping

from google.protobuf import json_format, message
from kfp.pipeline_spec import pipeline_spec_pb2

from core import escape
from core.errors import UserError

_TYPE = pipeline_spec_pb2.ParameterType

# Declared type -> what JSON values it takes, and how a person says it.
_KINDS: Mapping[int, tuple[tuple[type, ...], str]] = {
    _TYPE.NUMBER_DOUBLE: ((int, float), "a number"),
    _TYPE.NUMBER_INTEGER: ((int, float), "a whole number"),
    _TYPE.STRING: ((str,), "a text"),
    _TYPE.BOOLEAN: ((bool,), "true or false"),
    _TYPE.LIST: ((list,), "a JSON list"),
    _TYPE.STRUCT: ((dict,), "a JSON object"),
    _TYPE.TASK_FINAL_STATUS: ((dict,), "a task's final status"),
}

# As Go's strconv.ParseBool, which the backend parses with.
_BOOLEANS = {
    **dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True),
    **dict.fromkeys(("0", "f", "F", "FALSE", "false", "False"), False),
}


def of_run(declared: pipeline_spec_pb2.ComponentInputsSpec, given: Mapping[str, str]) -> dict[str, Any]:
    """Returns the values of a run's parameters, checked as the API server checks them.

    Args:
      declared: what the root of the pipeline declares.
      given: name -> text that a person gave.

    Raises:
      UserError: a name is not declared, a value is not of its type, or one without a default is missing.
    """
    unknown = sorted(given.keys() - declared.parameters.keys())
    if unknown:
        known = ", ".join(sorted(declared.parameters)) or "none"
        raise UserError(f"--param {unknown[0]}: the pipeline has no such parameter; it has: {known}")
    values = {}
    for name, parameter in sorted(declared.parameters.items()):
        if name in given:
            try:
                values[name] = from_text(given[name], parameter.parameter_type)
            except ValueError as error:
                raise UserError(f"--param {name}={escape.quote(given[name])}: should be {error}") from error
        elif parameter.HasField("default_value"):
            values[name] = of_type(plain(parameter.default_value), parameter.parameter_type)
        elif not parameter.is_optional:
            raise UserError(f"--param {name}: missing, and the pipeline has no default for it")
    return values


def from_text(text: str, declared: int) -> Any:
    """Reads a value: a person's, or what a container left in a parameter's output file.

    Args:
      text: the value.
      declared: `ParameterTypeEnum`.

    Raises:
      ValueError: with words that say what the text should be.
    """
    if declared == _TYPE.STRING:
        return text
    try:
        if declared == _TYPE.NUMBER_INTEGER:
            return int(text)
        if declared == _TYPE.NUMBER_DOUBLE:
            return _whole(float(text))
        value = _BOOLEANS[text.strip()] if declared == _TYPE.BOOLEAN else json.loads(text)
    except (ValueError, KeyError) as error:
        raise ValueError(_KINDS[declared][1]) from error
    return of_type(value, declared)


def to_text(value: Any) -> str:
    """Writes a value as the backend writes it into a text parameter or an argument."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        # Go's format 'f' has no exponent.
        return format(decimal.Decimal(repr(value)), "f")
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)


def of_type(value: Any, declared: int) -> Any:
    """Returns a value as the driver hands it to an input of a declared type: a text takes anything.

    Raises:
      ValueError: with words that say what the value should be.
    """
    if declared == _TYPE.STRING:
        return to_text(value)
    types, words = _KINDS[declared]
    # To Python a bool is an int.
    if not isinstance(value, types) or isinstance(value, bool) != (declared == _TYPE.BOOLEAN):
        raise ValueError(f"{words}, not {escape.quote(to_text(value))}")
    return value


def plain(content: message.Message) -> Any:
    """Returns a message as JSON; whole numbers without a fraction, as Go writes them."""
    return _whole(json_format.MessageToDict(content))


def _whole(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _whole(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_whole(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
