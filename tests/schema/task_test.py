"""The binary task: labels, outputs, names."""

import dataclasses
import math

import numpy as np
import pytest
import tensorflow as tf

from schema.task import make_task, task_from_json

TASK = make_task(("document",), {"0": "neg", "1": "pos"})


@pytest.mark.parametrize(("raw", "label"), [("0", 0), ("1", 1), ("2", None), ("", None), (" 1", None), ("1.0", None)])
def test_only_configured_values_are_labels(raw, label):
    assert TASK.parse_label(raw) == label


def test_served_outputs_agree_with_each_other_at_and_around_the_boundary():
    outputs = TASK.served_outputs(tf.constant([[-2.0], [0.0], [1e-6], [2.0]]))
    assert [t.dtype.name for t in (outputs["probability"], outputs["label"], outputs["logit"])] == [
        "float32",
        "int64",
        "float32",
    ]
    np.testing.assert_allclose(
        outputs["probability"], [1 / (1 + math.exp(2)), 0.5, 0.5, 1 / (1 + math.exp(-2))], atol=1e-6
    )
    np.testing.assert_array_equal(outputs["label"], [int(p > 0.5) for p in outputs["probability"].numpy()])


def test_predictions_give_the_probability_of_the_named_label():
    outputs = {"label": np.array([0, 1]), "probability": np.array([0.1, 0.8]), "logit": np.array([0.0, 0.0])}
    assert TASK.predictions(outputs) == [("neg", pytest.approx(0.9)), ("pos", pytest.approx(0.8))]


def test_predictions_are_names_with_the_probability_of_their_class():
    # Labels that went through JSON or a server are floats.
    outputs = {"label": np.array([1.0, 0.0]), "probability": np.array([0.75, 0.25], np.float32)}
    assert TASK.class_probabilities(outputs).tolist() == [[0.25, 0.75], [0.75, 0.25]]
    assert TASK.predictions(outputs) == [("pos", 0.75), ("neg", 0.75)]


def test_loss_and_metric_are_on_logits():
    losses = TASK.example_losses(np.array([0, 1]), np.array([[-1.0], [1.0]], np.float32))
    np.testing.assert_allclose(losses, [math.log1p(math.exp(-1))] * 2, rtol=1e-5)
    scores = TASK.example_scores(tf.constant([0, 1, 1]), tf.constant([[-0.1], [0.1], [-0.1]]))
    assert scores.numpy().tolist() == [1.0, 1.0, 0.0]
    assert TASK.training_metric == "accuracy"


def test_every_gated_metric_is_evaluated():
    assert set(TASK.default_bounds) == set(TASK.evaluation_metrics)
    assert TASK.evaluated_output in TASK.served_outputs(tf.zeros([1, TASK.head_units]))


def test_json_round_trip():
    assert task_from_json(dataclasses.asdict(TASK)) == TASK


@pytest.mark.parametrize(
    ("columns", "labels"),
    [
        (("a", "b", "c"), {"0": "n", "1": "p"}),
        ((), {"0": "n", "1": "p"}),
        (("a", "a"), {"0": "n", "1": "p"}),
        (("a",), {"0": "n"}),
        (("a",), {"0": "a", "1": "b", "2": "c"}),
    ],
)
def test_unsupported_columns_and_labels_are_rejected(columns, labels):
    with pytest.raises(
        ValueError, match="text: . columns; should be one|text: 'a' is named twice|labels: only two are supported"
    ):
        make_task(columns, labels)


def test_a_pair_has_two_texts_in_examples_and_two_inputs_in_serving():
    single, pair = make_task(("a",), TASK.labels), make_task(("question", "sentence"), TASK.labels)
    assert (single.text_features, single.text_inputs) == (("document",), ("text",))
    assert (pair.text_features, pair.text_inputs) == (("document", "document_pair"), ("text", "text_pair"))
    assert task_from_json(dataclasses.asdict(pair)) == pair
