"""Metrics of classes and scores, compared with scikit-learn and SciPy, and their errors with a bootstrap."""

import collections
import math

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sklearn_metrics

from components.model_gate import confusion, score_metrics
from components.model_gate.class_metrics import ClassTable
from components.model_gate.score_metrics import ScoreTable

CLASSES = 4


def draw(rows=400):
    """Labels and the correlated classes of two models."""
    chance = np.random.default_rng(5)
    labels = chance.integers(0, CLASSES, rows)
    candidate = np.where(chance.random(rows) < 0.6, labels, chance.integers(0, CLASSES, rows))
    baseline = np.where(chance.random(rows) < 0.5, candidate, chance.integers(0, CLASSES, rows))
    return np.stack([labels, candidate, baseline])


def count(table):
    return collections.Counter(map(tuple, table.T.tolist()))


def test_values_are_those_of_scikit_learn():
    labels, answers, _ = table = draw()
    values = confusion.values(confusion.tables(count(table), CLASSES)[0])
    assert values["accuracy"] == pytest.approx((labels == answers).mean())
    assert values["f1_macro"] == pytest.approx(sklearn_metrics.f1_score(labels, answers, average="macro"))
    assert values["matthews"] == pytest.approx(sklearn_metrics.matthews_corrcoef(labels, answers))
    recalls = sklearn_metrics.recall_score(labels, answers, average=None)
    assert [values[f"recall_{i}"] for i in range(CLASSES)] == pytest.approx(recalls)
    assert [values[f"f1_{i}"] for i in range(CLASSES)] == pytest.approx(
        sklearn_metrics.f1_score(labels, answers, average=None)
    )


def test_a_class_without_rows_is_left_out_of_macro_f1():
    table = np.array([[3, 1, 0], [1, 3, 0], [0, 0, 0]])
    values = confusion.values(table)
    assert values["f1_macro"] == pytest.approx(0.75)
    assert math.isnan(values["f1_2"]) and math.isnan(values["recall_2"])
    assert confusion.values(np.array([[4, 0], [4, 0]]))["matthews"] == 0.0


def test_correlations_are_those_of_scipy():
    labels, answers, _ = table = draw()
    values = score_metrics.compare(count(table), CLASSES - 1).candidate
    assert values["pearson"] == pytest.approx(stats.pearsonr(labels, answers)[0])
    assert values["spearman"] == pytest.approx(stats.spearmanr(labels, answers)[0])
    assert values["mean_absolute_error"] == pytest.approx(np.abs(labels - answers).mean())


def test_errors_equal_those_of_a_paired_bootstrap():
    table, chance = draw(), np.random.default_rng(1)
    differences = collections.defaultdict(list)
    for _ in range(400):
        cells = count(table[:, chance.integers(0, table.shape[1], table.shape[1])])
        both = [confusion.values(each) for each in confusion.tables(cells, CLASSES)]
        scores = score_metrics.compare(cells, CLASSES - 1)
        ours, theirs = {**both[0], **scores.candidate}, {**both[1], **scores.baseline}
        for name in ours:
            differences[name].append(ours[name] - theirs[name])
    cells = count(table)
    errors = {**confusion.paired_errors(cells, CLASSES), **score_metrics.compare(cells, CLASSES - 1).errors}
    assert set(errors) == set(differences)
    for name, drawn in differences.items():
        # 400 draws estimate a standard deviation to within 4 %.
        assert errors[name] == pytest.approx(np.std(drawn), rel=0.15), name


def test_bounds_hold_the_value_and_stay_inside_the_limits():
    table = confusion.tables(count(draw()), CLASSES)[0]
    values = confusion.values(table)
    for name, (low, high) in confusion.bounds(table).items():
        assert -1 <= low < values[name] < high <= 1, name


def fill(table, rows):
    for label, *answers in rows:
        table.add(label, *(np.array(answer) for answer in answers))
    return table


