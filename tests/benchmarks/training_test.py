"""Our contender with a tiny encoder and a few rows; the notebook's turns with a tiny model."""

import dataclasses
import io
import json
import os
import sys

import numpy as np
import pytest
import tf_keras

from benchmarks.training import contenders, notebook, turns
from tests import encoders


@pytest.fixture(scope="module")
def workload(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    rows = "".join(f"{i}\t{text} {i}\t{i % 2}\n" for i, text in enumerate(encoders.TEXTS * 4))
    (folder / "train.txt").write_text("id\tdocument\tlabel\n" + rows, encoding="utf-8")
    encoder = encoders.save(str(folder / "encoder"))
    return turns.Workload(encoder=encoder, train=str(folder / "train.txt"), batch_size=4, max_length=16, epochs=2)


def test_ours_trains_by_turns(workload):
    with contenders.start(contenders.parse_name("ours"), workload, {}) as ours:
        answer = ours.turn(0.0)
    assert answer["examples"] == 4
    assert answer["seconds"] > 0.0


def test_ours_trains_one_epoch_per_turn_and_answers_with_the_dev_accuracy(workload):
    workload = dataclasses.replace(workload, work="epochs")
    with contenders.start(contenders.parse_name("ours"), workload, {}) as ours:
        first, second = (ours.turn("epoch") for _ in range(2))
    assert first["examples"] == second["examples"] > 24
    assert 0.0 <= second["accuracy"] <= 1.0
    # The first one includes tokenising and tracing.
    assert first["seconds"] > second["seconds"]


def fit(monkeypatch, make_callback, requests, **options):
    """Fits a tiny model on 5 batches of 2 with a callback that is asked for turns; returns its answers and steps."""
    answers, theirs = os.pipe()
    monkeypatch.setenv("TURNS_ANSWERS", str(theirs))
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(json.dumps(request) + "\n" for request in requests)))
    model = tf_keras.Sequential([tf_keras.layers.Dense(1)])
    model.compile(loss="mse", metrics=tf_keras.metrics.BinaryAccuracy(), run_eagerly=True)
    model.fit(np.ones([10, 3]), np.ones(10), batch_size=2, callbacks=[make_callback()], verbose=0, **options)
    with os.fdopen(answers) as stream:
        return [json.loads(stream.readline()) for _ in ["ready", *requests]], int(model.optimizer.iterations)


def test_the_notebooks_turns_of_seconds_stop_fit_between_steps(monkeypatch):
    answers, steps = fit(monkeypatch, lambda: notebook.SecondsTurns(2), [0.0, 0.0], epochs=99)
    assert answers[0] == {"ready": True}
    assert [one["examples"] for one in answers[1:]] == [2, 2]
    # Two to warm up, one a turn.
    assert steps == 4


def test_the_notebooks_turns_of_epochs_answer_with_the_accuracy(monkeypatch):
    dev = np.ones([2, 3]), np.ones(2)
    answers, steps = fit(monkeypatch, lambda: notebook.EpochTurns(10), ["epoch"] * 2, epochs=2, validation_data=dev)
    assert answers[0] == {"ready": True}
    assert [one["examples"] for one in answers[1:]] == [10, 10]
    assert all(one["accuracy"] in (0.0, 1.0) and one["seconds"] > 0.0 for one in answers[1:])
    assert steps == 10
