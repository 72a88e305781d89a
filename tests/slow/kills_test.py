"""A training that is killed repeatedly at random moments has the result of one that was never killed.

.venv/bin/python -m pytest -m slow tests/slow/kills_test.py
"""

import os
import random
import signal
import time

import numpy as np
import pytest

from benchmarks.training import data, encoder, shapes
from benchmarks.training.trainer_process import Training, write_examples
from core.config import TrainerConfig
from tests.processes import find_worker
from tests.slow.runs import REPO

pytestmark = pytest.mark.slow

KILLS, SEED, EPOCHS = 10, 0, 20
# The longest delay of a kill after the start or after a checkpoint; the training writes one every second.
LATEST_S = 5.0


@pytest.fixture(scope="module", name="start")
def _start(tmp_path_factory):
    """A function that creates a training of the bundled sample, given the name of a folder and a number of workers."""
    folder = tmp_path_factory.mktemp("kills")
    train, dev = data.split_rows(data.read_rows(os.path.join(REPO, "data", "sample", "ratings_train.txt")))
    examples = str(folder / "examples")
    write_examples(examples, train, dev)
    prepared = encoder.prepare(train.texts, shapes.parse_shape("2x128"), 0, str(folder))

    def make(name, workers):
        config = TrainerConfig(
            epochs=EPOCHS, learning_rate=1e-3, workers=workers, precision="float32", checkpoint_seconds=1
        )
        return Training(str(folder / f"{name}-{workers}"), examples, prepared, config)

    return make


@pytest.mark.parametrize("workers", [1, 2])
def test_a_training_killed_at_random_moments_has_the_result_of_an_uninterrupted_one(start, workers):
    whole, killed = start("whole", workers), start("killed", workers)
    assert whole.start().wait() == 0
    generator = random.Random(SEED)
    for attempt in range(KILLS):
        # Every fourth kill is at a random time after the start, most likely before the first step.
        kill(killed, workers, attempt % 4 == 3, generator)
    assert killed.start().wait() == 0
    assert killed.figures().history == whole.figures().history
    logits = [np.array(training.answers().outputs["logit"]) for training in (whole, killed)]
    np.testing.assert_array_equal(*logits)


def kill(training, workers, early, generator):
    """Starts an attempt and kills it, or one of its workers, at a random moment."""
    victim, before = generator.randrange(workers), training.last_checkpoint()
    with open(os.path.join(training.folder + ".log"), "w+b") as log:
        process = training.start(log)
        while not early and process.poll() is None and training.last_checkpoint() == before:
            time.sleep(0.05)
        time.sleep(generator.uniform(0.0, LATEST_S))
        log.seek(0)
        assert process.poll() is None, f"finished before the kill; increase EPOCHS: {log.read().decode()[-2000:]}"
        pid = find_worker(process.pid, victim) if workers > 1 else None
        os.kill(pid or process.pid, signal.SIGKILL)
        status = process.wait()
        log.seek(0)
        output = log.read().decode()
    if pid:
        assert status == 1 and f"worker {victim} of {workers}: killed by signal 9" in output, output[-2000:]
    else:
        assert status == -signal.SIGKILL
