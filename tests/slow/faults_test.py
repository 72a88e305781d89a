"""Whole runs of a small pipeline that are killed, interrupted, or find their files or disks damaged.

    .venv/bin/python -m pytest -m slow tests/slow/faults_test.py

Each fault must end the run with the documented exit status and a message without a traceback, and the same command
must succeed after the repair. The faults of the disk mount a tmpfs, which needs root.
"""

import os
import random
import signal

import pytest

from tests.slow import injections
from tests.slow.runs import Place

pytestmark = pytest.mark.slow

SEEDS = range(3)
# The kill comes before this share of the time that the component took in the reference run, in which the machine may
# have been busier; a component that took no time is killed during its start.
EARLIEST_END = 0.5
SHORTEST_S = 0.1

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a tmpfs needs root")


@pytest.fixture(scope="module", name="reference")
def _reference(tmp_path_factory):
    """A run without faults, whose summary the killed runs are compared with."""
    place = Place(str(tmp_path_factory.mktemp("reference")))
    ended = place.run()
    assert ended.status == 0, ended.output
    return place


@pytest.fixture(scope="module", name="place")
def _place(tmp_path_factory):
    """A job that has run once and pushed a model; every fault leaves it repaired."""
    place = Place(str(tmp_path_factory.mktemp("faults")))
    ended = place.run()
    assert ended.status == 0, ended.output
    return place


def check(seen, status, words, again):
    """Checks the run with the fault, and the run of the same command after the repair."""
    assert seen.status == status and words in seen.output and "Traceback" not in seen.output, seen.output
    assert again.status == 0, again.output


@pytest.mark.parametrize("seed", SEEDS)
def test_a_run_killed_in_every_component_ends_as_one_that_was_not(tmp_path, reference, seed):
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
    ended = place.run()
    assert ended.status == 0, ended.output
    check_cached(ended, complete)
    ours, theirs = place.summary(), reference.summary()
    assert (ours["rows"], ours["metrics"]) == (theirs["rows"], theirs["metrics"])
    assert ours["training"]["history"] == theirs["training"]["history"]
    assert len(place.versions()) == 1


def check_cached(ended, complete):
    """Checks that what was complete did not run again, and that nothing else was taken from the cache."""
    assert not [node for node in ended.nodes if node in complete and node not in ended.cached], ended.output
    # The last component may have been recorded a moment before the kill, and its line not yet printed.
    assert len(ended.cached - complete) <= 1, ended.output


@pytest.mark.parametrize("fault", injections.RESTING)
def test_files_damaged_between_two_runs(place, fault):
    damage, status, words, settings = injections.RESTING[fault]
    repair = damage(place)
    seen = place.run(*settings)
    if repair:
        repair()
    check(seen, status, words, place.run(*settings))


def test_a_second_run_in_the_same_folder_is_refused(place):
    first = place.start("trainer.seed=1")
    first.wait_for("TsvExampleGen")
    second = place.run("trainer.seed=1")
    check(second, 2, "another run is using this folder", first.end())


def test_of_two_runs_started_at_once_in_a_new_folder_one_is_refused(tmp_path):
    place = Place(str(tmp_path))
    running = [place.start(), place.start()]
    done, refused = sorted((each.end() for each in running), key=lambda ended: ended.status)
    check(refused, 2, "another run is using this folder", done)


def test_two_jobs_push_into_one_serving_folder_at_once(place, tmp_path):
    other = Place(place.folder, root=str(tmp_path))
    running = [place.start(), other.start("trainer.seed=1")]
    for ended in [each.end() for each in running]:
        assert ended.status in (0, 2, 3), ended.output
    again = other.run("trainer.seed=1")
    assert again.status in (0, 3), again.output


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
        seen = place.run()
        injections.remount(disk, "size=2g")
        check(seen, 1, "no space left on device", place.run())


@needs_root
def test_the_disk_of_the_serving_folder_is_full(tmp_path):
    with injections.mounted(tmp_path / "disk", "16m") as disk:
        place, filling = Place(str(tmp_path / "job")), os.path.join(disk, "filling")
        settings = f"serving.dir={os.path.join(disk, 'serving')}"
        # A quarter of a megabyte is left, which is less than the model needs.
        with open(filling, "wb") as stream:
            stream.write(bytes(16_500_000))
        seen = place.run(settings)
        os.remove(filling)
        check(seen, 2, "serving.dir", place.run(settings))


@needs_root
@pytest.mark.parametrize(("words", "folder"), [("--root", "runs"), ("serving.dir", "serving")])
def test_a_folder_is_read_only(tmp_path, words, folder):
    with injections.mounted(tmp_path / "disk", "500m") as disk:
        path = os.path.join(disk, folder)
        place = Place(str(tmp_path / "job"), root=path if words == "--root" else None)
        settings = [] if words == "--root" else [f"serving.dir={path}"]
        injections.remount(disk, "ro")
        seen = place.run(*settings)
        injections.remount(disk, "rw")
        check(seen, 2, words, place.run(*settings))
