"""Requests and responses have the form of TensorFlow Serving's REST API."""

import base64
import json

import numpy as np
import pytest

from local.server import rest

SINGLE = {"serving_default": ("text",), "serving_examples": ("examples",)}
PAIR = {"serving_default": ("text", "text_pair")}
A64 = {"b64": base64.b64encode(b"a\xff").decode()}


def parse(content, signatures=SINGLE):
    return rest.parse(json.dumps(content).encode(), signatures)


@pytest.mark.parametrize(
    "signatures, content, rows",
    [
        (SINGLE, {"instances": ["a", "굿"]}, [(b"a",), ("굿".encode(),)]),
        (SINGLE, {"instances": [{"text": "a"}, "b"]}, [(b"a",), (b"b",)]),
        (SINGLE, {"instances": [A64, {"text": A64}]}, [(b"a\xff",), (b"a\xff",)]),
        (SINGLE, {"inputs": ["a", A64]}, [(b"a",), (b"a\xff",)]),
        (SINGLE, {"inputs": {"text": ["a"]}, "other": 1}, [(b"a",)]),
        (SINGLE, {"signature_name": "", "instances": ["a"]}, [(b"a",)]),
        (PAIR, {"instances": [{"text_pair": "b", "text": "a"}]}, [(b"a", b"b")]),
        (PAIR, {"inputs": {"text": ["a", "c"], "text_pair": ["b", "d"]}}, [(b"a", b"b"), (b"c", b"d")]),
        # A lone surrogate, which UTF-8 can't encode.
        (SINGLE, {"instances": ["\ud800"]}, [(b"\xed\xa0\x80",)]),
    ],
)
def test_rows_and_columns_are_read(signatures, content, rows):
    query = parse(content, signatures)
    assert (query.rows, query.signature, query.by_column) == (rows, "serving_default", "inputs" in content)


def test_the_signature_is_named():
    query = parse({"signature_name": "serving_examples", "instances": [A64]})
    assert (query.signature, query.rows) == ("serving_examples", [(b"a\xff",)])


@pytest.mark.parametrize(
    "signatures, content, message",
    [
        (SINGLE, [], 'request = []: should be an object, such as {"instances": ["a text"]}'),
        (SINGLE, {}, "request: should have either instances (a list of rows) or inputs"),
        (SINGLE, {"instances": ["a"], "inputs": ["a"]}, "instances and inputs: should have either"),
        (SINGLE, {"instances": []}, "instances = []: should have at least one row"),
        (SINGLE, {"inputs": {"text": []}}, "should have at least one row"),
        (SINGLE, {"instances": "a"}, 'instances = "a": should be a list of rows'),
        (SINGLE, {"instances": ["a", 3]}, 'instances[1] = 3: should be a text, or {"b64": "..."}'),
        (SINGLE, {"instances": [["a"]]}, 'instances[0] = ["a"]: should be a text'),
        (
            SINGLE,
            {"instances": [{"txt": "a"}]},
            'instances[0] = {"txt": "a"}: should be an object with a text for text',
        ),
        (SINGLE, {"instances": [{"b64": "a"}]}, "instances[0].b64 = 'a': should be base64"),
        (SINGLE, {"instances": ["a"], "signature_name": "x"}, 'signature_name = "x": should be one of serving_default'),
        (SINGLE, {"instances": ["a"], "signature_name": [1]}, "signature_name = [1]: should be one of"),
        (SINGLE, {"inputs": "a"}, 'inputs.text = "a": should be a list of texts'),
        (SINGLE, {"inputs": {"text": ["a"], "text_pair": ["b"]}}, "should be an object with a list of texts for text"),
        (PAIR, {"instances": ["a"]}, 'instances[0] = "a": should be an object with a text for text and text_pair'),
        (PAIR, {"inputs": {"text": ["a", "b"], "text_pair": ["c"]}}, "inputs: 2 in text and 1 in text_pair; should be"),
    ],
)
def test_a_wrong_request_names_the_field_the_value_and_what_would_be_right(signatures, content, message):
    with pytest.raises(rest.RequestError) as error:
        parse(content, signatures)
    assert error.value.status == 400 and message in str(error.value)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"instances": ["\xff"]}'])
def test_a_body_that_is_no_json_is_refused(body):
    with pytest.raises(rest.RequestError, match="request: should be JSON in UTF-8"):
        rest.parse(body, SINGLE)


def test_a_long_value_is_cut_in_the_message():
    with pytest.raises(rest.RequestError) as error:
        parse({"instances": [["x" * 1000]]})
    assert len(str(error.value)) < 150


OUTPUTS = {
    "label": np.array([1, 0]),
    "probability": np.array([0.75, 0.25], np.float32),
    "probabilities": np.array([[0.25, 0.75], [0.75, 0.25]], np.float32),
    "label_name": np.array(["긍정".encode(), b"no"], object),
    "raw_bytes": np.array([b"a\xff", b""], object),
}


def test_rows_are_answered_with_an_object_each():
    query = rest.Query("serving_default", False, [(b"a",), (b"b",)])
    row = {"label": 1, "probability": 0.75, "probabilities": [0.25, 0.75], "label_name": "긍정", "raw_bytes": A64}
    assert rest.respond(query, OUTPUTS)["predictions"][0] == row


def test_columns_are_answered_with_a_list_for_each_output():
    answer = rest.respond(rest.Query("serving_default", True, [(b"a",), (b"b",)]), OUTPUTS)
    assert answer["outputs"]["label"] == [1, 0] and answer["outputs"]["label_name"] == ["긍정", "no"]


@pytest.mark.parametrize("by_column, key", [(True, "outputs"), (False, "predictions")])
def test_the_name_of_the_only_output_is_left_out(by_column, key):
    query = rest.Query("serving_default", by_column, [(b"a",), (b"b",)])
    assert rest.respond(query, {"score": np.array([1.5, 2.0])}) == {key: [1.5, 2.0]}
