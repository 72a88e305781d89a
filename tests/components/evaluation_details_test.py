"""What the report gets of an evaluation, from literal results of TFMA."""

import math

import numpy as np
import pytest

from components.model_gate import label_errors
from components.model_gate.details import make_evaluation
from components.model_gate.results import Comparison
from core.config import SliceBound
from tests.saved_models import TASK

METRICS = {"accuracy": 0.75, "auc": 0.8, "recall_0": 0.5, "recall_1": 1.0, "calibration_error": 0.1}
BEFORE = {**METRICS, "accuracy": 0.7, "recall_0": math.nan}
BOUNDS = {"accuracy": (0.7, 0.8), "auc": (math.nan, math.nan)}
ERRORS = {**dict.fromkeys(METRICS, 0.01), "auc": math.inf}
BOUND = SliceBound(min=0.6, max_drop=0.05, min_rows=50)


def details(negative, positive):
    """TFMA's results for rows of each label at scores in tenths."""
    counts = [[scores.count(tenth) for tenth in range(11)] for scores in (negative, positive)]
    row = ["1", "굿", 1, 0.2, 0.9]
    return {
        "scores": {
            "candidate": counts,
            "baseline": counts,
            "fixed": 0,
            "broken": 1,
            "suspicion": label_errors.suspicion(np.array(counts)),
            "suspects": label_errors.count_suspects(np.array(counts), label_errors.suspicion(np.array(counts))),
        },
        "notable_rows": {
            "mistakes_0": [["2", "노잼", 0, 0.9, 0.9]],
            "mistakes_1": [row, ["3", "최고", 1, 0.05, 0.1]],
            "fixed": [],
            "broken": [row],
        },
    }


def make(has_baseline=True, positive=(9, 9, 9, 2)):
    comparisons = {
        "overall": Comparison(8, METRICS, BEFORE, ERRORS, BOUNDS),
        "length:1-9": Comparison(60, METRICS, BEFORE, ERRORS, BOUNDS),
        "length:80+": Comparison(49, METRICS, BEFORE, ERRORS, BOUNDS),
    }
    bounds = dict.fromkeys(("length:1-9", "length:80+", "script:other"), BOUND)
    return make_evaluation(comparisons, details([1, 1, 1, 9], list(positive)), bounds, TASK, has_baseline)


def test_changes_have_an_interval_if_their_error_is_known():
    changes = make().changes
    assert set(changes) == {"accuracy", "auc", "recall_1", "calibration_error"}  # One recall is undefined.
    assert changes["accuracy"].difference == pytest.approx(0.05)
    assert (changes["accuracy"].interval.low, changes["accuracy"].interval.high) == pytest.approx((0.0304, 0.0696))
    assert changes["auc"].interval is None


def test_slices_have_a_bound_only_with_enough_rows():
    slices = make().slices
    assert {name: (each.rows, each.min, each.baseline) for name, each in slices.items()} == {
        "length:1-9": (60, 0.6, 0.7),
        "length:80+": (49, None, 0.7),
    }
    interval = slices["length:1-9"].interval
    assert (interval.low, interval.high) == (0.7, 0.8)


def test_mistakes_of_both_labels_are_ordered_by_confidence():
    evaluation = make()
    assert [row.text for row in evaluation.mistakes] == ["최고", "노잼", "굿"]
    # Self-confidence: 0.7 of class 0, 0.725 of class 1.
    assert evaluation.suspicion == pytest.approx((0.725, 0.7))
    assert [evaluation.is_suspect(row) for row in evaluation.mistakes] == [True, True, True]
    assert evaluation.suspects == 2


def test_without_a_model_in_serving_nothing_is_compared():
    evaluation = make(has_baseline=False)
    assert evaluation.changes == {} and evaluation.slices["length:1-9"].baseline is None


def test_test_rows_of_one_label_have_no_suspects():
    evaluation = make(positive=())
    assert evaluation.suspicion is None and not evaluation.is_suspect(evaluation.mistakes[0])
    assert list(evaluation.intervals) == ["accuracy"]
