"""The compiled pipeline, task by task as a cluster would start it, through `kubeflow_runner.py`."""

import http.server
import json
import os
import stat
import subprocess
import sys
import threading

import pytest
from rich import cells

from tests import terminals
from tests.slow.runs import write_reviews

pytestmark = pytest.mark.e2e

REPO = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TASKS = {
    "tsv-example-gen",
    "statistics-gen",
    "import-schema-gen",
    "example-validator",
    "data-gate",
    "encoder-pretrainer",
    "trainer",
    "baseline-model",
    "evaluator",
    "model-gate",
    "serving-validator",
    "pusher",
    "run-report",
    "run-outcome",
}
CONFIG = """
name: tiny
data: {train: https://example.com/train.tsv, test: https://example.com/test.tsv}
encoder:
  pretrain: {vocabulary: 300, layers: 1, hidden: 16, heads: 2, steps: 5, max_length: 32}
trainer: {epochs: 40, batch_size: 8, learning_rate: 0.01, max_length: 32}
gates: {model: {calibration_error: {max: 1, max_rise: 1}}}
serving: {dir: /mnt/reviews/serving}
notify: {webhook: "${HOOK}", headers: {Authorization: "Bearer ${TOKEN}"}}
kubeflow:
  image: registry.example.com/reviews:1
  volumes: [{claim: reviews, path: /mnt/reviews}]
  work_dir: /mnt/reviews/state
"""


def command(*arguments):
    return [sys.executable, os.path.join(REPO, "kubeflow_runner.py"), *map(str, arguments)]


@pytest.fixture(scope="module", name="messages")
def _messages():
    """The messages that the webhook of `CONFIG` receives: (header, body)."""
    received = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            received.append((self.headers["Authorization"], body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOOK", f"http://127.0.0.1:{server.server_port}/hook")
        patch.setenv("TOKEN", "s3cret")
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield received
        server.shutdown()


@pytest.fixture(scope="module", name="job")
def _job(tmp_path_factory):
    folder = tmp_path_factory.mktemp("job")
    (folder / "job.yaml").write_text(CONFIG)
    write_reviews(folder / "train.tsv", 300, seed=1)
    write_reviews(folder / "test.tsv", 60, seed=2)
    (folder / "nothing.tsv").write_text("id\tdocument\tlabel\n1\t\t0\n2\t좋아요\t1\n")
    done = terminals.run(command("compile", "--config", folder / "job.yaml", "--output", folder / "tiny.yaml"), 80)
    assert done.status == 0, done.rows
    assert "".join(done.rows) == f"wrote {folder}/tiny.yaml", "nothing of the libraries is on the terminal"
    return folder


def replay(job, train, *parameters):
    """Returns the command of a replay."""
    values = [f"train={job / train}", f"test={job / 'test.tsv'}", *parameters]
    return command("replay", job / "tiny.yaml", "--root", job / "replay", "--param", *values)


def _squeeze(text):
    """Removes all white space, some of which is lost where a terminal wraps."""
    return "".join(text.split())


def newest_record(job):
    folder = job / "replay" / "runs"
    with open(max(folder.iterdir(), key=os.path.getmtime)) as stream:
        return json.load(stream)


def report(job, record):
    with open(job / "replay/volumes/reviews/state/runs" / record["run_id"] / "summary.json") as stream:
        return json.load(stream)


def stored_page(job, record, task):
    """Returns the HTML that KFP's page would show of a task."""
    (page,) = (job / "replay" / "store").glob(f"**/{record['run_id']}/{task}/*/page")
    return page.read_text(encoding="utf-8")


def test_every_task_runs_and_the_run_parameters_reach_them(job, messages):
    done = subprocess.run(
        replay(job, "train.tsv", "epochs=4", "sample_size=280"), capture_output=True, text=True, timeout=900
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    assert len(done.stdout.splitlines()) == len(TASKS) + 6, "a line per task, the outcome, and where things are"
    record = newest_record(job)
    assert {name: task["status"] for name, task in record["tasks"].items()} == dict.fromkeys(TASKS, "complete")
    summary = report(job, record)
    assert (summary["status"], summary["error"]) == ("pushed", None)
    for task in ("run-report", "run-outcome"):
        assert stored_page(job, record, task).startswith("<!doctype html>")
    (outcome,) = (job / "replay" / "store").glob(f"**/{record['run_id']}/summary.json")
    assert json.loads(outcome.read_text(encoding="utf-8")) == summary
    figures = {task: record["tasks"][task]["metadata"] for task in ("trainer", "model-gate")}
    assert figures["model-gate"]["metrics"]["accuracy"] == summary["metrics"]["candidate"]["accuracy"]
    matrix = figures["model-gate"]["classification"]["confusionMatrix"]["struct"]
    assert sum(sum(row["row"]) for row in matrix["rows"]) == 60
    assert figures["model-gate"]["classification"]["confidenceMetrics"]["list"][-1]["recall"] == 1
    assert figures["trainer"]["training"]["epochs"] == 4
    log = job / "replay" / "logs" / record["run_id"] / "pusher.log"
    assert "Warning" not in log.read_text(encoding="utf-8")
    assert len(summary["training"]["history"]) == 4
    assert summary["rows"]["train"]["accepted"] + summary["rows"]["dev"]["accepted"] == 280
    (version,) = (entry for entry in os.listdir(job / "replay/volumes/reviews/serving") if entry.isdigit())
    folder = job / "replay/volumes/reviews/serving" / version
    assert summary["pushed_path"] == str(folder)
    assert (folder / "saved_model.pb").is_file()
    (pushed,) = (folder / "assets.extra").glob("push*.json")
    with open(pushed) as stream:
        assert record["run_id"] in stream.read()
    for path in (folder.parent, *folder.parent.glob("**/*")):
        mode = path.lstat().st_mode
        assert mode & stat.S_IROTH and not mode & stat.S_IWOTH, f"{path}: Argo's umask is 0"
    (page,) = (job / "replay" / "store").glob(f"**/{record['run_id']}/pusher/*/version")
    assert f"## Version {version}" in page.read_text(encoding="utf-8") and str(folder) in page.read_text(
        encoding="utf-8"
    )
    accuracy = summary["metrics"]["candidate"]["accuracy"]
    text = f"tiny: pushed: {folder} (accuracy {accuracy:.4f})"
    assert messages == [("Bearer s3cret", {"text": text})]


def test_an_error_in_the_data_stops_the_run_and_is_in_the_report_and_the_message(job, messages):
    messages.clear()
    done = terminals.run(replay(job, "nothing.tsv"), 60)
    assert done.status == 2, done.rows
    assert len([row for row in done.rows if row[:2] in ("✓ ", "✗ ", "- ")]) == len(TASKS) and len(done.rows) < 60
    assert all(cells.cell_len(row) <= 60 for row in done.rows)
    record = newest_record(job)
    statuses = {name: task["status"] for name, task in record["tasks"].items()}
    assert (statuses["tsv-example-gen"], statuses["trainer"], statuses["run-outcome"]) == (
        "failed",
        "skipped",
        "complete",
    )
    summary = report(job, record)
    assert "Stopped" in stored_page(job, record, "run-outcome")
    assert (summary["status"], summary["exit_status"]) == ("stopped", 2)
    assert f"data.train = {job}/nothing.tsv" in summary["error"] and _squeeze(summary["error"]) in _squeeze(
        "".join(done.rows)
    )
    assert messages == [("Bearer s3cret", {"text": f"tiny: stopped: {summary['error']}"})]
