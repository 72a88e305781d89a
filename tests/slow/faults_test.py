"""Whole runs of a small pipeline that are killed or interrupted, or whose files or disks are damaged.

    .venv/bin/python -m pytest -m slow tests/slow/faults_test.py

Each fault must end the run with the documented exit status and a message without a traceback, and the same command
must succeed after the repair. The disk faults mount a tmpfs, which needs root.
"""

import os
import random
import signal

import pytest

from tests.slow import injections
from tests.slow.runs import Place

pytestmark = pytest.mark.slow

SEEDS = range(3)
# A component is killed within this share of its time in the reference run, during which the machine may have been
# busier. Components that took no time are killed within SHORTEST_S * EARLIEST_END.
EARLIEST_END = 0.5
SHORTEST_S = 0.1

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a tmpfs needs root")


@pytest.fixture(scope="module", name="reference")
def _reference(tmp_path_factory):
    """A run without faults, for comparison with the killed runs."""
    place = Place(str(tmp_path_factory.mktemp("reference")))
    result = place.run()
    assert result.status == 0, result.output
    return place


@pytest.fixture(scope="module", name="place")
def _place(tmp_path_factory):
    """A job that has run once and pushed a model; each test repairs the damage that it does."""
    place = Place(str(tmp_path_factory.mktemp("faults")))
    result = place.run()
    assert result.status == 0, result.output
    return place


def check(faulty, status, words, repeated):
    """Checks the run with the fault, and the run of the same command after the repair."""
    assert faulty.status == status and words in faulty.output and "Traceback" not in faulty.output, faulty.output
    assert repeated.status == 0, repeated.output


@pytest.mark.parametrize("seed", SEEDS)
def test_a_run_killed_in_every_component_has_the_result_of_an_uninterrupted_run(tmp_path, reference, seed):
    place, generator = Place(str(tmp_path)), random.Random(seed)
    before, complete = None, set()
    for component in reference.summary()["components"]:
        running = place.start()
        running.wait_for(before)
        running.wait(generator.uniform(0.0, EARLIEST_END * max(component["seconds"], SHORTEST_S)))
        killed = running.kill()
        check_cached(killed, complete)
        complete |= set(killed.nodes)
        before = component["id"]
    result = place.run()
    assert result.status == 0, result.output
    check_cached(result, complete)
    ours, theirs = place.summary(), reference.summary()
    assert (ours["rows"], ours["metrics"]) == (theirs["rows"], theirs["metrics"])
    assert ours["training"]["history"] == theirs["training"]["history"]
    assert len(place.versions()) == 1


def check_cached(result, complete):
    """Checks that complete components did not run again, and that no others were taken from the cache."""
    assert not [node for node in result.nodes if node in complete and node not in result.cached], result.output
    # The last component may have been recorded just before the kill, without having been printed.
    assert len(result.cached - complete) <= 1, result.output


@pytest.mark.parametrize("fault", injections.BETWEEN_RUNS)
def test_files_damaged_between_two_runs(place, fault):
    damage, status, words, settings = injections.BETWEEN_RUNS[fault]
    repair = damage(place)
    faulty = place.run(*settings)
    if repair:
        repair()
    check(faulty, status, words, place.run(*settings))


def test_a_second_run_in_the_same_folder_is_refused(place):
    first = place.start("trainer.seed=1")
    first.wait_for("TsvExampleGen")
    second = place.run("trainer.seed=1")
    check(second, 2, "another run is using this folder", first.end())


def test_of_two_runs_started_at_once_in_a_new_folder_one_is_refused(tmp_path):
    place = Place(str(tmp_path))
    running = [place.start(), place.start()]
    done, refused = sorted((each.end() for each in running), key=lambda result: result.status)
    check(refused, 2, "another run is using this folder", done)


def test_two_jobs_push_into_one_serving_folder_at_once(place, tmp_path):
    other = Place(place.folder, root=str(tmp_path))
    running = [place.start(), other.start("trainer.seed=1")]
    for result in [each.end() for each in running]:
        assert result.status in (0, 2, 3), result.output
    repeated = other.run("trainer.seed=1")
    assert repeated.status in (0, 3), repeated.output


@pytest.mark.parametrize(
    ("sent", "status", "words"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, -signal.SIGTERM, "")]
)
def test_a_signal_during_the_training(place, sent, status, words):
    running = place.start("trainer.seed=2")
    running.wait_for("EncoderPretrainer")
    running.wait(3.0)
    check(running.kill(sent), status, words, place.run("trainer.seed=2"))


def test_a_killed_training_whose_newest_checkpoint_is_truncated(place):
    settings = ("trainer.seed=3", "trainer.epochs=40")
    check(injections.kill_and_truncate_checkpoint(place, settings), -signal.SIGKILL, "", place.run(*settings))


def test_one_of_two_workers_is_killed(place):
    settings = ("trainer.seed=4", "trainer.workers=2", "trainer.epochs=40")
    check(injections.kill_worker(place, settings), 1, "SIGKILL", place.run(*settings))


@needs_root
def test_the_disk_of_the_run_root_is_full(tmp_path):
    with injections.mounted(tmp_path / "disk", "3m") as disk:
        place = Place(str(tmp_path / "job"), root=os.path.join(disk, "runs"))
        faulty = place.run()
        injections.remount(disk, "size=2g")
        check(faulty, 1, "no space left on device", place.run())


@needs_root
def test_the_disk_of_the_serving_folder_is_full(tmp_path):
    with injections.mounted(tmp_path / "disk", "16m") as disk:
        place, filling = Place(str(tmp_path / "job")), os.path.join(disk, "filling")
        settings = f"serving.dir={os.path.join(disk, 'serving')}"
        # A quarter of a megabyte is left, which is less than the model needs.
        with open(filling, "wb") as stream:
            stream.write(bytes(16_500_000))
        faulty = place.run(settings)
        os.remove(filling)
        check(faulty, 2, "serving.dir", place.run(settings))


@needs_root
@pytest.mark.parametrize(("words", "folder"), [("--root", "runs"), ("serving.dir", "serving")])
def test_a_folder_is_read_only(tmp_path, words, folder):
    with injections.mounted(tmp_path / "disk", "500m") as disk:
        path = os.path.join(disk, folder)
        place = Place(str(tmp_path / "job"), root=path if words == "--root" else None)
        settings = [] if words == "--root" else [f"serving.dir={path}"]
        injections.remount(disk, "ro")
        faulty = place.run(*settings)
        injections.remount(disk, "rw")
        check(faulty, 2, words, place.run(*settings))
