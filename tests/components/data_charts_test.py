"""The charts of a run's data, and the tables behind them."""

from components.data_gate.profile import make_split_profile
from components.data_gate.text_counts import TextCounts
from components.run_report import data_charts
from core.checks import Check


def profiles(**texts):
    return {split: make_split_profile({"부정": 1, "긍정": len(of) - 1}, TextCounts(of)) for split, of in texts.items()}


def test_shares_of_labels_and_scripts_have_a_table_with_counts_by_split():
    splits = profiles(train=["좋다", "ok", "나쁘다", "별로"], test=["좋다", "재미"])
    labels, scripts = data_charts.labels(splits), data_charts.scripts(splits)
    assert labels.columns == ["label", "train", "test"]
    assert labels.rows == [["긍정", "3 (75.0%)", "1 (50.0%)"], ["부정", "1 (25.0%)", "1 (50.0%)"]]
    assert scripts.rows == [["Hangul", "7 (77.8%)", "4 (100.0%)"], ["Latin", "2 (22.2%)", "0 (0.0%)"]]
    assert "most are 긍정: 75.0% in train, 50.0% in test" in labels.alt and "긍정" in labels.svg


def test_many_labels_are_all_in_the_table_but_not_all_drawn():
    texts = TextCounts(["a"])
    chart = data_charts.labels({"train": make_split_profile({f"label{i}": i for i in range(1, 41)}, texts)})
    assert len(chart.rows) == 40 and "label40" in chart.svg and "label2<" not in chart.svg
    assert "12 most frequent of 40" in chart.note


def test_a_split_without_labels_or_letters_has_no_chart():
    splits = {"train": make_split_profile({}, TextCounts(["123"]))}
    assert data_charts.labels(splits) is None and data_charts.scripts(splits) is None


def test_drift_and_skew_are_compared_with_their_bounds():
    checks = [
        Check("data", "label_skew", True, 0.02, 0.1, "fine"),
        Check("data", "oov_drift/letters", False, 0.3, 0.1, "too many"),
        Check("data", "rows/train", True, 5.0, 1.0, "other"),
        Check("model", "accuracy_drift", True, 5.0, 1.0, "other"),
    ]
    chart = data_charts.drift(checks)
    assert chart.rows == [
        ["labels, skew", "0.0200", "0.1000", "passed"],
        ["unknown letters, drift", "0.3000", "0.1000", "failed"],
    ]
    assert "over the bound: unknown letters, drift" in chart.alt and "not compared" not in chart.note + chart.svg


def test_what_was_not_compared_is_said_with_its_reason():
    reason = "not compared: no model is in serving"
    checks = [
        Check("data", "label_drift", True, None, 0.1, reason, compared=False),
        Check("data", "length_drift", True, None, 0.1, reason, compared=False),
        Check("data", "label_skew", True, 0.02, 0.0, "fine"),
    ]
    chart = data_charts.drift(checks)
    assert "model in serving, not compared: no model is in serving. Skew: the test rows" in chart.note
    assert chart.rows[0] == ["labels, drift", "not compared", "0.1000", "not checked"]
    assert chart.svg.count("not compared") == 2
    assert data_charts.drift([]) is None
