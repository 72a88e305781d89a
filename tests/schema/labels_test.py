"""The values of a label column."""

import dataclasses
import json
import os

import pytest

from core import config
from core.errors import UserError
from schema.labels import LEFT_OUT, Labels, describe_reversed
from schema.task import make_task, task_from_json

STARS = {"1": "bad", "2": "bad", "4": "good", "5": "good"}


@pytest.mark.parametrize(
    "raw, outcome",
    [
        ("1", 0),
        ("2", 0),
        ("4", 1),
        (" 5 ", 1),
        ("5.0", 1),
        ("\u00a05.00\u3000", 1),
        ("3", LEFT_OUT),
        (" 3.0", LEFT_OUT),
        ("5.5", None),
        ("51", None),
        ("", None),
        (".0", None),
        ("\u0665", None),  # A digit of another script is another value.
    ],
)
def test_values_stand_for_classes(raw, outcome):
    assert Labels(STARS, ("3",)).parse(raw) == outcome


def test_classes_are_in_the_order_of_their_first_value():
    assert Labels({"5": "good", "1": "bad", "4": "good"}).classes == ("good", "bad")


@pytest.mark.parametrize("case, outcome", [("exact", None), ("ignore", 1)])
def test_case_by_choice(case, outcome):
    labels = Labels({"False": "none", "True": "hate"}, ("Unsure",), case)
    assert (labels.parse("TRUE"), labels.parse("True")) == (outcome, 1)
    assert labels.parse("unsure") == (LEFT_OUT if case == "ignore" else None)


@pytest.mark.parametrize(
    "names, ignored, case",
    [
        ({"1": "good", "1.0": "bad"}, (), "exact"),
        ({"1": "good", " 1": "bad"}, (), "exact"),
        ({"yes": "good", "YES": "bad"}, (), "ignore"),
        ({"1": "good", "0": "bad"}, ("1.0",), "exact"),
    ],
)
def test_a_value_with_two_meanings_is_refused(names, ignored, case):
    with pytest.raises(ValueError, match="are the same value, but should be"):
        Labels(names, ignored, case)


def test_the_same_meaning_twice_is_fine():
    assert Labels({"1": "good", "1.0": "good", "0": "bad"}).parse("1") == 0


@pytest.mark.parametrize(
    "names, words",
    [
        ({"1": "positive", "0": "negative"}, ["label 0 means 'positive', label 1 means 'negative'"]),
        ({"4": "good", "5": "good", "1": "bad", "2": "bad"}, ["label 0 means 'good'"]),
    ],
)
def test_an_order_against_the_numbers_is_pointed_out(names, words):
    assert all(word in describe_reversed(names) for word in words)


@pytest.mark.parametrize("names", [STARS, {"0": "a", "1": "b"}, {"ham": "a", "spam": "b"}, {"-1": "a", "1": "b"}])
def test_other_orders_are_not(names):
    assert describe_reversed(names) is None


def test_a_task_survives_json_with_its_labels():
    task = make_task(("text",), STARS, ignore_labels=["3"], label_case="ignore")
    assert task.label_names == ("bad", "good")
    assert task_from_json(json.loads(json.dumps(dataclasses.asdict(task)))) == task
    assert config.DataConfig(train="t", text="text", **task.settings).make_task() == task


@pytest.mark.parametrize(
    "override, words",
    [
        ("data.ignore_labels=[0]", ["'0'", "left out"]),
        ("data.ignore_labels=[no]", ["quotes"]),
        ("data.label_case=upper", ["label_case"]),
    ],
)
def test_wrong_settings_are_named(override, words):
    sample = os.path.join(os.path.dirname(config.CURATED_SCHEMA), os.pardir, "configs", "sample.yaml")
    with pytest.raises(UserError) as caught:
        config.load_config(sample, [override])
    assert all(word in str(caught.value) for word in words)
