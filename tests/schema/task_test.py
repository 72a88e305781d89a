"""The tasks: labels, losses, outputs, names."""

import dataclasses
import json
import math

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
import tensorflow as tf

from schema.task import BinaryTask, MulticlassTask, OrdinalTask, make_task, task_from_json, task_to_json

TASK = make_task(("document",), {"0": "neg", "1": "pos"})
FIVE = dict(zip("12345", ("one", "two", "three", "four", "five"), strict=True))
STARS = make_task(("text",), FIVE)
ORDINAL = make_task(("text",), FIVE, "ordinal")
SCORE = make_task(("text",), {}, "regression", (0, 5))
TASKS = (TASK, STARS, ORDINAL, SCORE)
LOGITS = hnp.arrays(np.float32, 4, elements=st.floats(-20, 20, width=32))


@pytest.mark.parametrize(("raw", "label"), [("0", 0), ("1", 1), ("2", None), ("", None), (" 1", 1), ("1.5", None)])
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
    for task in TASKS:
        assert set(task.default_bounds) <= set(task.evaluation_metrics) == set(task.metric_titles)
        assert task.slice_metric in task.evaluation_metrics
        assert task.evaluated_output in task.served_outputs(tf.zeros([1, task.head_units]))


def test_json_round_trip():
    for task in TASKS:
        assert task_from_json(json.loads(json.dumps(dataclasses.asdict(task)))) == task


def test_the_order_of_the_classes_does_not_depend_on_the_order_of_keys():
    for kind in ("classification", "ordinal"):
        task = make_task(("text",), {"good": "positive", "bad": "negative", "awful": "negative"}, kind)
        content = json.loads(json.dumps(task_to_json(task), sort_keys=True))
        assert task_from_json(content).label_names == ("positive", "negative")


def test_a_model_of_an_earlier_release_is_binary():
    assert task_from_json({"text_columns": ["document"], "labels": {"0": "neg", "1": "pos"}}) == TASK


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ((("a", "b", "c"), {"0": "n", "1": "p"}), "3 text columns: should be one, or two"),
        (((), {"0": "n", "1": "p"}), "0 text columns: should be one, or two"),
        ((("a", "a"), {"0": "n", "1": "p"}), "text: 'a' is named twice"),
        ((("a",), {"0": "n", "1": "n"}), "1 class; at least two are needed"),
        ((("a",), {"0": "n", "1": "p"}, "classification", (0, 1)), "score_range: has no effect"),
        ((("a",), {}, "regression"), "score_range: is missing"),
        ((("a",), {}, "regression", (5, 0)), "the smaller one first"),
    ],
)
def test_unsupported_combinations_are_rejected(arguments, fault):
    with pytest.raises(ValueError, match=fault):
        make_task(*arguments)


def test_several_values_are_one_class_in_the_order_of_the_names():
    task = make_task(("text",), {"1": "bad", "2": "bad", "5": "good", "4": "good"})
    assert isinstance(task, BinaryTask) and task.label_names == ("bad", "good")
    assert [task.parse_label(raw) for raw in "12453"] == [0, 0, 1, 1, None]


@pytest.mark.parametrize(
    ("raw", "score"), [("3.5", 3.5), ("0", 0.0), ("5.0", 5.0), ("5.1", None), ("nan", None), ("", None), ("good", None)]
)
def test_a_score_is_a_number_in_the_range(raw, score):
    assert SCORE.parse_label(raw) == score


def test_scores_are_grouped_into_tenths_of_the_range():
    groups = SCORE.group_labels(np.array([0.0, 0.49, 0.5, 4.99, 5.0], np.float32))
    assert [SCORE.label_groups[group] for group in groups] == [
        "0 to 0.5",
        "0 to 0.5",
        "0.5 to 1",
        "4.5 to 5",
        "4.5 to 5",
    ]


