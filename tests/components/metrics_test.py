"""The custom metrics, compared with literals and with a bootstrap."""

import collections
import math

import numpy as np
import pytest
from tensorflow_model_analysis.metrics.calibration_histogram import Bucket

from components.model_gate import metrics


def auc(labels, scores):
    positive, negative = scores[labels == 1][:, np.newaxis], scores[labels == 0]
    return ((positive > negative) + 0.5 * (positive == negative)).mean()


def values(labels, scores):
    right = (scores > 500) == labels
    return {
        "accuracy": right.mean(),
        "auc": auc(labels, scores),
        "recall_0": right[labels == 0].mean(),
        "recall_1": right[labels == 1].mean(),
    }


def draw(chance, rows):
    """Labels and the correlated scores of two models."""
    labels = chance.integers(0, 2, rows)
    evidence = 2.4 * labels - 1.2 + chance.normal(size=rows)
    scores = [1 / (1 + np.exp(-evidence - noise * chance.normal(size=rows))) for noise in (0.5, 0.8)]
    return np.stack([labels, *(np.ceil(1000 * score).astype(int) for score in scores)])


def test_errors_equal_those_of_a_paired_bootstrap():
    chance = np.random.default_rng(3)
    table = draw(chance, 500)
    differences = []
    for _ in range(400):
        labels, candidate, baseline = table[:, chance.integers(0, 500, 500)]
        ours, theirs = values(labels, candidate), values(labels, baseline)
        differences.append({name: ours[name] - theirs[name] for name in ours})
    errors = metrics.paired_errors(collections.Counter(map(tuple, table.T.tolist())))
    for name in differences[0]:
        # 400 draws estimate a standard deviation to within 4 %; the added rows make it a little wider.
        assert errors[name] == pytest.approx(np.std([d[name] for d in differences]), rel=0.15), name


def test_errors_of_models_that_agree_come_from_the_added_rows_only():
    errors = metrics.paired_errors({(0, 100, 100): 40, (1, 900, 900): 60})
    assert errors["auc"] == errors["calibration_error"] == 0.0
    assert errors["accuracy"] == pytest.approx(math.sqrt(1 / 101 / 102))


def test_errors_shrink_with_the_square_root_of_the_rows():
    few = metrics.paired_errors({(0, 100, 600): 10, (0, 600, 100): 10, (1, 900, 800): 80})
    many = metrics.paired_errors({(0, 100, 600): 1000, (0, 600, 100): 1000, (1, 900, 800): 8000})
    for name in ("accuracy", "auc", "recall_0", "calibration_error"):  # On class 1 the models agree.
        assert few[name] == pytest.approx(10 * many[name], rel=0.15), name


def test_auc_error_is_infinite_without_rows_of_a_class():
    errors = metrics.paired_errors({(1, 900, 100): 30})
    assert math.isinf(errors["auc"]) and math.isfinite(errors["accuracy"])


def test_a_score_above_the_boundary_stays_above_it():
    # Of two models that output 0.5 and slightly more, only the second predicts class 1.
    assert metrics.paired_errors({(1, 500, 501): 50, (0, 500, 501): 50})["accuracy"] > 0.09


@pytest.mark.parametrize(
    ("histogram", "error"),
    [
        ([Bucket(1001, 1.0, 1.0, 10.0)], 0.0),
        ([Bucket(9001, 0.0, 9.0, 10.0)], 0.9),
        # 0.31 and 0.39 share a bin, and their errors cancel; 0.31 and 0.41 do not.
        ([Bucket(3101, 0.0, 0.31, 1.0), Bucket(3901, 1.0, 0.39, 1.0)], 0.15),
        ([Bucket(3101, 0.0, 0.31, 1.0), Bucket(4101, 1.0, 0.41, 1.0)], (0.31 + 0.59) / 2),
        ([Bucket(10001, 2.0, 2.0, 2.0)], 0.0),
    ],
)
def test_calibration_error(histogram, error):
    assert metrics.calibration_error(histogram) == pytest.approx(error)


def test_calibration_error_without_rows_is_nan():
    assert math.isnan(metrics.calibration_error([]))
