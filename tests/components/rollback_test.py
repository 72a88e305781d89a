"""Rollback: the choice of the version, its files and record, and that a run does not undo it."""

import itertools
import json
import os
import pathlib
import shutil

import pytest
from tfx.types import standard_artifacts

from artifacts import model_files
from components.baseline_model import executor as baseline_model
from components.pusher import executor, publication, record, rollback
from components.pusher.publication import Version
from components.pusher.record import PushRecord
from core import checks
from core.errors import UserError
from tests.pushes import digest_of, make_model, properties_for, push, versions


@pytest.fixture(name="serving_dir")
def _serving_dir(tmp_path, monkeypatch):
    """A serving folder where version 101 holds the model `a`, 102 `b`, 103 `c`; the clock is fixed."""
    monkeypatch.setattr("time.time", lambda: 101.0)
    for name in "abc":
        push(make_model(tmp_path / name, name), tmp_path / "serving")
    return tmp_path / "serving"


def content(serving_dir, version):
    return (serving_dir / str(version) / "saved_model.pb").read_text()


def inode(serving_dir, version, file="saved_model.pb"):
    return os.stat(serving_dir / str(version) / file).st_ino


def test_rollback_publishes_the_earlier_model_with_a_record(serving_dir):
    version = rollback.roll_back(str(serving_dir))
    assert versions(serving_dir) == [101, 102, 103, 104] and version.number == 104
    assert content(serving_dir, 104) == "b"
    pushed, first = record.read(version.path), record.read(str(serving_dir / "102"))
    assert pushed == version.record
    done = pushed.rollback
    assert (done.from_version, done.to_version, done.time) == (103, 102, pushed.time)
    assert done.from_sha256 == record.read(str(serving_dir / "103")).model_sha256
    assert (pushed.model_sha256, pushed.origin) == (first.model_sha256, first.origin)
    assert pushed.push_id != first.push_id
    assert model_files.model_sha256(version.path) == pushed.model_sha256
    assert inode(serving_dir, 104) == inode(serving_dir, 102), "the content is shared"
    assert inode(serving_dir, 104, model_files.PUSH_RECORD) != inode(serving_dir, 102, model_files.PUSH_RECORD)
    assert sorted(os.listdir(serving_dir))[:2] == [".push.lock", ".push.state.json"]


def test_rollback_restores_the_profile_of_the_data(serving_dir):
    (serving_dir / "102" / model_files.DATA_PROFILE).write_text('{"rows": 2}')
    version = rollback.roll_back(str(serving_dir))
    assert json.loads(pathlib.Path(version.path, model_files.DATA_PROFILE).read_text()) == {"rows": 2}


def test_without_links_the_files_are_copied(serving_dir, monkeypatch):
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError("links are not supported")))
    rollback.roll_back(str(serving_dir))
    assert content(serving_dir, 104) == "b" and inode(serving_dir, 104) != inode(serving_dir, 102)


def test_a_link_inside_a_version_is_copied(serving_dir, tmp_path):
    pb = serving_dir / "102" / "saved_model.pb"
    pb.rename(tmp_path / "elsewhere")
    pb.symlink_to(tmp_path / "elsewhere")
    rollback.roll_back(str(serving_dir))
    assert content(serving_dir, 104) == "b"
    assert not (serving_dir / "104" / "saved_model.pb").is_symlink()
    assert inode(serving_dir, 104) != os.stat(tmp_path / "elsewhere").st_ino


def test_repeated_rollbacks_go_further_back(serving_dir):
    assert [content(serving_dir, rollback.roll_back(str(serving_dir)).number) for _ in range(2)] == ["b", "a"]
    with pytest.raises(UserError, match="every earlier version .* was rolled back.*101, 102, 103, 104"):
        rollback.roll_back(str(serving_dir))
    assert versions(serving_dir) == [101, 102, 103, 104, 105]


def test_a_version_that_was_rolled_back_can_be_chosen_by_number(serving_dir):
    rollback.roll_back(str(serving_dir))
    rollback.roll_back(str(serving_dir), to=103)
    assert content(serving_dir, 105) == "c"
    rolled_back = record.read(str(serving_dir / "102")).model_sha256
    assert publication.read_state(str(serving_dir)).rolled_back.keys() == {rolled_back}


def sample(number, model):
    return Version(number, "", PushRecord("", model, ""))


@pytest.mark.parametrize(
    ("models", "rolled_back", "to", "chosen"),
    [
        ("ab", "", None, 1),
        ("aba", "", None, 2),
        ("abb", "", None, 1),
        ("abcb", "c", None, 1),
        ("abcb", "c", 3, 3),
        ("abb", "", 2, 2),
    ],
)
def test_choice(models, rolled_back, to, chosen):
    listed = [sample(number, model) for number, model in enumerate(models, start=1)]
    assert rollback.choose(listed, set(rolled_back), to).number == chosen


@pytest.mark.parametrize(
    ("models", "to", "words"),
    [
        ("a", None, "version 1 is the only one"),
        ("a", 1, "version 1 is the only one"),
        ("aa", None, "choose one with --to; earlier versions: 1"),
        ("abc", 3, "--to 3: already in serving; earlier versions: 1, 2"),
        ("abc", 9, "--to 9: no such version; earlier versions: 1, 2"),
    ],
)
def test_choice_without_candidates(models, to, words):
    listed = [sample(number, model) for number, model in enumerate(models, start=1)]
    with pytest.raises(UserError, match=words):
        rollback.choose(listed, set(), to)


