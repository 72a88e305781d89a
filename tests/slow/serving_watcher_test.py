"""The serving folder as read by other processes while publications succeed, are rolled back, or are killed.

The two long tests: .venv/bin/python -m pytest -m slow tests/slow/serving_watcher_test.py
"""

import os
import signal

import pytest

from artifacts import model_files
from components.pusher import record, rollback
from tests.pushes import make_model, versions
from tests.slow import serving_watcher

PUBLICATIONS, ROLLBACK_EVERY, KILLS = 50, 5, 30
KEEP = 3


@pytest.fixture(name="models")
def _models(tmp_path):
    return [make_model(tmp_path / "models" / str(number), str(number)).uri for number in range(3)]


def check_watchers(watchers):
    assert watchers.counts.keys() == {"check_digest", "load"}
    for counts in watchers.counts.values():
        assert counts.bad == []
        assert counts.reads > counts.newest > 8 and counts.versions > 4


@pytest.mark.slow
def test_no_bad_read_during_publications_retirements_and_rollbacks(tmp_path):
    serving_dir = str(tmp_path / "serving")
    models = serving_watcher.save_models(tmp_path, PUBLICATIONS)
    with serving_watcher.Watchers(serving_dir) as watchers:
        for number, model in enumerate(models, start=1):
            serving_watcher.publish(model, serving_dir, KEEP)
            if number % ROLLBACK_EVERY == 0:
                rollback.roll_back(serving_dir)
    check_watchers(watchers)


@pytest.mark.slow
def test_no_bad_read_during_publications_that_are_killed_at_random_moments_and_repeated(tmp_path):
    serving_dir = str(tmp_path / "serving")
    first, *models = serving_watcher.save_models(tmp_path, KILLS + 1)
    killer = serving_watcher.Killer(seed=0)
    with serving_watcher.Watchers(serving_dir) as watchers:
        killer.publish(first, serving_dir, KEEP)
        for model in models:
            killer.kill(model, serving_dir, KEEP)
            killer.publish(model, serving_dir, KEEP)
    check_watchers(watchers)
    assert killer.kills >= killer.torn > 0


class Rounds:
    """A stop event that is set after some rounds."""

    def __init__(self, count):
        self._left = count

    def is_set(self):
        self._left -= 1
        return self._left < 0


def test_an_incomplete_version_is_a_bad_read(models, tmp_path):
    serving_watcher.publish(models[0], str(tmp_path / "serving"), keep=2)
    (path,) = model_files.served_versions(str(tmp_path / "serving"))
    assert serving_watcher.watch(str(tmp_path / "serving"), serving_watcher.check_digest, Rounds(3)).bad == []
    os.remove(os.path.join(path, "variables", "variables.index"))
    counts = serving_watcher.watch(str(tmp_path / "serving"), serving_watcher.check_digest, Rounds(3))
    assert counts.bad == [f"{path}: files differ from the digest in the record"] * 3
    assert (counts.reads, counts.versions) == (3, 1)


def test_a_newest_version_that_disappears_is_a_bad_read_and_an_overtaken_one_is_not(models, tmp_path):
    serving_dir = str(tmp_path / "serving")

    def retired(path):
        os.rename(path, str(tmp_path / "gone"))
        raise FileNotFoundError(path)

    def overtaken(path):
        serving_watcher.publish(models[1], serving_dir, keep=1)
        assert not os.path.exists(path)
        raise FileNotFoundError(path)

    serving_watcher.publish(models[0], serving_dir, keep=1)
    counts = serving_watcher.watch(serving_dir, overtaken, Rounds(1))
    assert (counts.reads, counts.overtaken, counts.bad) == (1, 1, [])
    (path,) = model_files.served_versions(serving_dir)
    counts = serving_watcher.watch(serving_dir, retired, Rounds(2))
    assert counts.bad == [
        f"{path}: {path}",
        f"version {os.path.basename(path)} was the newest, now it is -1",
    ]


@pytest.mark.parametrize("moment", serving_watcher.MOMENTS)
def test_a_killed_publication_serves_nothing_incomplete_and_can_be_repeated(models, tmp_path, moment):
    serving_dir = str(tmp_path / "serving")
    for model in models[:2]:
        serving_watcher.publish(model, serving_dir, keep=2)
    before = versions(serving_dir)
    process = serving_watcher.CONTEXT.Process(
        target=serving_watcher.publish_and_die, args=(moment, models[2], serving_dir, 2)
    )
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    served = model_files.served_versions(serving_dir)
    for path in served:
        serving_watcher.check_digest(path)
    assert any(name.startswith(".push-") for name in os.listdir(serving_dir)), "the publication had started"
    serving_watcher.publish(models[2], serving_dir, keep=2)
    after = versions(serving_dir)
    assert len(after) == 2 and after[0] == before[1] and after[1] > before[1]
    assert int(os.path.basename(served[-1])) in (before[1], after[1]), "the model has one version"
    digest = model_files.model_sha256(os.path.join(models[2], "Format-Serving"))
    assert record.read(model_files.served_versions(serving_dir)[-1]).model_sha256 == digest
    assert sorted(os.listdir(serving_dir)) == [".push.lock", ".push.state.json", *map(str, after)]
