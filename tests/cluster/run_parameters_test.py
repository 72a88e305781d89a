import json

import pytest

from cluster import run_parameters
from core import config
from core.errors import UserError

DATA = {"train": "a.tsv", "test": "b.tsv", "train_sha256": "0" * 64, "test_sha256": "1" * 64}


def merged(**given):
    return json.loads(run_parameters.merge("tsv-example-gen", {"data": json.dumps(DATA)}, given)["data"])


def test_a_value_replaces_the_sections():
    assert merged(train="c.tsv", sample_size=20)["train"] == "c.tsv"
    assert merged(train="c.tsv", sample_size=20)["sample_size"] == 20


def test_empty_values_become_null():
    content = merged(test="", span="", sample_size=0)
    assert (content["test"], content["span"], content["sample_size"]) == (None, None, None)


def test_a_digest_is_removed_only_with_its_location():
    content = merged(train="c.tsv", test="b.tsv")
    assert (content["train_sha256"], content["test_sha256"]) == (None, "1" * 64)


def test_epochs_are_nested_in_the_trainers_properties():
    custom = {"trainer": {"epochs": 5, "batch_size": 16}, "checkpoints": "/x"}
    properties = run_parameters.merge("trainer", {"custom_config": json.dumps(custom), "run_fn": "f"}, {"epochs": 2})
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
def test_an_invalid_value_is_named(task, properties, given, message):
    with pytest.raises(UserError, match=f"run parameters: {message}"):
        run_parameters.merge(task, properties, given)


def test_take_leaves_only_tfxs_own_values():
    values = {"data": "{}", "train": "a", "sample_size": 20.0, "run_token": "x"}
    assert run_parameters.take("tsv-example-gen", values) == {"train": "a", "sample_size": 20, "run_token": "x"}
    assert values == {"data": "{}"}


def test_only_cached_tasks_take_the_token():
    assert run_parameters.RUN_TOKEN in run_parameters.of_task("evaluator", cached=True)
    assert run_parameters.of_task("pusher", cached=False) == ()


def test_defaults_are_the_configurations(tmp_path):
    file = tmp_path / "x.yaml"
    file.write_text("name: x\ndata: {train: /mnt/a.tsv}\nkubeflow: {image: i, work_dir: /mnt/w}\n")
    defaults = {p.name: run_parameters.default(p, config.load_config(str(file))) for p in run_parameters.RUN_PARAMETERS}
    assert defaults == {
        "train": "/mnt/a.tsv",
        "dev": "",
        "test": "",
        "span": "",
        "sample_size": 0,
        "epochs": 5,
        "pipeline_root": "",
        "run_token": "",
    }
