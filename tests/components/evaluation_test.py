"""The evaluation: a real run of the stock Evaluator on a table of answers, with every metric computed by hand."""

import math

import pytest

from components.model_gate import evaluation, results
from schema.task import make_task
from tests import evaluations

TASK = make_task(("document",), {"0": "neg", "1": "pos"})

# Text, label, probability of class 1 by the candidate and by the baseline.
TABLE = [
    ("좋다", 1, 0.93, 0.93),
    ("굿 good", 1, 0.83, 0.43),
    ("최고 ㅋㅋ", 1, 0.33, 0.73),
    ("ok ㅋㅋ", 1, 0.73, 0.77),
    ("별로다", 0, 0.13, 0.13),
    ("정말 별로인 영화입니다", 0, 0.23, 0.63),
    ("....", 0, 0.63, 0.43),
    ("재미없다", 0, 0.43, 0.43),
]


@pytest.fixture(scope="module", name="evaluated")
def _evaluated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluated")
    candidate = evaluations.save_table(str(folder / "candidate"), {text: p for text, _, p, _ in TABLE})
    baseline = evaluations.save_baseline(str(folder / "baseline"), {text: p for text, _, _, p in TABLE})
    return evaluations.evaluate(str(folder), [row[:2] for row in TABLE], candidate, baseline).uri


@pytest.fixture(name="compared")
def _compared(evaluated):
    return results.read_comparisons(evaluated)


def test_config_has_both_models_and_no_thresholds():
    config = evaluation.make_eval_config(TASK)
    assert [(spec.name, spec.is_baseline) for spec in config.model_specs] == [("candidate", False), ("baseline", True)]
    assert {spec.signature_name for spec in config.model_specs} == {"serving_examples"}
    assert not any(metric.HasField("threshold") for metric in config.metrics_specs[0].metrics)


def test_every_metric_has_its_value_computed_by_hand(compared):
    overall = compared["overall"]
    assert overall.rows == 8
    assert overall.candidate == pytest.approx(
        {
            "example_count": 8,
            "accuracy": 6 / 8,
            # Of 16 pairs of a positive and a negative row, only 0.33 lies under 0.43 and 0.63.
            "auc": 14 / 16,
            "recall_0": 3 / 4,
            "recall_1": 3 / 4,
            # Each row is alone in its bin.
            "f1_macro": 3 / 4,
            "f1_0": 3 / 4,
            "f1_1": 3 / 4,
            "matthews": 1 / 2,
            "calibration_error": (0.07 + 0.17 + 0.67 + 0.27 + 0.13 + 0.23 + 0.63 + 0.43) / 8,
        },
        abs=1e-4,  # TFMA's AUC has 10,000 thresholds.
    )
    # 0.73 and 0.77 share a bin, as do the three 0.43, one of them positive.
    assert overall.baseline["calibration_error"] == pytest.approx((0.5 + 0.29 + 0.07 + 0.13 + 0.63) / 8, abs=1e-4)
    assert overall.baseline["auc"] == pytest.approx(14 / 16, abs=1e-4)


def test_errors_come_from_the_rows_on_which_the_models_differ(compared):
    errors = compared["overall"].errors
    assert set(errors) == set(TASK.evaluation_metrics)
    # Four of eight rows differ, two each way; with Agresti and Min's two rows that is 5 in 10.
    assert errors["accuracy"] == pytest.approx(math.sqrt(5 / 9 / 10))
    assert errors["recall_1"] == pytest.approx(math.sqrt(3 / 5 / 6))


def test_rows_are_sliced_by_length_and_script(compared):
    assert {name: each.rows for name, each in compared.items()} == {
        "overall": 8,
        "length:1-9": 7,
        "length:10-19": 1,
        "script:hangul": 4,
        "script:latin": 2,
        "script:emoticons": 2,  # One of them is in `script:latin` too.
        "script:other": 1,
    }
    accuracy = {name: (each.candidate["accuracy"], each.baseline["accuracy"]) for name, each in compared.items()}
    assert accuracy["length:1-9"] == pytest.approx((5 / 7, 6 / 7))
    assert accuracy["script:latin"] == (1.0, 0.5)
    assert accuracy["script:emoticons"] == (0.5, 1.0)
    assert accuracy["script:other"] == (0.0, 1.0)
    # A slice without a row of class 1.
    assert math.isnan(compared["script:other"].candidate["recall_1"])


def test_the_scores_and_the_notable_rows_survive_tfma(evaluated):
    details = results.read_details(evaluated)
    scores = details[results.SCORES]
    # Steps of 1/1000, rounded up; in float32, 0.73 and 0.93 are a little more.
    assert [step for step, rows in enumerate(scores["candidate"][1]) if rows] == [330, 731, 830, 931]
    assert [len(table) for table in scores["baseline"]] == [1001, 1001]
    assert (scores["fixed"], scores["broken"]) == (2, 2)
    rows = details[results.NOTABLE_ROWS]
    assert {name: [row[1] for row in rows] for name, rows in rows.items()} == {
        "mistakes_0": ["...."],
        "mistakes_1": ["최고 ㅋㅋ"],
        "fixed": ["정말 별로인 영화입니다", "굿 good"],  # Both change by 0.4.
        "broken": ["최고 ㅋㅋ", "...."],
    }
    assert rows["mistakes_1"][0] == ["1", "최고 ㅋㅋ", 1, pytest.approx(0.33), pytest.approx(0.73), None]
