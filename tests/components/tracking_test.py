"""MLflow: what is logged of a run, and that a run does not depend on it."""

import dataclasses
import importlib.util
import json

import pytest

from artifacts.model_run import TrainingFigures
from components.run_report import tracking
from components.run_report.summary import SplitRows, Summary
from core.checks import Check
from core.config import load_config

TRAINING = TrainingFigures(
    examples_per_s=100.0,
    padding_share=0.1,
    seconds=5.0,
    best_epoch=1,
    history=[{"epoch": 1, "loss": 0.5, "dev_loss": 0.6}],
    precision="float32",
    replicas=1,
    encoder="native",
    curve=[{"step": 4, "loss": 0.7, "learning_rate": 0.001}],
)
SUMMARY = Summary(
    "reviews",
    "not_blessed",
    rows={"train": SplitRows(1200, {})},
    training=TRAINING,
    metrics={"candidate": {"recall/긍정?": 0.75}, "baseline": {"accuracy": 0.5}},
    gates=[Check("model", "accuracy", False, 0.6, 0.7, "accuracy is too low", "fail")],
    run="20260101T000000Z",
    versions={},
)


def test_parameters_are_the_flat_configuration_without_notify(tmp_path):
    (tmp_path / "job.yaml").write_text("name: job\ndata: {train: https://x/train.tsv, labels: [나쁨, 좋음]}\n")
    settings = load_config(str(tmp_path / "job.yaml"), ["notify.webhook=https://hooks/s3cret", "trainer.epochs=3"])
    parameters = tracking.list_parameters(settings)
    assert parameters["trainer.epochs"] == "3" and parameters["data.train"] == "https://x/train.tsv"
    assert (parameters["data.labels.1"], parameters["data.header"], parameters["data.test"]) == ("좋음", "true", "null")
    assert not any(key.startswith("notify") for key in parameters) and "s3cret" not in json.dumps(parameters)


def test_metrics_are_the_curve_the_epochs_and_the_final_ones():
    assert set(tracking.list_metrics(SUMMARY.to_json())) == {
        ("loss", 0.7, 4),
        ("learning_rate", 0.001, 4),
        ("epoch/loss", 0.5, 1),
        ("epoch/dev_loss", 0.6, 1),
        ("rows/train", 1200, 0),
        ("candidate/recall/긍정?", 0.75, 0),
        ("baseline/accuracy", 0.5, 0),
    }


def test_a_run_that_failed_early_has_no_metrics():
    assert tracking.list_metrics(Summary("reviews", "failed", versions={}).to_json()) == []


def test_nothing_is_logged_without_an_address(monkeypatch):
    monkeypatch.delenv(tracking.URI_VARIABLE, raising=False)
    assert tracking.log_run({}, SUMMARY.to_json()) == []


@pytest.mark.skipif(importlib.util.find_spec("mlflow") is not None, reason="mlflow is installed")
def test_a_missing_package_is_one_sentence(monkeypatch):
    monkeypatch.setenv(tracking.URI_VARIABLE, "file:/nowhere")
    (problem,) = tracking.log_run({}, SUMMARY.to_json())
    assert problem == (
        "MLFLOW_TRACKING_URI is set, but MLflow is not installed: pip install mlflow-skinny; "
        "this run was not logged there"
    )


def test_a_run_is_logged(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    monkeypatch.setenv(tracking.URI_VARIABLE, f"file:{tmp_path}/mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # The newest releases prefer a database.
    (tmp_path / "report.html").write_text("<p>report</p>")
    parameters = {f"key.{number}": "x" * 9000 for number in range(150)}
    summary = dataclasses.replace(SUMMARY, report_path=str(tmp_path / "report.html"))
    for _ in range(2):
        assert tracking.log_run(parameters, summary.to_json()) == []
    client = mlflow.MlflowClient(f"file:{tmp_path}/mlflow")
    _, run = client.search_runs([client.get_experiment_by_name("reviews").experiment_id])
    assert (run.info.status, run.info.run_name) == ("FINISHED", "20260101T000000Z")
    assert (run.data.tags["verdict"], run.data.tags["reason"]) == ("not_blessed", "accuracy is too low")
    assert len(run.data.params) == 150 and run.data.metrics["candidate/recall/긍정_"] == 0.75
    assert [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, "loss")] == [(4, 0.7)]
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["report.html"]


def test_a_server_that_does_not_answer_is_reported_without_the_password(monkeypatch):
    pytest.importorskip("mlflow", reason="mlflow is not installed")
    monkeypatch.setenv(tracking.URI_VARIABLE, "http://me:s3cret@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    (problem,) = tracking.log_run({}, SUMMARY.to_json())
    assert problem.startswith("MLflow: ") and problem.endswith("; this run was not logged there")
    assert "s3cret" not in problem
