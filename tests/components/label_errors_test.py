"""Suspected label errors, computed by hand for scores in tenths."""

import numpy as np
import pytest

from components.model_gate import label_errors


def tenths(*rows):
    """Rows by label and score, from the scores of each label in tenths."""
    return np.array([np.bincount(scores, minlength=11) for scores in rows])


def test_a_label_is_suspect_if_the_model_is_as_sure_of_the_other_class_as_it_is_on_that_classs_rows():
    counts = tenths([1] * 8 + [2, 9], [9] * 8 + [6, 1])
    # Self-confidence: 1 - (8 * 0.1 + 0.2 + 0.9) / 10 of class 0, (8 * 0.9 + 0.6 + 0.1) / 10 of class 1.
    thresholds = label_errors.suspicion(counts)
    assert thresholds == pytest.approx((0.79, 0.81))
    assert label_errors.count_suspects(counts, thresholds) == 2


def test_an_unsure_mistake_is_not_suspect():
    counts = tenths([1] * 9 + [6], [9] * 9 + [4])
    assert label_errors.count_suspects(counts, label_errors.suspicion(counts)) == 0


def test_a_label_is_suspect_if_only_the_other_class_reaches_its_self_confidence():
    # The model gives class 1 to everything: self-confidence 0.3 and 0.7. A row of class 1 with 0.6 for it and 0.4 for
    # class 0 reaches the self-confidence of class 0 and not that of its own class.
    counts = tenths([7] * 4, [8, 8, 6, 6])
    thresholds = label_errors.suspicion(counts)
    assert thresholds == pytest.approx((0.7, 0.3))
    assert label_errors.count_suspects(counts, thresholds) == 4 + 2


def test_nothing_is_suspect_without_rows_of_a_class():
    counts = tenths([1, 9], [])
    assert label_errors.suspicion(counts) is None
    assert label_errors.count_suspects(counts, None) == 0