@pytest.mark.parametrize("exists", [True, False])
def test_folder_without_versions_is_an_error_and_is_not_changed(tmp_path, exists):
    if exists:
        (tmp_path / "serving").mkdir()
    with pytest.raises(UserError, match="no model was pushed there yet"):
        rollback.roll_back(str(tmp_path / "serving"))
    assert list(tmp_path.glob("serving/.*")) == [] and (tmp_path / "serving").exists() == exists


def test_damaged_version_is_an_error(serving_dir):
    (serving_dir / "102" / "variables" / "variables.index").write_text("damaged")
    with pytest.raises(UserError, match=f"{serving_dir}/102: the files have changed since the push"):
        rollback.roll_back(str(serving_dir))
    (serving_dir / "102" / "saved_model.pb").unlink()
    with pytest.raises(UserError, match=f"{serving_dir}/102: has no SavedModel"):
        rollback.roll_back(str(serving_dir))
    assert versions(serving_dir) == [101, 102, 103]
    assert content(serving_dir, rollback.roll_back(str(serving_dir), to=101).number) == "a"


def test_damaged_newest_version_can_be_rolled_back(serving_dir, tmp_path):
    (serving_dir / "103" / "saved_model.pb").unlink()
    assert content(serving_dir, rollback.roll_back(str(serving_dir)).number) == "b"
    assert digest_of(make_model(tmp_path / "again", "c")) in publication.read_state(str(serving_dir)).rolled_back


def test_version_without_a_record_can_be_chosen(serving_dir):
    shutil.rmtree(serving_dir / "102" / "assets.extra")
    version = rollback.roll_back(str(serving_dir))
    assert content(serving_dir, version.number) == "b" and version.record.origin is None


def refused_push(model, serving_dir, folder, **config):
    """Pushes; returns the output artifact and its checks."""
    pushed, blessing = standard_artifacts.PushedModel(), standard_artifacts.InfraBlessing()
    pushed.uri = str(folder)
    folder.mkdir()
    blessing.set_int_custom_property("blessed", 1)
    inputs = {"model": [model], "infra_blessing": [blessing]}
    executor.Executor().Do(inputs, {"pushed_model": [pushed]}, properties_for(serving_dir, config))
    return pushed, checks.read_checks(pushed.uri)


def test_a_run_does_not_push_the_rolled_back_model_but_another_one(serving_dir, tmp_path):
    rollback.roll_back(str(serving_dir))
    again = make_model(tmp_path / "again", "c")
    pushed, (check,) = refused_push(again, serving_dir, tmp_path / "pushed")
    assert pushed.get_int_custom_property("pushed") == 0
    assert check.blocks and "version 103 until it was rolled back" in check.reason
    assert "serving.allow_rolled_back" in check.reason
    assert versions(serving_dir) == [101, 102, 103, 104]
    push(make_model(tmp_path / "d", "d"), serving_dir)
    assert content(serving_dir, 105) == "d"


def test_rolled_back_model_is_not_pushed_even_if_its_version_was_removed(serving_dir, tmp_path):
    rollback.roll_back(str(serving_dir))
    push(make_model(tmp_path / "d", "d"), serving_dir, keep=1)
    assert versions(serving_dir) == [105]
    pushed = push(make_model(tmp_path / "again", "c"), serving_dir)
    assert pushed.get_int_custom_property("pushed") == 0


def test_model_allowed_once_is_no_longer_rolled_back(serving_dir, tmp_path):
    rollback.roll_back(str(serving_dir))
    pushed = push(make_model(tmp_path / "again", "c"), serving_dir, allow_rolled_back=True)
    assert pushed.get_string_custom_property("pushed_version") == "105"
    push(make_model(tmp_path / "d", "d"), serving_dir)
    push(make_model(tmp_path / "again2", "c"), serving_dir)
    assert [content(serving_dir, v) for v in versions(serving_dir)] == list("abcbcdc")


def test_the_next_run_is_compared_with_the_restored_model(serving_dir, tmp_path):
    rollback.roll_back(str(serving_dir))
    candidate = make_model(tmp_path / "again", "c")
    baseline = baseline_model.choose_baseline(os.path.join(candidate.uri, "Format-Serving"), str(serving_dir))
    assert (baseline.source, baseline.version) == ("serving", "104")
    assert baseline.fingerprint == record.read(str(serving_dir / "102")).model_sha256


def test_failed_rollback_changes_nothing_that_a_reader_sees(serving_dir, monkeypatch):
    calls = itertools.count()
    rename = os.rename
    monkeypatch.setattr(
        os, "rename", lambda *a: rename(*a) if next(calls) else (_ for _ in ()).throw(OSError(28, "No space left"))
    )
    with pytest.raises(UserError, match="serving.dir.*No space left"):
        rollback.roll_back(str(serving_dir))
    assert versions(serving_dir) == [101, 102, 103]
    assert sorted(os.listdir(serving_dir)) == [".push.lock", ".push.state.json", "101", "102", "103"]
    version = rollback.roll_back(str(serving_dir))
    assert (version.number, content(serving_dir, version.number)) == (105, "b"), "a number may be skipped"
