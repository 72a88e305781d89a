"""Tests of the model card."""

import json

import pytest

from artifacts import model_card
from core.errors import UserError
from schema.task import make_task

LAYOUT = {"label": "label", "quoting": "minimal", "header": True, "encoding": "utf-8"}


def write(folder, columns, labels):
    model_card.write(str(folder), model_card.ModelCard(make_task(columns, labels), LAYOUT, 16))
    return str(folder)


def test_the_card_keeps_the_order_of_the_classes_and_names_it(tmp_path):
    folder = write(tmp_path, ("review",), {"2": "good", "1": "good", "0": "bad"})
    assert model_card.read(folder).task.label_names == ("good", "bad")
    assert json.loads((tmp_path / model_card.CARD_FILE).read_text(encoding="utf-8"))["classes"] == ["good", "bad"]


def test_a_model_with_other_inputs_can_not_replace_the_one_in_serving(tmp_path):
    labels = {"0": "no", "1": "yes"}
    served = write(tmp_path / "1", ("review",), labels)
    model_card.check_same_inputs(served, make_task(("another name",), labels))
    with pytest.raises(UserError, match="takes text, this run's would take text and text_pair"):
        model_card.check_same_inputs(served, make_task(("question", "sentence"), labels))
    model_card.check_same_inputs(str(tmp_path / "no card"), make_task(("question", "sentence"), labels))