@hypothesis.settings(deadline=None, max_examples=25)
@hypothesis.given(logits=LOGITS, labels=hnp.arrays(np.int64, 4, elements=st.integers(0, 1)))
def test_two_classes_have_the_same_loss_and_probabilities_with_every_head(logits, labels):
    """A softmax over (0, x) and one step of the ordinal head are a sigmoid of x."""
    pair = tf.constant(np.stack([np.zeros(4), logits], axis=1), tf.float32)
    single = tf.constant(logits[:, np.newaxis], tf.float32)
    softmax, steps = MulticlassTask(("text",), TASK.labels), OrdinalTask(("text",), TASK.labels)
    expected = TASK.served_outputs(single)["probability"].numpy()
    losses = TASK.example_losses(labels, single).numpy()
    for task, inputs in ((softmax, pair), (steps, single)):
        np.testing.assert_allclose(task.example_losses(labels, inputs), losses, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(task.served_outputs(inputs)["probabilities"][:, 1], expected, rtol=1e-5, atol=1e-6)


@hypothesis.settings(deadline=None, max_examples=25)
@hypothesis.given(logits=hnp.arrays(np.float32, (3, 4), elements=st.floats(-30, 30, width=32)))
def test_the_loss_of_classes_is_minus_the_logarithm_of_the_probability(logits):
    """For every label; the probabilities sum to 1, whatever the logits."""
    for task in (STARS, ORDINAL):
        inputs = tf.constant(logits[:, : task.head_units] if task.head_units <= 4 else np.pad(logits, ((0, 0), (0, 1))))
        probabilities = task.served_outputs(inputs)["probabilities"].numpy()
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
        for label in range(len(task.label_names)):
            loss = task.example_losses(np.full(3, label), inputs).numpy()
            np.testing.assert_allclose(np.exp(-loss), probabilities[:, label], rtol=1e-3, atol=1e-6)


def test_served_outputs_of_classes_agree_with_each_other():
    outputs = {name: value.numpy() for name, value in STARS.served_outputs(tf.constant([[0.0, 3, 1, 0, 0]])).items()}
    assert outputs["label"].dtype == np.int64 and outputs["label"].tolist() == [1]
    assert outputs["probability"] == outputs["probabilities"][0, 1]
    assert STARS.answers(outputs) == [
        {"label_name": "two", "probability": pytest.approx(math.exp(3) / (math.exp(3) + math.e + 3))}
    ]
    assert STARS.is_right(1, STARS.answers(outputs)[0]) and not STARS.is_right(2, STARS.answers(outputs)[0])


def test_the_expected_value_is_in_the_numbers_of_the_file():
    # Never past the first step: one star. Always past all of them: five stars.
    outputs = ORDINAL.served_outputs(tf.constant([[-20.0] * 4, [20.0] * 4, [20.0, 20, 0, -20]]))
    np.testing.assert_allclose(outputs["expected_value"], [1, 5, 3.5], atol=1e-5)
    assert outputs["label"].numpy()[:2].tolist() == [0, 4]
    words = make_task(("text",), {"low": "low", "mid": "mid", "high": "high"}, "ordinal")
    assert words.class_values == (0, 1, 2)


def test_a_score_stays_in_its_range_and_its_loss_is_smallest_at_the_label():
    scores = SCORE.served_outputs(tf.constant([[-50.0], [0.0], [50.0]]))["score"].numpy()
    assert scores.tolist() == pytest.approx([0.0, 2.5, 5.0])
    logits = np.linspace(-4, 4, 81, dtype=np.float32)
    losses = SCORE.example_losses(np.full(81, 4.0, np.float32), logits[:, np.newaxis]).numpy()
    best = SCORE.served_outputs(tf.constant(logits[:, np.newaxis]))["score"].numpy()[losses.argmin()]
    assert best == pytest.approx(4.0, abs=0.05)
    assert SCORE.example_scores(np.array([5.0], np.float32), np.zeros([1, 1], np.float32)).numpy().tolist() == [0.5]


def test_shares_of_outputs_that_are_impossible():
    with pytest.raises(IndexError):
        STARS.answer_shares({"probabilities": np.eye(5), "label": np.array([0, 1, 2, 3, 5])})
    assert SCORE.answer_shares({"score": np.array([5.5])}) > 1


def test_strengths_are_those_of_the_answer_to_one_row():
    outputs = {name: tensor.numpy() for name, tensor in TASK.served_outputs(tf.constant([[2.0], [-1.0]])).items()}
    positive = outputs["probability"]
    assert TASK.answer_strengths(outputs, 0).tolist() == positive.tolist()
    assert TASK.answer_strengths(outputs, 1).tolist() == (1 - positive).tolist()
    probabilities = np.array([[0.1, 0.2, 0.7, 0.0, 0.0], [0.6, 0.0, 0.3, 0.0, 0.1]])
    stars = {"probabilities": probabilities, "label": np.array([2, 0])}
    assert STARS.answer_strengths(stars, 0).tolist() == [0.7, 0.3]
    assert STARS.answer_strengths(stars, 1).tolist() == [0.1, 0.6]
    assert SCORE.answer_strengths({"score": np.array([5.0, 1.0])}, 1).tolist() == [1.0, 0.2]


def test_balanced_weights_give_every_class_the_same_total():
    labels = np.array([0] * 6 + [1] * 3 + [3])
    weights = make_task(("text",), dict(zip("abcd", "abcd", strict=True))).balanced_weights(labels)
    assert [weights[i] * (labels == i).sum() for i in (0, 1, 3)] == pytest.approx([10 / 3] * 3)
    assert weights[labels].mean() == pytest.approx(1.0) and weights.dtype == np.float32


@pytest.mark.parametrize(
    ("labels", "probabilities", "threshold"),
    [
        ([0, 0, 1, 1], [0.1, 0.4, 0.6, 0.9], 0.5),
        ([0, 0, 0, 1], [0.1, 0.12, 0.15, 0.25], 0.24),  # The nearest to 0.5 of those between 0.15 and 0.25.
        ([1, 0, 1, 1], [0.75, 0.705, 0.9, 0.95], 0.71),
    ],
)
def test_the_best_threshold_divides_the_classes(labels, probabilities, threshold):
    logits = np.log(np.array(probabilities) / (1 - np.array(probabilities)))[:, np.newaxis]
    assert TASK.best_threshold(np.array(labels), logits.astype(np.float32)) == threshold


def test_a_pair_has_two_texts_in_examples_and_two_inputs_in_serving():
    single, pair = make_task(("a",), TASK.labels), make_task(("question", "sentence"), TASK.labels)
    assert (single.text_features, single.text_inputs) == (("document",), ("text",))
    assert (pair.text_features, pair.text_inputs) == (("document", "document_pair"), ("text", "text_pair"))
    assert task_from_json(dataclasses.asdict(pair)) == pair
