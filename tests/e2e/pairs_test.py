"""Pairs of texts through the real components; the label is whether the second repeats a word of the first."""

import csv
import json
import random

import pytest

from tests.runner import call

# Slow: a pair is learned after a plateau of many epochs. tests/trainer/pairs_test.py has its parts.
pytestmark = [pytest.mark.e2e, pytest.mark.slow]

CONFIG = """
name: pairs
data:
  train: train.tsv
  test: test.tsv
  text: [question, sentence]
  labels: [other, same]
encoder:
  pretrain: {vocabulary: 300, layers: 2, hidden: 32, heads: 4, steps: 30, max_length: 24}
trainer: {epochs: 40, batch_size: 16, learning_rate: 0.003, max_length: 24}
# Enough epochs for the labels, which are learned all at once after a plateau, but not for calibrated probabilities.
gates:
  model: {accuracy: {min: 0.6}, auc: {min: 0.6}, calibration_error: {max: 1, max_rise: 1}}
"""
WORDS = ("영화", "배우", "음악")


def write_pairs(path, count, seed):
    chance = random.Random(seed)
    with open(path, "w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
        writer.writerow(["id", "question", "sentence", "label"])
        for number in range(count):
            word, other = chance.sample(WORDS, 2)
            label = chance.randrange(2)
            # Single syllables make the pairs different, and say nothing about the label.
            a, b, c, d = chance.choices("가나다라마바사아자차카타파하", k=4)
            writer.writerow([number, f"{word} {a} {b}", f"{c} {d} {word if label else other}", label])


@pytest.fixture(scope="module", name="job")
def _job(tmp_path_factory):
    folder = tmp_path_factory.mktemp("job")
    (folder / "job.yaml").write_text(CONFIG)
    write_pairs(folder / "train.tsv", 1200, seed=1)
    write_pairs(folder / "test.tsv", 200, seed=2)
    return folder


@pytest.fixture(scope="module", name="summary")
def _summary(job):
    result = call("run", "--config", job / "job.yaml", "--root", job / "runs")
    assert result.returncode == 0, result.stdout + result.stderr
    return json.loads((job / "runs" / "pairs" / "history" / "latest" / "summary.json").read_text())


def test_a_run_learns_pairs_and_pushes_a_model(summary):
    assert summary["status"] == "pushed" and summary["metrics"]["candidate"]["accuracy"] > 0.75
    reasons = {(check["gate"], check["check"]): check["reason"] for check in summary["gates"]}
    assert all(check["passed"] for check in summary["gates"])
    assert "no text_pair" in reasons["serving", "refuses_bad_input"]
    assert "single" in reasons["invariance", "pairs"] or "null" in reasons["invariance", "pairs"]


def test_the_report_shows_both_texts(summary):
    page = open(summary["report_path"], encoding="utf-8").read()
    row = open(summary["data"]["files"]["test"][0], encoding="utf-8").read().splitlines()[1].split("\t")
    assert f"{row[1]} | {row[2]}" in page


def test_the_pushed_model_answers_pairs(job, summary):
    result = call("predict", "--root", job / "runs", "--json", "영화 가 나", "다 라 영화", "영화 가 나", "다 라 음악")
    assert result.returncode == 0, result.stderr
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(row["text"], row["text_pair"]) for row in rows] == [
        ("영화 가 나", "다 라 영화"),
        ("영화 가 나", "다 라 음악"),
    ]
    out = job / "scored.tsv"
    assert call("predict", "--root", job / "runs", "--file", job / "test.tsv", "--out", out).returncode == 0
    scored = list(csv.DictReader(out.open(encoding="utf-8"), delimiter="\t"))
    right = sum((row["label_name"] == "same") == (row["label"] == "1") for row in scored)
    assert right / 200 == pytest.approx(summary["metrics"]["candidate"]["accuracy"])


def test_a_run_over_single_texts_does_not_replace_a_model_of_pairs(job, summary):
    settings = ("data.text=sentence", f"serving.dir={job / 'runs' / 'pairs' / 'serving'}")
    result = call("run", "--config", job / "job.yaml", "--root", job / "other", "--set", *settings)
    assert result.returncode == 2
    assert "takes text and text_pair, this run's would take text" in result.stdout + result.stderr
