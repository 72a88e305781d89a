import pytest

from cluster import compiled_file
from cluster.compiled_file import CompiledFile
from core import config
from core.errors import UserError
from core.installation import find_config

PARAMETERS = {
    "train": {"parameterType": "STRING"},
    "epochs": {"parameterType": "NUMBER_INTEGER", "defaultValue": 5},
    "rate": {"parameterType": "NUMBER_DOUBLE", "defaultValue": 0.5},
    "fast": {"parameterType": "BOOLEAN", "defaultValue": False},
    "list": {"parameterType": "LIST", "isOptional": True},
    "map": {"parameterType": "STRUCT", "isOptional": True},
}
SPEC = {"pipelineInfo": {"name": "x"}, "root": {"inputDefinitions": {"parameters": PARAMETERS}}}
FILE = CompiledFile("x.yaml", "0123456789abcdef", SPEC, {})


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("train", "a b", "a b"),
        ("train", "", ""),
        ("train", "12", "12"),
        ("epochs", " -3\n", -3),
        ("rate", "1e-5", 1e-5),
        ("rate", "2", 2.0),
        ("fast", "True", True),
        ("list", "[1]", [1]),
        ("map", '{"a": 1}', {"a": 1}),
    ],
)
def test_a_text_is_parsed_as_the_declared_type(name, text, value):
    parsed = FILE.parse_parameters({"train": "", name: text})[name]
    assert (parsed, type(parsed)) == (value, type(value))


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({}, "parameter train: missing, and x.yaml has no default for it"),
        ({"epoch": "1"}, "parameter epoch: no such parameter in x.yaml; it has epochs, fast, list, map, rate, train"),
        ({"epochs": "2.5"}, "parameter epochs: '2.5': should be an integer"),
        ({"epochs": ""}, "parameter epochs: '': should be an integer"),
        ({"rate": "x"}, "parameter rate: 'x': should be a number"),
        ({"fast": "yes"}, "parameter fast: 'yes': should be true or false"),
        ({"list": "{}"}, "parameter list: '{}': should be a JSON list"),
        ({"map": "["}, "parameter map: '[': should be a JSON object"),
    ],
)
def test_parameters_that_the_api_server_would_refuse_are_refused(texts, message):
    with pytest.raises(UserError) as caught:
        FILE.parse_parameters(texts if not texts or "epoch" in texts else {"train": "", **texts})
    assert str(caught.value) == message


@pytest.fixture(scope="module", name="compiled")
def _compiled(tmp_path_factory):
    from cluster import compiler

    path = str(tmp_path_factory.mktemp("compiled") / "nsmc.yaml")
    compiler.compile_pipeline(config.load_config(find_config("kubeflow")), path)
    return compiled_file.read(path)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"epochs": "0"}, "run parameters: trainer.epochs = 0: should be greater than or equal to 1"),
        ({"sample_size": "-1"}, "run parameters: data.sample_size = -1: should be"),
        ({"span": "today"}, "run parameters: data.span = 'today': should be"),
        ({"span": "3"}, "span: 3 has no effect: train = https://.* contains no {SPAN}"),
    ],
)
def test_values_that_the_configuration_does_not_allow_are_refused(compiled, texts, message):
    with pytest.raises(UserError, match=message):
        compiled.parse_parameters(texts)
    assert compiled.parse_parameters({"epochs": "1", "sample_size": "0", "span": ""})


@pytest.mark.parametrize("location", ["", "/home/me/train.tsv", "train.tsv", "/mnt/reviews-2/train.tsv"])
def test_data_that_no_pod_would_find_is_refused(compiled, location):
    with pytest.raises(UserError, match=f"parameter train: '{location}': should be .*: below /mnt/reviews$"):
        compiled.check_locations({"train": location})
    compiled.check_locations({"train": "/mnt/reviews/train.tsv", "test": ""})
    compiled.check_locations({"train": "https://example.com/train.tsv"})


def test_defaults_and_version():
    assert FILE.defaults == {"epochs": 5, "rate": 0.5, "fast": False}
    assert (FILE.name, FILE.version) == ("x", "0123456789ab")
