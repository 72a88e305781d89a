import json

import pytest

from artifacts.evaluation import Evaluation, Scores
from artifacts.model_run import TrainingFigures
from cluster import figures


def evaluated(label_names=("bad", "good"), plots=("roc",), **scores):
    values = {"candidate": ((3, 0, 1), (0, 1, 3)), "baseline": ((3, 0, 1), (0, 1, 3)), "fixed": 0, "broken": 0}
    return Evaluation(
        label_names=label_names,
        plots=plots,
        metric_titles={},
        has_baseline=False,
        scores=Scores(**values, **scores),
        intervals={},
        changes={},
        slice_metric="accuracy",
        slices={},
        mistakes=(),
        fixed=(),
        broken=(),
        suspicion=None,
        suspects=0,
    )


def test_metrics_of_both_models_and_their_differences():
    values = figures.metrics({"candidate": {"accuracy": 0.75, "auc": float("nan")}, "baseline": {"accuracy": 0.5}})
    assert values == {"accuracy": 0.75, "in_serving.accuracy": 0.5, "difference.accuracy": 0.25}
    assert figures.metrics({"candidate": {"accuracy": 0.75}, "baseline": None}) == {"accuracy": 0.75}


def test_the_confusion_matrix_has_a_row_for_each_label():
    content = figures.classification(evaluated(plots=(), confusion=((3, 1), (0, 4))))
    assert content == {
        "confusionMatrix": {
            "annotationSpecs": [{"displayName": "bad"}, {"displayName": "good"}],
            "rows": [{"row": [3, 1]}, {"row": [0, 4]}],
        }
    }


def test_the_roc_curve_goes_from_no_row_to_all_rows():
    points = figures.classification(evaluated())["confidenceMetrics"]
    assert [(p["confidenceThreshold"], p["falsePositiveRate"], p["recall"]) for p in points] == [
        (1.0, 0.0, 0.0),
        (1.0, 0.25, 0.75),
        (0.5, 0.25, 1.0),
        (0.0, 1.0, 1.0),
    ]


def test_names_that_a_database_may_refuse_are_replaced():
    content = figures.classification(evaluated(("부정", "good"), confusion=((3, 1), (0, 4))))
    assert content["confusionMatrix"]["annotationSpecs"] == [{"displayName": "class 0"}, {"displayName": "good"}]
    assert json.dumps(content, ensure_ascii=False).isascii()
    assert figures.metrics({"candidate": {"f1 부정": 0.5}, "baseline": None}) == {}


def test_scores_have_neither():
    assert figures.classification(evaluated((), ("residuals",))) == {}
    assert figures.classification(None) == {}


def test_the_training_has_the_losses_of_the_epoch_that_was_kept():
    history = [{"epoch": 1, "loss": 0.5, "dev_loss": 0.4}, {"epoch": 2, "loss": 0.25, "dev_loss": 0.5}]
    values = figures.training(TrainingFigures(100.0, 0.1, 60.0, 1, history, "float32", 1, "native"))
    assert values["dev_loss"] == pytest.approx(0.4)
    assert (values["epochs"], values["best_epoch"], values["examples_per_s"]) == (2, 1, 100.0)


def test_the_version_says_where_it_is_and_how_to_undo_the_push():
    pushed = {"pushed": 1, "pushed_destination": "/mnt/my reviews/nsmc/1763827200", "pushed_version": "1763827200"}
    lines = figures.texts("pusher", {"pushed_model": pushed})["version"].splitlines()
    assert lines[0] == "## Version 1763827200"
    assert lines[2].startswith("The model was pushed: `/mnt/my reviews/nsmc/1763827200`.")
    assert lines[-1] == "    python local_runner.py rollback --serving '/mnt/my reviews/nsmc'"
    again = figures.version({**pushed, "already_served": 1})
    assert "was in serving already: `/mnt/my reviews/nsmc/1763827200`" in again


def test_without_a_push_there_is_no_path():
    assert figures.version({"pushed": 0}).startswith("Nothing was pushed.")
    assert figures.texts("trainer", {}) == {}
