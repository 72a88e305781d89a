"""The whole pipeline through `local_runner.py`: runs, their history, and errors."""

import collections
import csv
import json
import os
import pathlib
import subprocess
import sys

import pytest
from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata

from tests.runner import call
from tests.slow.runs import write_reviews

pytestmark = pytest.mark.e2e

REPO = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
NODES = {
    "TsvExampleGen",
    "StatisticsGen",
    "ImportSchemaGen",
    "ExampleValidator",
    "DataGate",
    "EncoderPretrainer",
    "Trainer",
    "BaselineModel",
    "Evaluator",
    "ModelGate",
    "ServingValidator",
    "Pusher",
    "RunReport",
}
CONFIG = """
name: tiny
data: {train: train.tsv, test: test.tsv}
encoder:
  pretrain: {vocabulary: 300, layers: 1, hidden: 16, heads: 2, steps: 5, max_length: 32}
trainer: {epochs: 4, batch_size: 8, learning_rate: 0.01, max_length: 32}
# Four epochs are enough for the right labels, but not for calibrated probabilities.
gates: {model: {calibration_error: {max: 1, max_rise: 1}}}
"""


# A model that learns almost nothing, and bounds that it does not meet.
UNREACHABLE = (
    "trainer.epochs=1",
    "trainer.learning_rate=1e-9",
    "gates.model.accuracy.min=1",
    "gates.model.auc.min=1",
)


def executions(folder, run):
    """Returns node id -> state of the executions of the run with this index, from MLMD."""
    store = metadata_store.MetadataStore(
        metadata.sqlite_metadata_connection_config(os.path.join(folder, "metadata.sqlite"))
    )
    runs = sorted(store.get_contexts_by_type("pipeline_run"), key=lambda context: context.id)
    states = {}
    for execution in store.get_executions_by_context(runs[run].id):
        node = [c for c in store.get_contexts_by_execution(execution.id) if c.name.startswith("tiny.")][0]
        states[node.name.split(".", 1)[1]] = metadata_store_pb2.Execution.State.Name(execution.last_known_state)
    return states


@pytest.fixture(scope="module", name="job")
def _job(tmp_path_factory):
    folder = tmp_path_factory.mktemp("job")
    (folder / "job.yaml").write_text(CONFIG)
    write_reviews(folder / "train.tsv", 300, seed=1)
    write_reviews(folder / "test.tsv", 60, seed=2)
    return folder


@pytest.fixture(scope="module", name="first")
def _first(job):
    return call("run", "--config", job / "job.yaml", "--root", job / "runs")


def run_folders(job):
    """The folders of the runs, oldest first."""
    return sorted(path for path in (job / "runs" / "tiny" / "history").iterdir() if not path.is_symlink())


def summary(job):
    return json.loads((run_folders(job)[-1] / "summary.json").read_text())


def test_first_run_pushes_a_model(job, first):
    assert first.returncode == 0, first.stdout + first.stderr
    report = summary(job)
    assert report["status"] == "pushed" and report["exit_status"] == 0
    assert {c["id"]: (c["status"], c["cached"]) for c in report["components"]} == dict.fromkeys(
        NODES, ("complete", False)
    )
    assert report["rows"]["train"]["accepted"] + report["rows"]["dev"]["accepted"] == 300
    assert report["metrics"]["candidate"]["accuracy"] > 0.9 and report["metrics"]["baseline"] is None
    assert {check["gate"] for check in report["gates"]} == {"data", "model", "invariance", "serving"}
    assert all(check["passed"] and check["reason"] for check in report["gates"])
    assert os.path.exists(os.path.join(report["pushed_path"], "saved_model.pb"))
    assert os.path.exists(os.path.join(report["encoder"]["path"], "encoder", "saved_model.pb"))
    page = open(report["report_path"], encoding="utf-8").read()
    assert '<img src="data:image/png' in page and "Most confident mistakes" in page and "Calibration" in page
    (run,) = run_folders(job)
    assert {path.name for path in run.iterdir()} == {
        "config.yaml",
        "report.html",
        "run.json",
        "run.log",
        "summary.json",
    }
    assert (report["run"], report["run_folder"], report["report_path"]) == (
        run.name,
        str(run),
        str(run / "report.html"),
    )
    assert not (job / "runs" / "tiny" / "summary.json").exists() and str(run / "run.log") in first.stdout
    record = json.loads(pathlib.Path(report["pushed_path"], "assets.extra", "push.json").read_text())
    assert record["origin"]["run_id"] == run.name
    assert report["pushed_path"] in first.stdout and "TensorFlow" not in first.stdout and first.stderr == ""


