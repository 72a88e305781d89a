"""Versions are loaded when they appear, and one that can't be loaded changes nothing."""

import asyncio
import os
import shutil

import pytest
import tensorflow as tf

from core.errors import UserError
from local.server import pool, versions
from local.server.worker import Batch
from tests import servers


@pytest.fixture(scope="module", name="model")
def _model(tmp_path_factory):
    return servers.save(tmp_path_factory.mktemp("model") / "1")


@pytest.fixture(name="serving")
def _serving(tmp_path, model):
    serving = tmp_path / "job" / "serving"
    servers.push(model, serving, 5)
    return serving


@pytest.fixture(name="loop")
def _loop():
    loop = asyncio.new_event_loop()
    yield loop.run_until_complete
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


def make_versions(folder, reports):
    pool.start_fork_server()

    def make_pool(path):
        return pool.Pool(path, 1, 1, 30.0, reports.append, lambda: None)

    return versions.Versions(versions.find_source(str(folder), "runs", None), make_pool, reports.append)


@pytest.fixture(name="loaded")
def _loaded(serving, loop):
    """The versions of the folder with version 5 in use, and what they report."""
    reports = []
    loaded = make_versions(serving, reports)
    loop(loaded.load_first())
    assert loaded.current.number == 5 and reports == []
    yield loaded, reports
    loaded.close()


def state(loaded, number):
    return loaded.states[number][0]


def test_a_newer_version_replaces_the_one_in_use(serving, model, loaded, loop):
    loaded, reports = loaded
    servers.push(model, serving, 6)
    with loaded.current.use():
        before = loaded.current
        loop(loaded.refresh())
        # A request that started with it can still end.
        outputs = loop(before.pool.compute(Batch("serving_default", [(b"good",)])))
    assert outputs["label"].tolist() == [1]
    assert loaded.current.number == 6 and (state(loaded, 5), state(loaded, 6)) == (versions.END, versions.AVAILABLE)
    assert len(reports) == 1 and reports[0].startswith("version 6 loaded in ") and reports[0].endswith("replaces 5")


def test_without_the_newest_version_the_one_before_is_in_use(serving, model, loaded, loop):
    loaded, _ = loaded
    servers.push(model, serving, 6)
    loop(loaded.refresh())
    shutil.rmtree(serving / "6")
    loop(loaded.refresh())
    assert loaded.current.number == 5
    assert (state(loaded, 5), state(loaded, 6)) == (versions.AVAILABLE, versions.END)


def test_a_version_that_cannot_be_loaded_keeps_the_old_one_until_it_is_repaired(serving, model, loaded, loop):
    loaded, reports = loaded
    damaged = servers.push(model, serving, 6)
    content = (damaged / "saved_model.pb").read_bytes()
    (damaged / "saved_model.pb").write_bytes(content[:100])
    for _ in range(3):
        loop(loaded.refresh())
    assert loaded.current.number == 5 and state(loaded, 5) == versions.AVAILABLE and loaded.failures == 1
    assert state(loaded, 6) == versions.END and str(damaged) in loaded.states[6][1]
    (report,) = reports
    assert report.startswith(f"--model {damaged}: can't be loaded") and report.endswith("; version 5 stays in use")
    (damaged / "saved_model.pb").write_bytes(content)
    loop(loaded.refresh())
    assert loaded.current.number == 5  # It may still be changing.
    loop(loaded.refresh())
    assert loaded.current.number == 6


def test_a_version_that_kills_the_process_that_loads_it_is_refused(serving, loaded, loop):
    class Deadly(servers.CountedWords):
        def outputs(self, logits):
            with tf.control_dependencies([tf.raw_ops.Abort(error_msg="deadly")]):
                return super().outputs(tf.identity(logits))

    loaded, reports = loaded
    servers.save(serving / "6", make=Deadly)
    loop(loaded.refresh())
    assert loaded.current.number == 5 and loaded.failures == 1
    (report,) = reports
    assert report.startswith(f"--model {serving}/6: can't be loaded, worker ")
    assert report.endswith(" was killed by SIGABRT while it did so; version 5 stays in use")


def test_the_start_takes_the_newest_version_that_can_be_loaded(serving, model, loop):
    (serving / "6").mkdir()
    loaded = make_versions(serving, [])
    loop(loaded.load_first())
    assert loaded.current.number == 5 and "6" in loaded.states[6][1]
    loaded.close()


def test_the_start_without_any_version_names_the_newest(serving, loop):
    os.remove(serving / "5" / "saved_model.pb")
    loaded = make_versions(serving, [])
    with pytest.raises(UserError, match=f"--model {serving}/5: can't be loaded"):
        loop(loaded.load_first())


def test_a_folder_that_is_empty_or_gone_is_reported_once(serving, loaded, loop):
    loaded, reports = loaded
    shutil.rmtree(serving)
    for _ in range(2):
        loop(loaded.refresh())
    assert reports == [f"{serving}: has no versions any more; version 5 stays in use"]
    assert loaded.current.number == 5 and state(loaded, 5) == versions.AVAILABLE


def test_the_model_is_named_after_its_pipeline(serving, model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert versions.find_source(None, str(tmp_path), None) == versions.Source("job", str(serving), False)
    assert versions.find_source("job/serving", "", None).name == "job"
    assert versions.find_source("job/serving/5", "", None) == versions.Source("job", str(serving / "5"), True)
    assert versions.find_source("job/serving", "", "other").name == "other"
    assert versions.find_source(model, "", None).list() == {1: model}
    with pytest.raises(UserError, match="no model was pushed there yet"):
        versions.find_source(None, str(tmp_path / "job"), None)
