"""The serving folder under the eyes of other processes, while publications go well, badly, or are killed."""

import os
import pathlib
import signal

import pytest

from artifacts import model_files
from benchmarks import serving_watcher
from components.pusher import record, rollback
from tests import killed
from tests.pushes import make_model, versions


@pytest.fixture(name="models")
def _models(tmp_path):
    return [make_model(tmp_path / "models" / str(number), str(number)).uri for number in range(8)]


def with_many_files(uri):
    """So many that one who looks at them while they are copied or removed sees a part."""
    for number in range(300):
        pathlib.Path(uri, "Format-Serving", "variables", str(number)).write_text(uri)
    return uri


def test_no_bad_read_during_publications_retirements_and_rollbacks(models, tmp_path):
    serving_dir = str(tmp_path / "serving")
    with serving_watcher.Watchers(serving_dir, [serving_watcher.check_digest]) as watchers:
        for number, model in enumerate(map(with_many_files, models)):
            serving_watcher.publish(model, serving_dir, keep=2)
            if number % 3 == 2:
                rollback.roll_back(serving_dir)
    counts = watchers.counts["check_digest"]
    assert counts.bad == []
    assert counts.reads > counts.newest > 8 and counts.versions > 4


class Rounds:
    """Lets `watch` go round that many times."""

    def __init__(self, count):
        self._left = count

    def is_set(self):
        self._left -= 1
        return self._left < 0


def test_half_a_version_is_a_bad_read(models, tmp_path):
    serving_watcher.publish(models[0], str(tmp_path / "serving"), keep=2)
    (path,) = model_files.served_versions(str(tmp_path / "serving"))
    assert serving_watcher.watch(str(tmp_path / "serving"), serving_watcher.check_digest, Rounds(3)).bad == []
    os.remove(os.path.join(path, "variables", "variables.index"))
    counts = serving_watcher.watch(str(tmp_path / "serving"), serving_watcher.check_digest, Rounds(3))
    assert counts.bad == [f"{path}: its files are not those of its record"] * 3
    assert (counts.reads, counts.versions) == (3, 1)


def test_newest_version_that_goes_away_is_a_bad_read_and_an_overtaken_one_is_not(models, tmp_path):
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


@pytest.mark.parametrize("moment", killed.MOMENTS)
def test_killed_publication_shows_nothing_half_done_and_its_repetition_works(models, tmp_path, moment):
    serving_dir = str(tmp_path / "serving")
    for model in models[:2]:
        serving_watcher.publish(model, serving_dir, keep=2)
    before = versions(serving_dir)
    process = serving_watcher.CONTEXT.Process(target=killed.publish, args=(moment, models[2], serving_dir, 2))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    served = model_files.served_versions(serving_dir)
    for path in served:
        serving_watcher.check_digest(path)
    assert any(name.startswith(".push-") for name in os.listdir(serving_dir)), "it was at work"
    serving_watcher.publish(models[2], serving_dir, keep=2)
    after = versions(serving_dir)
    assert len(after) == 2 and after[0] == before[1] and after[1] > before[1]
    assert int(os.path.basename(served[-1])) in (before[1], after[1]), "no second version of the same model"
    digest = model_files.model_sha256(os.path.join(models[2], "Format-Serving"))
    assert record.read(model_files.served_versions(serving_dir)[-1]).model_sha256 == digest
    assert sorted(os.listdir(serving_dir)) == [".push.lock", ".push.state.json", *map(str, after)]