def test_sentences_are_labelled_with_probabilities(job, first):
    predicted = call("predict", "--root", job / "runs", "정말 최고다", "정말 지루하다")
    assert predicted.returncode == 0, predicted.stderr
    assert [line.split()[0] for line in predicted.stdout.splitlines()] == ["긍정", "부정"]
    answers = [
        json.loads(line)
        for line in call("predict", "--root", job / "runs", "--json", stdin="정말 최고다\n").stdout.splitlines()
    ]
    assert [(answer["text"], answer["label"]) for answer in answers] == [("정말 최고다", "긍정")]
    assert 0.5 < answers[0]["probability"] <= 1


def test_predict_adds_two_columns_to_the_rows_of_a_file(job, first, tmp_path):
    source, out = tmp_path / "in.tsv", tmp_path / "out.tsv"
    source.write_text('id\tdocument\tlabel\n7\t정말 최고다\t1\n8\t\t0\n9\t"그는 ""별로다"" 했다"\t0\n"broken\n')
    predicted = call("predict", "--root", job / "runs", "--file", source, "--out", out)
    assert predicted.returncode == 0, predicted.stderr
    assert "4 rows, 2 without a score" in predicted.stderr and "accuracy 1.0000 on 2 labelled rows" in predicted.stderr
    lines = out.read_text().splitlines()
    assert lines[0] == "id\tdocument\tlabel\tlabel_name\tprobability"
    rows = list(csv.reader(lines[1:4], delimiter="\t"))
    assert [row[:4] for row in rows] == [
        ["7", "정말 최고다", "1", "긍정"],
        ["8", "", "0", ""],
        ["9", '그는 "별로다" 했다', "0", "부정"],
    ]
    assert 0.5 < float(rows[0][4]) <= 1 and rows[1][4] == ""


def test_mistyped_path_leaves_the_good_report_and_a_saved_configuration_runs_again(job, first):
    latest = job / "runs" / "tiny" / "history" / "latest"
    good = (latest / "report.html").read_bytes()
    mistyped = call("run", "--config", job / "job.yaml", "--root", job / "runs", "--set", "data.train=gone.tsv")
    assert mistyped.returncode == 2 and "gone.tsv: No such file or directory" in mistyped.stdout
    assert summary(job)["status"] == "stopped" and len(run_folders(job)) == 2
    page = (run_folders(job)[1] / "report.html").read_text(encoding="utf-8")
    assert "gone.tsv: No such file or directory" in page and "run.log" in page
    assert mistyped.stdout.index("stopped: ") < mistyped.stdout.index("report: "), "the message does not wait"
    assert os.readlink(latest) == run_folders(job)[0].name and (latest / "report.html").read_bytes() == good

    again = call("run", "--config", latest / "config.yaml", "--root", job / "runs")
    assert again.returncode == 0, again.stdout + again.stderr
    assert all(component["cached"] for component in summary(job)["components"])
    assert os.readlink(latest) == run_folders(job)[2].name
    compared = call("compare", run_folders(job)[0].name, "latest", "--root", job / "runs", "--json")
    result = json.loads(compared.stdout)
    assert (result["config"], result["gates"], result["rows_note"]) == ({}, [], "both runs have the same model")
    listed = [json.loads(line) for line in call("history", "--root", job / "runs", "--json").stdout.splitlines()]
    assert [run["status"] for run in listed] == ["pushed", "stopped", "pushed"]
    assert listed[1]["changes"]["data.train"] == [str(job / "train.tsv"), os.path.abspath("gone.tsv")]


