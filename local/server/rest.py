"""TensorFlow Serving's REST form: what a request asks, and the response with the outputs of the model.

A request has `instances`, a list of rows, and is answered with `predictions`, a list too; or `inputs`, a list for each
input, and is answered with `outputs`, a list for each output. The name of the only input or output is left out. Bytes
are `{"b64": "..."}`. `signature_name` selects a signature.
"""

import base64
import binascii
import dataclasses
import json
from typing import Any, Mapping, NoReturn, Sequence

import numpy as np

from core import escape

DEFAULT_SIGNATURE = "serving_default"
# TensorFlow Serving encodes outputs whose name ends like this, all others are UTF-8.
_BINARY_SUFFIX = "_bytes"

# The values of a row, in the order of the signature's inputs.
Row = tuple[bytes, ...]


class RequestError(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclasses.dataclass(frozen=True)
class Query:
    """What a request asks.

    Attributes:
      signature: name of the signature.
      by_column: whether the request had `inputs`.
      rows: at least one.
    """

    signature: str
    by_column: bool
    rows: list[Row]


def parse(body: bytes, signatures: Mapping[str, Sequence[str]]) -> Query:
    """Parses the body of a request.

    Args:
      body: JSON.
      signatures: name of each signature -> names of its inputs, which are string[batch].

    Raises:
      RequestError: the body is not a request for one of the signatures.
    """
    content = _parse_json(body)
    signature = content.get("signature_name") or DEFAULT_SIGNATURE
    if not isinstance(signature, str) or signature not in signatures:
        _refuse("signature_name", signature, f"should be one of {', '.join(signatures)}")
    given = [key for key in ("instances", "inputs") if key in content]
    if len(given) != 1:
        raise RequestError(
            400, f"{' and '.join(given) or 'request'}: should have either instances (a list of rows) or inputs"
        )
    parse_rows = _parse_columns if given == ["inputs"] else _parse_instances
    rows = parse_rows(content[given[0]], signatures[signature])
    if not rows:
        _refuse(given[0], content[given[0]], "should have at least one row")
    return Query(signature, given == ["inputs"], rows)


def respond(query: Query, outputs: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Returns the content of the response.

    Args:
      query: the request.
      outputs: by name, [rows, ...] each.
    """
    columns = {name: _to_json(name, values) for name, values in outputs.items()}
    if query.by_column:
        return {"outputs": columns if len(columns) > 1 else next(iter(columns.values()))}
    if len(columns) == 1:
        return {"predictions": next(iter(columns.values()))}
    return {"predictions": [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]}


def describe_model(name: str, version: int, signatures: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the response to a request for a model's metadata, with what `metadata.read_signatures` found."""
    return {
        "model_spec": {"name": name, "signature_name": "", "version": str(version)},
        "metadata": {"signature_def": {"signature_def": signatures}},
    }


def _parse_json(body: bytes) -> dict[str, Any]:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        reason = f" ({error})" if isinstance(error, json.JSONDecodeError) else ""
        raise RequestError(400, f"request: should be JSON in UTF-8{reason}") from error
    if not isinstance(content, dict):
        _refuse("request", content, 'should be an object, such as {"instances": ["a text"]}')
    return content


def _parse_instances(instances: Any, inputs: Sequence[str]) -> list[Row]:
    if not isinstance(instances, list):
        _refuse("instances", instances, "should be a list of rows")
    rows: list[Row] = []
    for index, instance in enumerate(instances):
        field = f"instances[{index}]"
        if len(inputs) == 1 and not _has_names(instance):
            rows.append((_parse_text(field, instance),))
        else:
            rows.append(_parse_object(field, instance, inputs))
    return rows


def _parse_object(field: str, instance: Any, inputs: Sequence[str]) -> Row:
    _check_names(field, instance, inputs, "a text")
    return tuple(_parse_text(f"{field}.{name}", instance[name]) for name in inputs)


def _parse_columns(columns: Any, inputs: Sequence[str]) -> list[Row]:
    if len(inputs) == 1 and not _has_names(columns):
        columns = {inputs[0]: columns}
    _check_names("inputs", columns, inputs, "a list of texts")
    texts = [_parse_column(f"inputs.{name}", columns[name]) for name in inputs]
    if len({len(column) for column in texts}) > 1:
        lengths = " and ".join(f"{len(column)} in {name}" for name, column in zip(inputs, texts, strict=True))
        raise RequestError(400, f"inputs: {lengths}; should be the same number of texts in each")
    return list(zip(*texts, strict=True))


def _parse_column(field: str, values: Any) -> list[bytes]:
    if not isinstance(values, list):
        _refuse(field, values, "should be a list of texts")
    return [_parse_text(f"{field}[{index}]", value) for index, value in enumerate(values)]


def _has_names(value: Any) -> bool:
    """Returns whether a value is an object of inputs by name, and not encoded bytes."""
    return isinstance(value, dict) and set(value) != {"b64"}


def _check_names(field: str, value: Any, inputs: Sequence[str], each: str) -> None:
    if not isinstance(value, dict) or set(value) != set(inputs):
        _refuse(field, value, f"should be an object with {each} for {' and '.join(inputs)}")


def _parse_text(field: str, value: Any) -> bytes:
    if isinstance(value, str):
        # A lone surrogate, which JSON can express, becomes bytes that the model reads as U+FFFD.
        return value.encode("utf-8", "surrogatepass")
    if isinstance(value, dict) and isinstance(value.get("b64"), str) and len(value) == 1:
        try:
            return base64.b64decode(value["b64"], validate=True)
        except (binascii.Error, ValueError) as error:
            raise RequestError(400, f"{field}.b64 = {escape.quote(value['b64'])}: should be base64") from error
    _refuse(field, value, 'should be a text, or {"b64": "..."}')


def _refuse(field: str, value: Any, should: str) -> NoReturn:
    raise RequestError(400, f"{field} = {show(value)}: {should}")


def show(value: Any) -> str:
    """Returns a value as a message shows it: JSON, cut if it is long."""
    text = json.dumps(value, ensure_ascii=False)
    return escape.line(text if len(text) <= escape.QUOTED_CHARACTERS else text[: escape.QUOTED_CHARACTERS] + "...")


def _to_json(name: str, values: np.ndarray) -> list[Any]:
    if values.dtype.kind not in "OS":
        return values.tolist()
    if name.endswith(_BINARY_SUFFIX):
        return [{"b64": base64.b64encode(value).decode()} for value in values.tolist()]
    return [value.decode("utf-8", "replace") for value in values.tolist()]
