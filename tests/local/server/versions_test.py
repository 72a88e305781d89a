"""Versions are loaded when they appear, and one that can't be loaded changes nothing."""

import os
import shutil

import pytest

from core.errors import UserError
from local.server import versions
from tests import servers


@pytest.fixture(scope="module", name="model")
def _model(tmp_path_factory):
    return servers.save(tmp_path_factory.mktemp("model") / "1")


@pytest.fixture(name="serving")
def _serving(tmp_path, model):
    serving = tmp_path / "job" / "serving"
    servers.push(model, serving, 5)
    return serving


@pytest.fixture(name="loaded")
def _loaded(serving):
    """The versions of the folder with version 5 in use, and what they report."""
    reports = []
    loaded = versions.Versions(versions.find_source(str(serving), "runs", None), reports.append)
    loaded.load_first()
    assert loaded.current.number == 5 and reports == []
    return loaded, reports


def state(loaded, number):
    return loaded.states[number][0]


def test_a_newer_version_replaces_the_one_in_use(serving, model, loaded):
    loaded, reports = loaded
    servers.push(model, serving, 6)
    before = loaded.current
    loaded.refresh()
    assert loaded.current.number == 6 and (state(loaded, 5), state(loaded, 6)) == (versions.END, versions.AVAILABLE)
    assert len(reports) == 1 and reports[0].startswith("version 6 loaded in ") and reports[0].endswith("replaces 5")
    # Requests that started with it can still end.
    assert before.model.predict([("good",)])[0].values["label_name"] == "긍정"


def test_without_the_newest_version_the_one_before_is_in_use(serving, model, loaded):
    loaded, _ = loaded
    servers.push(model, serving, 6)
    loaded.refresh()
    shutil.rmtree(serving / "6")
    loaded.refresh()
    assert loaded.current.number == 5
    assert (state(loaded, 5), state(loaded, 6)) == (versions.AVAILABLE, versions.END)


def test_a_version_that_cannot_be_loaded_keeps_the_old_one_until_it_is_repaired(serving, model, loaded):
    loaded, reports = loaded
    damaged = servers.push(model, serving, 6)
    content = (damaged / "saved_model.pb").read_bytes()
    (damaged / "saved_model.pb").write_bytes(content[:100])
    for _ in range(3):
        loaded.refresh()
    assert loaded.current.number == 5 and state(loaded, 5) == versions.AVAILABLE and loaded.failures == 1
    assert state(loaded, 6) == versions.END and str(damaged) in loaded.states[6][1]
    (report,) = reports
    assert report.startswith(f"--model {damaged}: can't be loaded") and report.endswith("; version 5 stays in use")
    (damaged / "saved_model.pb").write_bytes(content)
    loaded.refresh()
    assert loaded.current.number == 5  # It may still be changing.
    loaded.refresh()
    assert loaded.current.number == 6


def test_the_start_takes_the_newest_version_that_can_be_loaded(serving, model):
    (serving / "6").mkdir()
    loaded = versions.Versions(versions.find_source(str(serving), "runs", None), lambda text: None)
    loaded.load_first()
    assert loaded.current.number == 5 and "6" in loaded.states[6][1]


def test_the_start_without_any_version_names_the_newest(serving):
    os.remove(serving / "5" / "saved_model.pb")
    loaded = versions.Versions(versions.find_source(str(serving), "runs", None), lambda text: None)
    with pytest.raises(UserError, match=f"--model {serving}/5: can't be loaded"):
        loaded.load_first()


def test_a_folder_that_is_empty_or_gone_is_reported_once(serving, loaded):
    loaded, reports = loaded
    shutil.rmtree(serving)
    for _ in range(2):
        loaded.refresh()
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
