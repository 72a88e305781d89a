"""Every task through the whole pipeline with a tiny encoder: training, gates, report, serving, `predict`."""

import csv
import json
import os
import random

import pytest
import tensorflow as tf
import tensorflow_text  # noqa: F401  Registers the ops inside the model.
import yaml

from tests.runner import call

pytestmark = pytest.mark.e2e

REPO = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
WORDS = ("awful", "weak", "fair", "good", "superb")
STARS = dict(enumerate(("one", "two", "three", "four", "five"), start=1))

# Settings of the task, a metric that says whether it was learned, the served outputs, and an answer to a good text.
TASKS = {
    "classes": (
        {"labels": {1: "bad", 2: "bad", 3: "fair", 4: "good", 5: "good"}},
        "f1_macro",
        {"label", "label_name", "probabilities", "probability"},
        {"label": "good"},
    ),
    "ordinal": (
        {"task": "ordinal", "labels": STARS},
        "spearman",
        {"label", "label_name", "probabilities", "probability", "expected_value"},
        {"label": "four", "expected_value": pytest.approx(4, abs=0.7)},
    ),
    "score": (
        {"task": "regression", "score_range": [1, 5]},
        "pearson",
        {"score"},
        {"score": pytest.approx(4, abs=0.7)},
    ),
}

# One run is enough for every change; the others, which differ in the head only, run with the slow tests.
CHOSEN = ("ordinal", *(pytest.param(name, marks=pytest.mark.slow) for name in ("classes", "score")))

GATED = {
    "classes": {"accuracy", "f1_macro_drop"},
    "ordinal": {"accuracy_drop", "mean_absolute_error", "mean_absolute_error_rise"},
    "score": {"pearson", "spearman_drop", "mean_absolute_error"},
}


def write_ratings(path, count, seed):
    """Writes texts with a rating that their word gives away."""
    chance = random.Random(seed)
    with open(path, "w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
        writer.writerow(["text", "rating"])
        for number in range(count):
            subject = chance.choice(("the film is", "actors were", "story:"))
            writer.writerow([f"{subject} {WORDS[number % 5]} {7 * number + seed}", number % 5 + 1])


@pytest.fixture(scope="module", params=CHOSEN, name="job")
def _job(request, tmp_path_factory):
    """The name of a task, and the folder and the summary of a finished run."""
    folder = tmp_path_factory.mktemp(request.param)
    config = {
        "name": "tiny",
        "data": {"train": "train.tsv", "test": "test.tsv", "id": None, "text": "text", "label": "rating"},
        "encoder": {
            "pretrain": {"vocabulary": 300, "layers": 1, "hidden": 32, "heads": 2, "steps": 40, "max_length": 16}
        },
        "trainer": {"epochs": 10, "batch_size": 8, "learning_rate": 0.01, "max_length": 16},
        "gates": {"slices": {"default": {"min": 0, "min_rows": 1000}}},
    }
    config["data"].update(TASKS[request.param][0])
    (folder / "job.yaml").write_text(yaml.safe_dump(config))
    write_ratings(folder / "train.tsv", 400, seed=1)
    write_ratings(folder / "test.tsv", 100, seed=2)
    run = call(
        "run", "--config", folder / "job.yaml", "--root", folder / "runs", "--set", "gates.invariance.pairs=null"
    )
    assert run.returncode == 0, run.stdout + run.stderr
    (summary,) = (folder / "runs" / "tiny" / "history").glob("[0-9]*/summary.json")
    return request.param, folder, json.loads(summary.read_text())


def test_a_run_learns_the_task_and_passes_its_gates(job):
    name, _, summary = job
    metric, gated = TASKS[name][1], GATED[name]
    assert summary["status"] == "pushed"
    assert summary["metrics"]["candidate"][metric] > 0.8
    assert {check["check"] for check in summary["gates"]} >= {*gated, "agrees_with_training"}


def test_the_report_shows_the_metrics_and_the_plots(job):
    name, _, summary = job
    page = open(summary["report_path"], encoding="utf-8").read()
    plots = ("score-scatter", "score-histogram") if name == "score" else ("calibration",)
    assert all(f'id="{plot}-' in page for plot in plots)
    assert ("Confusion matrix" in page) == (name != "score")


def test_served_outputs_have_a_row_for_each_text(job):
    name, _, summary = job
    model = tf.saved_model.load(summary["pushed_path"])
    outputs = model.signatures["serving_default"](text=tf.constant(["the film is good", "story: awful", "actors"]))
    assert set(outputs) == TASKS[name][2]
    assert {output.shape[0] for output in outputs.values()} == {3}


def test_predict_answers_in_the_words_of_the_task(job):
    name, folder, _ = job
    answer = call("predict", "--root", folder / "runs", "--json", "the film is good 10001")
    assert answer.returncode == 0, answer.stderr
    values = json.loads(answer.stdout)
    assert {key: values[key] for key in TASKS[name][3]} == TASKS[name][3]
    shown = call("predict", "--root", folder / "runs", "the film is good 10001")
    assert shown.stdout.strip().endswith("the film is good 10001")


def test_predict_adds_the_columns_of_the_task_to_a_file(job):
    name, folder, _ = job
    out = folder / "scored.tsv"
    run = call("predict", "--root", folder / "runs", "--file", folder / "test.tsv", "--out", out, "--scores")
    assert run.returncode == 0, run.stderr
    assert ("mean absolute error" if name == "score" else "accuracy") in run.stderr
    head, *rows = out.read_text().splitlines()
    names = {"classes": ["bad", "fair", "good"], "ordinal": list(STARS.values()), "score": []}[name]
    added = {"classes": ["label_name", "probability"], "ordinal": ["label_name", "probability", "expected_value"]}
    scores = [f"probability_{each}" for each in names]
    assert head.split("\t") == ["text", "rating", *added.get(name, ["score"]), *scores]
    assert len(rows) == 100 and {len(row.split("\t")) for row in rows} == {len(head.split("\t"))}
