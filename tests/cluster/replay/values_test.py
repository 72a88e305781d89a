import math

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st
from kfp.pipeline_spec import pipeline_spec_pb2

from cluster.replay import values
from core.errors import UserError

TYPE = pipeline_spec_pb2.ParameterType


def declared(**parameters):
    return json_format.ParseDict({"parameters": parameters}, pipeline_spec_pb2.ComponentInputsSpec())


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("a b", TYPE.STRING, "a b"),
        ("", TYPE.STRING, ""),
        ("12", TYPE.STRING, "12"),
        ("12", TYPE.NUMBER_INTEGER, 12),
        (" -3\n", TYPE.NUMBER_INTEGER, -3),
        ("2.0", TYPE.NUMBER_DOUBLE, 2),
        ("1e-5", TYPE.NUMBER_DOUBLE, 1e-5),
        ("true", TYPE.BOOLEAN, True),
        ("F", TYPE.BOOLEAN, False),
        ("[1]", TYPE.LIST, [1]),
        ('{"a": 1}', TYPE.STRUCT, {"a": 1}),
    ],
)
def test_a_text_is_read_by_the_declared_type(text, kind, value):
    read = values.from_text(text, kind)
    assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "kind", "wanted"),
    [
        ("2.5", TYPE.NUMBER_INTEGER, "a whole number"),
        ("", TYPE.NUMBER_INTEGER, "a whole number"),
        ("x", TYPE.NUMBER_DOUBLE, "a number"),
        ("yes", TYPE.BOOLEAN, "true or false"),
        ("{}", TYPE.LIST, "a JSON list"),
        ("[", TYPE.STRUCT, "a JSON object"),
    ],
)
def test_a_text_of_another_type_is_refused_with_what_it_should_be(text, kind, wanted):
    with pytest.raises(ValueError, match=wanted):
        values.from_text(text, kind)


def test_values_of_a_run_are_what_is_given_and_defaults():
    inputs = declared(
        epochs={"parameterType": "NUMBER_INTEGER", "defaultValue": 5},
        span={"parameterType": "STRING", "defaultValue": ""},
        note={"parameterType": "STRING", "isOptional": True},
    )
    assert values.of_run(inputs, {"span": "03"}) == {"epochs": 5, "span": "03"}


@pytest.mark.parametrize(
    ("given_values", "told"),
    [
        ({}, "--param train: missing, and the pipeline has no default for it"),
        ({"train": "x", "epoch": "1"}, "--param epoch: the pipeline has no such parameter; it has: epochs, train"),
        ({"train": "x", "epochs": "many"}, "--param epochs='many': should be a whole number"),
    ],
)
def test_values_of_a_run_that_the_api_server_refuses_are_refused(given_values, told):
    inputs = declared(train={"parameterType": "STRING"}, epochs={"parameterType": "NUMBER_INTEGER", "defaultValue": 5})
    with pytest.raises(UserError) as caught:
        values.of_run(inputs, given_values)
    assert str(caught.value) == told


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        ("a", "a"),
        (3, "3"),
        (1e-7, "0.0000001"),
        (True, "true"),
        ({"b": [1, "가"], "a": 2}, '{"a":2,"b":[1,"가"]}'),
    ],
)
def test_a_value_is_written_as_go_writes_it(value, text):
    assert values.to_text(value) == text
    assert values.of_type(value, TYPE.STRING) == text


@pytest.mark.parametrize(
    ("value", "kind"), [(True, TYPE.NUMBER_INTEGER), (1, TYPE.BOOLEAN), ("1", TYPE.NUMBER_INTEGER), (None, TYPE.STRUCT)]
)
def test_a_value_of_another_type_is_refused(value, kind):
    with pytest.raises(ValueError, match="not"):
        values.of_type(value, kind)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_survive_their_text(number):
    text = values.to_text(number)
    assert "e" not in text
    assert math.isclose(values.from_text(text, TYPE.NUMBER_DOUBLE), number, rel_tol=1e-15)


def test_whole_numbers_of_a_message_have_no_fraction():
    inputs = declared(x={"parameterType": "STRUCT", "defaultValue": {"a": [1, 2.5]}})
    assert repr(values.plain(inputs.parameters["x"].default_value)) == "{'a': [1, 2.5]}"
