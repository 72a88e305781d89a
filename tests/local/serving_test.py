"""Where serving folders are found, and `local_runner.py rollback` as a person types it."""

import dataclasses
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


def call(*arguments, capsys):
    """Returns the exit status and what was told."""
    status = local_runner.main(["rollback", *map(str, arguments)])
    told = capsys.readouterr()
    return status, told.out + told.err


def test_rollback_of_the_only_pipeline_under_the_root(root, capsys):
    first, second = versions(root / "job" / "serving")
    status, told = call("--root", root, capsys=capsys)
    assert status == 0
    *_, newest = versions(root / "job" / "serving")
    assert f"version {first} is in serving again, as {root}/job/serving/{newest}" in told
    assert f"the model of version {second} will not be pushed again" in told
    assert os.path.basename(serving.newest_model(str(root))) == str(newest), "what `predict` asks"


def test_table_of_versions(root, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    serving_dir = root / "job" / "serving"
    first, second = versions(serving_dir)
    pushed = record.read(str(serving_dir / str(first)))
    origin = dataclasses.replace(
        pushed.origin, run_id="\x1b[31m[red]run\n", metrics={"candidate": {"accuracy": 0.91234}}
    )
    record.write(str(serving_dir / str(first)), dataclasses.replace(pushed, origin=origin))
    (serving_dir / "7" / "assets").mkdir(parents=True)
    call("--root", root, "--to", first, capsys=capsys)
    before = sorted(os.listdir(serving_dir))
    status, told = call("--root", root, "--list", capsys=capsys)
    assert status == 0 and sorted(os.listdir(serving_dir)) == before
    assert "\x1b" not in told
    rows = [line.strip() for line in told.splitlines() if line.strip()][2:]
    newest = versions(serving_dir)[-1]
    cells = [re.split(r"  +", row) for row in rows]
    times = [record.read(str(serving_dir / str(v))).time[:19].replace("T", " ") for v in (newest, second, first)]
    assert cells == [
        [str(newest), times[0], "0.9123", r"\x1b[31m[red]run\n"],
        ["in serving"],
        [f"{first} again, instead of {second}"],
        [str(second), times[1], "run-b"],
        ["rolled back"],
        [str(first), times[2], "0.9123", r"\x1b[31m[red]run\n"],
        ["7", "put there by hand"],
    ]


def test_folder_by_configuration(root, tmp_path, capsys):
    (tmp_path / "job.yaml").write_text(CONFIG)
    status, told = call("--root", root, "--config", tmp_path / "job.yaml", capsys=capsys)
    assert status == 2 and f"{root}/other/serving: no model was pushed there yet" in told
    (tmp_path / "job.yaml").write_text(CONFIG + "serving: {dir: runs/job/serving}\n")
    assert call("--config", tmp_path / "job.yaml", capsys=capsys)[0] == 0
    assert len(versions(root / "job" / "serving")) == 3


def test_more_than_one_pipeline_has_to_be_named(root, capsys):
    shutil.copytree(root / "job", root / "more")
    status, told = call("--root", root, capsys=capsys)
    assert status == 2 and f"{root}/job/serving, {root}/more/serving" in told
    assert call("--serving", root / "more" / "serving", capsys=capsys)[0] == 0
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
def test_what_is_not_there_is_one_line_and_exit_status_2(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    status, told = call(*arguments, capsys=capsys)
    assert status == 2 and words in told and len(told.splitlines()) == 1
    assert os.listdir(tmp_path) == []


def test_unknown_version_lists_those_there_are(root, capsys):
    first, second = versions(root / "job" / "serving")
    status, told = call("--root", root, "--to", "9", capsys=capsys)
    assert status == 2 and f"--to 9: no such version; earlier versions: {first}" in told


@pytest.mark.parametrize("arguments", ["--to second", "--to 1 --list", "--config a --serving b"])
def test_wrong_usage(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        call(*arguments.split(), capsys=capsys)
    assert ended.value.code == 2


def test_newest_model_of_any_pipeline(root, tmp_path):
    with pytest.raises(UserError, match="no model was pushed there yet"):
        serving.newest_model(str(tmp_path / "nowhere"))
    newer = root / "more" / "serving" / "9999999999"
    newer.mkdir(parents=True)
    assert serving.newest_model(str(root)) == str(newer)
    (root / "more" / "serving" / str(model_files.LARGEST_VERSION + 1)).mkdir()
    assert serving.newest_model(str(root)) == str(newer)