def test_second_run_is_cached_and_a_third_with_a_changed_row_is_not(job, first):
    second = call("run", "--config", job / "job.yaml", "--root", job / "runs")
    assert second.returncode == 0, second.stdout + second.stderr
    assert executions(job / "runs" / "tiny", -1) == dict.fromkeys(NODES, "CACHED")
    pushed = summary(job)["pushed_path"]
    assert f"already in serving, nothing new was pushed: this model is {pushed}" in " ".join(second.stdout.split())
    assert summary(job)["already_in_serving"] and "recall of" in second.stdout and "recall_0" not in second.stdout

    text = (job / "train.tsv").read_text(encoding="utf-8")
    (job / "train.tsv").write_text(text.replace("정말", "진짜", 1), encoding="utf-8")
    third = call("run", "--config", job / "job.yaml", "--root", job / "runs")
    states = executions(job / "runs" / "tiny", -1)
    assert states["ImportSchemaGen"] == "CACHED"
    assert collections.Counter(state for node, state in states.items() if node != "ImportSchemaGen") == {
        "COMPLETE": len(NODES) - 1
    }
    report = summary(job)
    assert report["metrics"]["baseline"]["accuracy"] > 0.9
    assert third.returncode == {"pushed": 0, "not_blessed": 3}[report["status"]], third.stdout
    assert report["status"] == "not_blessed" or int(os.path.basename(report["pushed_path"])) > int(
        os.path.basename(pushed)
    )


def test_unreachable_bound_pushes_nothing_and_is_named(job, first):
    versions = os.listdir(job / "runs" / "tiny" / "serving")
    result = call("run", "--config", job / "job.yaml", "--root", job / "runs", "--set", *UNREACHABLE)
    assert result.returncode == 3, result.stdout + result.stderr
    assert os.listdir(job / "runs" / "tiny" / "serving") == versions
    report = summary(job)
    assert report["status"] == "not_blessed" and report["pushed_path"] is None
    failed = [check for check in report["gates"] if not check["passed"]]
    assert failed and all(check["reason"] in result.stdout for check in failed)
    assert any("below gates.model.accuracy.min = 1.0000" in check["reason"] for check in failed)


def test_killed_run_resumes_and_excludes_a_second_run(job, first):
    arguments = ["run", "--config", job / "job.yaml", "--root", job / "runs", "--set", "trainer.seed=7"]
    command = [sys.executable, "-u", os.path.join(REPO, "local_runner.py"), *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8") as running:
        for line in running.stdout:
            if "EncoderPretrainer" in line:
                break
        second = call(*arguments)
        running.kill()
    killed = run_folders(job)[-1]
    assert {path.name for path in killed.iterdir()} == {"config.yaml", "run.json", "run.log"}
    listed = call("history", "--root", job / "runs", "--json").stdout.splitlines()
    assert (json.loads(listed[-1])["run"], json.loads(listed[-1])["status"]) == (killed.name, "interrupted")
    assert second.returncode == 2 and "another run is using this folder" in second.stderr
    again = call(*arguments)
    assert again.returncode in (0, 3), again.stdout + again.stderr
    report = {c["id"]: (c["status"], c["cached"]) for c in summary(job)["components"]}
    assert report["EncoderPretrainer"] == ("complete", True) and report["Trainer"] == ("complete", False)
    assert set(report) == NODES


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "trainer.epochs=none"], ["trainer.epochs", "'none'"]),
        (["--config", "nowhere.yaml"], ["nowhere.yaml: No such file or directory"]),
        (["--root", "/proc/nowhere"], ["--root", "/proc/nowhere"]),
    ],
)
def test_usage_error_starts_nothing_and_is_one_line(job, arguments, words):
    result = call("run", "--config", job / "job.yaml", "--root", job / "elsewhere", *arguments)
    assert result.returncode == 2
    assert len(result.stderr.strip().splitlines()) == 1 and all(word in result.stderr for word in words)
    assert not (job / "elsewhere").exists()


def test_bad_data_stops_the_run_before_training(job, tmp_path):
    write_reviews(tmp_path / "all_good.tsv", 400, seed=3)
    text = (tmp_path / "all_good.tsv").read_text(encoding="utf-8").replace("\t0\n", "\t1\n")
    (tmp_path / "all_good.tsv").write_text(text, encoding="utf-8")
    root = tmp_path / "runs"
    stopped = call("run", "--config", job / "job.yaml", "--root", root, "--set", f"data.train={tmp_path}/all_good.tsv")
    assert stopped.returncode == 2, stopped.stdout + stopped.stderr
    report = json.loads((root / "tiny" / "history" / "latest" / "summary.json").read_text())
    assert report["status"] == "stopped" and "부정" in report["error"]
    assert [check["check"] for check in report["gates"] if not check["passed"]] == [
        "label_balance/train",
        "label_balance/dev",
    ]
    status = {c["id"]: c["status"] for c in report["components"]}
    assert status["DataGate"] == "failed" and status["Trainer"] == status["EncoderPretrainer"] == "not_run"
    assert "Traceback" not in stopped.stdout + stopped.stderr