def test_calibration_error_of_classes_is_the_gap_between_confidence_and_accuracy():
    sure_right, sure_wrong, unsure = [0.9, 0.1, 0.0], [0.1, 0.9, 0.0], [0.4, 0.3, 0.3]
    # Two rows at 0.9, one of them right; both models agree on the third.
    rows = [(0, sure_right, unsure), (0, sure_wrong, unsure), (0, unsure, unsure)]
    results = fill(ClassTable(3), rows).results()
    assert results.candidate["calibration_error"] == pytest.approx((2 * 0.4 + 0.6) / 3)
    assert results.baseline["calibration_error"] == pytest.approx(0.6)
    assert results.details["confusion"] == [[2, 1, 0], [0, 0, 0], [0, 0, 0]]
    assert results.details["calibration"]["candidate"][9] == [2, 800, 1800]
    assert (results.details["fixed"], results.details["broken"], results.details["mistakes"]) == (0, 1, 1)
    assert fill(ClassTable(3), [(0, unsure, unsure)] * 5).results().errors["calibration_error"] == 0.0


def test_ordered_classes_are_measured_by_their_expected_value():
    sure = np.eye(3)
    # The most probable class is the first, the expected value 1 * 0.5 + 2 * 0.1 + 5 * 0.4.
    rows = [(0, [0.5, 0.1, 0.4], sure[0]), (1, sure[1], sure[1]), (2, sure[2], sure[2])]
    results = fill(ClassTable(3, (1.0, 2.0, 5.0)), rows).results()
    assert results.candidate["accuracy"] == 1.0
    assert results.candidate["mean_absolute_error"] == pytest.approx((2.7 - 1) / 3, abs=0.001)
    assert results.candidate["pearson"] == pytest.approx(stats.pearsonr([1, 2, 5], [2.7, 2, 5])[0], abs=0.001)
    assert results.baseline["mean_absolute_error"] == 0.0 and results.baseline["pearson"] == pytest.approx(1.0)
    assert "pearson" not in fill(ClassTable(3), rows).results().candidate


def test_scores_are_measured_in_the_units_of_the_labels():
    rows = [(0.0, [1.0], [0.0]), (5.0, [4.0], [5.0]), (2.5, [2.5], [2.5])]
    results = fill(ScoreTable(0, 5), rows).results()
    assert results.candidate["mean_absolute_error"] == pytest.approx(2 / 3)
    assert results.candidate["pearson"] == pytest.approx(1.0) and results.candidate["spearman"] == pytest.approx(1.0)
    assert (results.details["fixed"], results.details["broken"], results.details["mistakes"]) == (0, 2, 2)
    assert np.array(results.details["candidate"]).sum() == 3


@pytest.mark.parametrize("make_table", [lambda: ClassTable(3, (0.0, 1.0, 2.0)), lambda: ScoreTable(0, 1)])
def test_results_do_not_depend_on_the_order_or_on_the_workers(make_table):
    chance = np.random.default_rng(0)
    if isinstance(make_table(), ClassTable):
        rows = [(int(chance.integers(3)), *chance.dirichlet(np.ones(3), 2)) for _ in range(60)]
    else:
        rows = [(chance.random(), chance.random(1), chance.random(1)) for _ in range(60)]
    expected = fill(make_table(), rows).results()
    parts = [fill(make_table(), rows[40:]), fill(make_table(), []), fill(make_table(), rows[:40][::-1])]
    merged = make_table()
    for part in parts:
        merged.merge(part)
    assert merged.results().candidate == pytest.approx(expected.candidate, rel=1e-12)
    assert merged.results().details == expected.details


@pytest.mark.parametrize("table", [ClassTable(3), ClassTable(3, (0.0, 1.0, 2.0)), ScoreTable(0, 1)])
def test_no_rows_have_no_results_but_the_same_names(table):
    results = table.results()
    assert all(math.isnan(value) or value == 0 for value in results.candidate.values())
    assert set(results.errors) == set(results.candidate)


def test_constant_answers_have_no_correlation():
    values = score_metrics.compare({(0, 2, 0): 7, (1, 2, 1): 5, (4, 2, 4): 11}, 4)
    assert math.isnan(values.candidate["pearson"]) and math.isnan(values.candidate["spearman"])
    assert values.baseline["spearman"] == pytest.approx(1.0)
