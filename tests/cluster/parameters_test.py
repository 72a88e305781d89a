import json

import pytest

from cluster import parameters
from core import config
from core.errors import UserError

DATA = {"train": "a.tsv", "test": "b.tsv", "train_sha256": "0" * 64, "test_sha256": "1" * 64}


def folded(**given):
    return json.loads(parameters.fold("tsv-example-gen", {"data": json.dumps(DATA)}, given)["data"])


def test_a_value_replaces_the_sections():
    assert folded(train="c.tsv", sample_size=20)["train"] == "c.tsv"
    assert folded(train="c.tsv", sample_size=20)["sample_size"] == 20


def test_what_stands_for_nothing_is_null():
    content = folded(test="", span="", sample_size=0)
    assert (content["test"], content["span"], content["sample_size"]) == (None, None, None)


def test_a_digest_goes_with_its_location_only():
    content = folded(train="c.tsv", test="b.tsv")
    assert (content["train_sha256"], content["test_sha256"]) == (None, "1" * 64)


def test_epochs_lie_deep_in_the_trainers_properties():
    custom = {"trainer": {"epochs": 5, "batch_size": 16}, "checkpoints": "/x"}
    properties = parameters.fold("trainer", {"custom_config": json.dumps(custom), "run_fn": "f"}, {"epochs": 2})
    assert json.loads(properties["custom_config"]) == {
        "trainer": {"epochs": 2, "batch_size": 16},
        "checkpoints": "/x",
    }
    assert properties["run_fn"] == "f"


@pytest.mark.parametrize(
    "task, properties, given, message",
    [
        ("tsv-example-gen", {"data": json.dumps(DATA)}, {"span": "x"}, "data.span = 'x'"),
        ("tsv-example-gen", {"data": json.dumps(DATA)}, {"sample_size": -1}, "data.sample_size = -1"),
        ("trainer", {"custom_config": json.dumps({"trainer": {}})}, {"epochs": 0}, "trainer.epochs = 0"),
    ],
)
def test_a_value_that_the_configuration_refuses_is_named(task, properties, given, message):
    with pytest.raises(UserError, match=f"run parameters: {message}"):
        parameters.fold(task, properties, given)


def test_taking_leaves_tfx_only_its_own():
    values = {"data": "{}", "train": "a", "sample_size": 20.0, "run_token": "x"}
    assert parameters.take("tsv-example-gen", values) == {"train": "a", "sample_size": 20, "run_token": "x"}
    assert values == {"data": "{}"}


def test_only_what_can_be_cached_takes_the_token():
    assert parameters.RUN_TOKEN in parameters.of_task("evaluator", cached=True)
    assert parameters.of_task("pusher", cached=False) == ()


def test_defaults_are_the_configurations(tmp_path):
    file = tmp_path / "x.yaml"
    file.write_text("name: x\ndata: {train: /mnt/a.tsv}\nkubeflow: {image: i, work_dir: /mnt/w}\n")
    made = {p.name: parameters.default(p, config.load_config(str(file))) for p in parameters.RUN_PARAMETERS}
    assert made == {
        "train": "/mnt/a.tsv",
        "test": "",
        "span": "",
        "sample_size": 0,
        "epochs": 5,
        "pipeline_root": "",
        "run_token": "",
    }
