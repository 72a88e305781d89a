"""Trainings that are killed, with one worker and with two: running the same command again gives the same result."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from artifacts import model_run
from tests.processes import find_worker
from tests.trainer import tiny_training

SCRIPT = """
import json, sys
from trainer import run
job = json.load(open(sys.argv[1]))
run.run_fn(run.TrainingJob(**job))
"""


@pytest.fixture(scope="module", name="inputs")
def _inputs(tmp_path_factory):
    return tiny_training.write_inputs(tmp_path_factory.mktemp("inputs"))


class Training:
    """One training and its attempts, each in a new process."""

    def __init__(self, folder, inputs, workers):
        self.folder = folder
        self.checkpoints = str(folder / "checkpoints")
        job = tiny_training.job(inputs, folder / "model", folder / "run", self.checkpoints, workers=workers)
        (folder / "job.json").write_text(json.dumps(dataclasses.asdict(job)))

    def start(self):
        environment = {**os.environ, "PYTHONPATH": os.getcwd(), "TF_NUM_INTRAOP_THREADS": "1"}
        command = [sys.executable, "-c", SCRIPT, str(self.folder / "job.json")]
        with open(self.folder / "log", "ab") as log:
            return subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def states(self):
        files = tf.io.gfile.glob(os.path.join(self.checkpoints, "*", "state-*.index"))
        return sorted(int(file.rsplit("-", 1)[1].removesuffix(".index")) for file in files)

    def wait_for_step(self, step, process):
        deadline = time.monotonic() + 120
        while not any(saved >= step for saved in self.states()):
            assert process.poll() is None, (self.folder / "log").read_text()[-2000:]
            assert time.monotonic() < deadline, "no checkpoint within two minutes"
            time.sleep(0.02)

    def finish(self):
        assert self.start().wait(timeout=240) == 0, (self.folder / "log").read_text()[-2000:]
        return model_run.read_training(str(self.folder / "run")), model_run.read_golden(str(self.folder / "run"))


@pytest.fixture(scope="module", name="uninterrupted")
def _uninterrupted(tmp_path_factory, inputs):
    return Training(tmp_path_factory.mktemp("uninterrupted"), inputs, workers=1).finish()


def test_a_training_killed_twice_gives_the_same_bits_as_an_uninterrupted_one(tmp_path, inputs, uninterrupted):
    training = Training(tmp_path, inputs, workers=1)
    for step in (20, 70):
        process = training.start()
        training.wait_for_step(step, process)
        process.kill()
        assert process.wait() == -signal.SIGKILL
    before = training.states()[-1]
    assert before >= 70
    figures, golden = training.finish()
    assert figures.history == uninterrupted[0].history
    assert golden == uninterrupted[1]
    assert os.listdir(training.checkpoints) == []


def test_two_workers_of_which_one_is_killed_agree_with_one_process(tmp_path, inputs, uninterrupted):
    training = Training(tmp_path, inputs, workers=2)
    process = training.start()
    training.wait_for_step(40, process)
    os.kill(find_worker(process.pid, 1), signal.SIGKILL)
    assert process.wait(timeout=60) == 1
    assert "WorkerFailed: worker 1 of 2: killed by signal 9 (SIGKILL)" in (tmp_path / "log").read_text()
    assert training.states()[-1] >= 40
    figures, golden = training.finish()
    # Two replicas have different random numbers for dropout.
    assert figures.history[-1]["loss"] == pytest.approx(uninterrupted[0].history[-1]["loss"], abs=0.1)
    assert figures.history[-1]["dev_accuracy"] == pytest.approx(uninterrupted[0].history[-1]["dev_accuracy"], abs=0.05)
    assert np.isfinite(golden.outputs["logit"]).all()
