"""Serving folders, and the command `local_runner.py rollback`."""

import dataclasses
import json
import os
import re
import shutil

import pytest

import local_runner
from artifacts import model_files
from components.pusher import record
from core.errors import UserError
from local import serving
from tests.pushes import make_model, push, versions

CONFIG = "name: other\ndata: {train: train.tsv}\n"


@pytest.fixture(name="root")
def _root(tmp_path):
    """A run root with one pipeline, which pushed the models `a` and `b`."""
    for name in "ab":
        push(make_model(tmp_path / name, name), tmp_path / "runs" / "job" / "serving", run_id=f"run-{name}")
    return tmp_path / "runs"


def call(*arguments, capfd):
    """Returns the exit status and the output."""
    status = local_runner.main(["rollback", *map(str, arguments)])
    output = capfd.readouterr()
    return status, output.out + output.err


def test_rollback_of_the_only_pipeline_under_the_root(root, capfd):
    first, second = versions(root / "job" / "serving")
    status, text = call("--root", root, capfd=capfd)
    assert status == 0
    *_, newest = versions(root / "job" / "serving")
    assert f"version {first} is in serving again, as {root}/job/serving/{newest}" in text
    assert f"the model of version {second} will not be pushed again" in text
    assert os.path.basename(serving.newest_model(str(root))) == str(newest), "the model of `predict`"


def test_table_of_versions(root, capfd, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    serving_dir = root / "job" / "serving"
    first, second = versions(serving_dir)
    pushed = record.read(str(serving_dir / str(first)))
    origin = dataclasses.replace(
        pushed.origin, run_id="\x1b[31m[red]run\n", metrics={"candidate": {"accuracy": 0.91234}}
    )
    record.write(str(serving_dir / str(first)), dataclasses.replace(pushed, origin=origin))
    (serving_dir / "7" / "assets").mkdir(parents=True)
    call("--root", root, "--to", first, capfd=capfd)
    before = sorted(os.listdir(serving_dir))
    status, text = call("--root", root, "--list", capfd=capfd)
    assert status == 0 and sorted(os.listdir(serving_dir)) == before
    assert "\x1b" not in text
    rows = [line.strip() for line in text.splitlines() if line.strip()][2:]
    newest = versions(serving_dir)[-1]
    cells = [re.split(r"  +", row) for row in rows]
    times = [record.read(str(serving_dir / str(v))).time[:19].replace("T", " ") for v in (newest, second, first)]
    assert cells == [
        [str(newest), times[0], "0.9123", r"\x1b[31m[red]run\n"],
        ["in serving"],
        [f"rollback to {first}, replaces {second}"],
        [str(second), times[1], "run-b"],
        ["rolled back"],
        [str(first), times[2], "0.9123", r"\x1b[31m[red]run\n"],
        ["7", "added by hand"],
    ]


def test_folder_by_configuration(root, tmp_path, capfd):
    (tmp_path / "job.yaml").write_text(CONFIG)
    status, text = call("--root", root, "--config", tmp_path / "job.yaml", capfd=capfd)
    assert status == 2 and f"{root}/other/serving: no model was pushed there yet" in text
    (tmp_path / "job.yaml").write_text(CONFIG + "serving: {dir: runs/job/serving}\n")
    assert call("--config", tmp_path / "job.yaml", capfd=capfd)[0] == 0
    assert len(versions(root / "job" / "serving")) == 3


def test_one_of_several_pipelines_has_to_be_selected(root, capfd):
    shutil.copytree(root / "job", root / "more")
    status, text = call("--root", root, capfd=capfd)
    assert status == 2 and f"{root}/job/serving, {root}/more/serving" in text
    assert call("--serving", root / "more" / "serving", capfd=capfd)[0] == 0
    assert [len(versions(root / name / "serving")) for name in ("job", "more")] == [2, 3]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--root", "nowhere"], "--root nowhere: no model was pushed there yet"),
        (["--serving", "nowhere"], "nowhere: no model was pushed there yet"),
        (["--serving", "gs://bucket/serving"], "should be a folder on a file system"),
        (["--config", "nowhere.yaml"], "nowhere.yaml: No such file or directory"),
        (["--list", "--serving", "nowhere"], "nowhere: no model was pushed there yet"),
    ],
)
def test_missing_folder_is_one_line_and_exit_status_2(arguments, words, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    status, text = call(*arguments, capfd=capfd)
    assert status == 2 and words in text and len(text.splitlines()) == 1
    assert os.listdir(tmp_path) == []


def test_unknown_version_lists_the_versions(root, capfd):
    first, second = versions(root / "job" / "serving")
    status, text = call("--root", root, "--to", "9", capfd=capfd)
    assert status == 2 and f"--to 9: no such version; earlier versions: {first}" in text


@pytest.mark.parametrize("arguments", ["--to second", "--to 1 --list", "--config a --serving b"])
def test_wrong_usage(arguments, capfd):
    with pytest.raises(SystemExit) as exit_:
        call(*arguments.split(), capfd=capfd)
    assert exit_.value.code == 2


def test_newest_model_of_any_pipeline(root, tmp_path):
    with pytest.raises(UserError, match="no model was pushed there yet"):
        serving.newest_model(str(tmp_path / "nowhere"))
    newer = root / "more" / "serving" / "9999999999"
    newer.mkdir(parents=True)
    assert serving.newest_model(str(root)) == str(newer)
    (root / "more" / "serving" / str(model_files.LARGEST_VERSION + 1)).mkdir()
    assert serving.newest_model(str(root)) == str(newer)


def test_versions_as_json_are_one_object_per_line(root, capfd):
    first, second = versions(root / "job" / "serving")
    call("--root", root, "--to", first, capfd=capfd)
    status, text = call("--root", root, "--list", "--json", capfd=capfd)
    newest, other, oldest = map(json.loads, text.splitlines())
    assert status == 0
    assert [row["version"] for row in (other, oldest)] == [second, first]
    assert newest["in_serving"] and newest["notes"] == ["in serving", f"rollback to {first}, replaces {second}"]
    assert other["rolled_back"] and other["run_id"] == "run-b" and not other["in_serving"]
    assert newest["path"] == str(root / "job" / "serving" / str(newest["version"]))


def test_the_outcome_of_a_rollback_as_json(root, capfd):
    first, second = versions(root / "job" / "serving")
    status, text = call("--root", root, "--json", capfd=capfd)
    *_, newest = versions(root / "job" / "serving")
    path = str(root / "job" / "serving" / str(newest))
    assert status == 0
    assert json.loads(text) == {"version": newest, "path": path, "restored": first, "replaced": second}
