"""The model gate's configuration and sentences."""

import pytest

from pipeline import evaluation
from pipeline.config import MetricBound
from schema.task import make_task

TASK = make_task(("document",), {"0": "neg", "1": "pos"})


def test_bounds_become_thresholds_of_both_kinds_and_a_metric_without_one_is_only_reported():
    config = evaluation.make_eval_config(TASK, {"accuracy": MetricBound(min=0.8, max_drop=0.02)})
    assert [(spec.name, spec.is_baseline) for spec in config.model_specs] == [("candidate", False), ("baseline", True)]
    assert {spec.signature_name for spec in config.model_specs} == {"serving_examples"}
    metrics = {metric.class_name: metric for metric in config.metrics_specs[0].metrics}
    threshold = metrics["BinaryAccuracy"].threshold
    assert threshold.value_threshold.lower_bound.value == 0.8
    assert threshold.change_threshold.absolute.value == -0.02
    assert not metrics["AUC"].HasField("threshold")


@pytest.mark.parametrize(
    ("value", "before", "passed", "words"),
    [
        (0.80, 0.80, True, "no worse than the 0.8000"),
        (0.79, 0.80, True, "0.0100 under the 0.8000 of the model in serving; a drop of 0.0200 is allowed"),
        (
            0.70,
            0.80,
            False,
            "0.1000 under the 0.8000 of the model in serving, too far: only a drop of 0.0200 is allowed",
        ),
    ],
)
def test_a_change_is_told_with_its_size_and_what_is_allowed(value, before, passed, words):
    assert words in evaluation._change_sentence("accuracy", value, before, 0.02, passed)
