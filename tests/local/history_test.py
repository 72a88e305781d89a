"""The folders of the runs: their ids, what a run leaves, which run `latest` is."""

import concurrent.futures
import json
import os
import signal
import subprocess
import sys

import pytest

from core.config import load_config
from core.errors import UserError
from local import history
from tests.local.runs import write_run


@pytest.fixture(name="settings")
def _settings(tmp_path):
    path = tmp_path / "job.yaml"
    path.write_text("name: job\ndata: {train: a.tsv, seed: 3}\n")
    return load_config(str(path))


def test_runs_that_start_in_the_same_second_get_different_ids_in_order(tmp_path):
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        paths = list(pool.map(history._make_folder, [str(tmp_path)] * 64))
    assert len(set(paths)) == 64 == len(os.listdir(tmp_path))
    for path in paths:
        assert len(os.path.basename(path)) in (len("20261126T163105Z"), len("20261126T163105Z-02"))
    later = [history._make_folder(str(tmp_path)) for _ in range(3)]
    assert later == sorted(later) and later[0] > max(paths)


def test_run_json_names_command_code_seeds_and_versions(tmp_path, settings, monkeypatch):
    repo = tmp_path / "repo"
    repo.mkdir()
    git = ["git", "-C", str(repo), "-c", "user.name=a", "-c", "user.email=a@example.com"]
    (repo / "code.py").write_text("1")
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *words], check=True)
    monkeypatch.chdir(repo)
    secret = "notify.headers={Authorization: s3cret}"
    monkeypatch.setattr(sys, "argv", ["reviews", "run", "--set", secret, "notify.webhook=${HOOK}", "data.seed=3"])
    with history.record_run(str(tmp_path / "job"), settings) as run_folder:
        clean = history.Run(run_folder).record
    (repo / "code.py").write_text("2")
    with history.record_run(str(tmp_path / "job"), settings) as run_folder:
        dirty = history.Run(run_folder).record
    assert (
        clean["run"]
        == "".join(letter for letter in clean["started"].removesuffix("+00:00") if letter not in "-:") + "Z"
    )
    assert clean["command"] == [
        "reviews", "run", "--set", "notify.headers=...", "notify.webhook=${HOOK}", "data.seed=3",
    ]  # fmt: skip
    assert clean["seeds"] == {"data.seed": 3, "encoder.pretrain.seed": 0, "trainer.seed": 0}
    assert clean["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert len(clean["git"]["commit"]) == 40 and clean["git"]["dirty"] is False
    assert dirty["git"] == {**clean["git"], "dirty": True}


def test_outside_a_repository_there_is_no_commit(tmp_path, settings, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)
    with history.record_run(str(tmp_path / "job"), settings) as run_folder:
        assert history.Run(run_folder).record["git"] is None


def test_wrong_usage_leaves_no_run_and_an_interruption_leaves_one(tmp_path, settings):
    folder = str(tmp_path / "job")
    with pytest.raises(UserError, match="wrong"), history.record_run(folder, settings):
        raise UserError("wrong")
    assert os.listdir(os.path.join(folder, "history")) == []
    with pytest.raises(KeyboardInterrupt), history.record_run(folder, settings) as run_folder:
        assert history.Run(run_folder).status == "running"
        raise KeyboardInterrupt
    (run,) = history.list_runs(folder)
    assert run.status == "interrupted" and os.listdir(run.folder) == ["run.json"]


def test_killed_run_is_running_until_it_is_dead(tmp_path, settings):
    script = f"""
import time
from core.config import load_config
from local import history
with history.record_run({str(tmp_path / "job")!r}, load_config({str(tmp_path / "job.yaml")!r})):
    print("started", flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=_repo()) as process:
        process.stdout.readline()
        (run,) = history.list_runs(str(tmp_path / "job"))
        assert run.status == "running"
        process.send_signal(signal.SIGKILL)
    assert run.status == "interrupted"


def _repo():
    return os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def test_folder_that_cannot_be_written_is_named(tmp_path, settings):
    (tmp_path / "history").write_text("")
    with pytest.raises(UserError, match=f"--root: can't write to {tmp_path}: File exists"):
        with history.record_run(str(tmp_path), settings):
            pytest.fail("ran")


def test_latest_is_a_relative_link_that_is_always_there(tmp_path):
    runs = [write_run(tmp_path, run, "pushed") for run in ("1", "2")]
    history.set_latest(runs[0])
    link = tmp_path / "history" / "latest"
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        done = pool.submit(lambda: [history.set_latest(runs[number % 2]) for number in range(500)])
        seen = set()
        while not done.done():
            seen.add(os.readlink(link))  # Raises if there is no link for a moment.
    assert done.result() and seen <= {"1", "2"}
    assert os.readlink(link) == "2"
    os.rename(tmp_path / "history", tmp_path / "moved")
    assert json.loads((tmp_path / "moved" / "latest" / "run.json").read_text())["run"] == "2"
    assert sorted(os.listdir(tmp_path / "moved")) == ["1", "2", "latest"]


def test_runs_are_listed_by_id_without_the_link(tmp_path):
    for run in ("20261126T163105Z-02", "20261126T163106Z", "20261126T163105Z"):
        write_run(tmp_path, run, "pushed")
    history.set_latest(str(tmp_path / "history" / "20261126T163106Z"))
    ids = [run.id for run in history.list_runs(str(tmp_path))]
    assert ids == ["20261126T163105Z", "20261126T163105Z-02", "20261126T163106Z"]


def test_damaged_files_count_as_missing(tmp_path):
    path = write_run(tmp_path, "1", "pushed", {"trainer": {"epochs": 2}})
    assert history.Run(path).settings == {"trainer.epochs": 2}
    for name in ("summary.json", "run.json", "config.yaml"):
        with open(os.path.join(path, name), "wb") as stream:
            stream.write(b"\xff")
    run = history.Run(path)
    assert (run.status, run.record, run.settings) == ("interrupted", {}, None)


@pytest.fixture(name="root")
def _root(tmp_path):
    """Two pipelines; `a` has two runs, `b` one; `latest` is the first of each."""
    for name, runs in (("a", ("1", "2")), ("b", ("1",))):
        paths = [write_run(tmp_path / name, run, "pushed") for run in runs]
        history.set_latest(paths[0])
    return str(tmp_path)


@pytest.mark.parametrize(
    ("word", "found"),
    [("2", "a/history/2"), ("a/latest", "a/history/1"), ("b/1", "b/history/1"), ("{root}/a/history/2", "a/history/2"),
     ("{root}/b/history/latest", "b/history/1")],
)  # fmt: skip
def test_run_is_found_by_id_link_or_path(root, word, found):
    assert history.find_run(word.format(root=root), root, None).folder == os.path.join(root, found)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("1", "1: several pipelines have such a run; choose one of a/1, b/1, or set --config"),
        ("latest", "choose one of a/latest, b/latest"),
        ("b/3", "b/3: no such run; the newest are 1"),
        ("c/1", "there are no runs of 'c'; available: a, b"),
        ("{root}/a", "not the folder of a run: it has no run.json"),
        ("{root}/gone", "not the folder of a run"),
    ],
)
def test_run_that_is_not_one_run_is_an_error(root, word, message):
    with pytest.raises(UserError, match=message):
        history.find_run(word.format(root=root), root, None)


def test_latest_before_the_first_verdict_is_an_error(tmp_path):
    write_run(tmp_path / "a", "1")
    with pytest.raises(UserError, match=r"latest: no run has reached a verdict yet; the newest is 1 \(interrupted\)"):
        history.find_run("latest", str(tmp_path), None)


def test_pipeline_is_the_only_one_or_named_or_that_of_a_configuration(root, settings, tmp_path):
    with pytest.raises(UserError, match="has several pipelines; name one of a, b"):
        history.find_pipeline(root, None, None)
    assert history.find_pipeline(root, None, "b") == os.path.join(root, "b")
    write_run(tmp_path / "job", "1")
    assert history.find_pipeline(root, str(tmp_path / "job.yaml"), None) == os.path.join(root, "job")
    with pytest.raises(UserError, match="there are no runs yet; run the pipeline"):
        history.find_pipeline(os.path.join(root, "gone"), None, None)


def test_runs_of_a_version_without_history_are_explained(tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "summary.json").write_text("{}")
    with pytest.raises(UserError, match="its last run is of a version that kept no history; run the pipeline again"):
        history.list_runs(history.find_pipeline(str(tmp_path), None, None))
    with pytest.raises(UserError, match="kept no history"):
        history.find_run("1", str(tmp_path), None)
    with pytest.raises(UserError, match="kept no history"):
        history.find_run("latest", str(tmp_path), None)
