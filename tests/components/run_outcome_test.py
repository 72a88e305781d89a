import dataclasses
import html
import json
import os

from tfx.dsl.components.base import base_executor

from artifacts import examples
from artifacts.tfx_types import RunSummary
from components.run_outcome import executor, notes
from components.run_report.executor import PIPELINE_NAME, REPORTS_DIR
from components.run_report.summary import Summary, run_folder
from core.checks import Check
from core.config import NotifyConfig


def run(tmp_path, notify="{}"):
    artifact = RunSummary()
    artifact.uri = str(tmp_path / "out")
    os.makedirs(artifact.uri)
    context = base_executor.BaseExecutor.Context(unique_id="run-1", tmp_dir=str(tmp_path / "tmp"))
    properties = {
        PIPELINE_NAME: "reviews",
        REPORTS_DIR: str(tmp_path / "reports"),
        executor.NOTIFY: notify,
        executor.PARAMETERS: "{}",
    }
    executor.Executor(context).Do({}, {"report": [artifact]}, properties)
    with open(os.path.join(artifact.uri, "report.html")) as stream:
        page = stream.read()
    with open(os.path.join(artifact.uri, "summary.json")) as stream:
        return json.load(stream), page


def folder(tmp_path):
    return run_folder(str(tmp_path / "reports"), "run-1")


def test_user_error_is_reported_with_the_failed_checks(tmp_path):
    check = Check("data", "rows", False, 3, 20, "3 <rows>", "fail")
    notes.write(folder(tmp_path), notes.Failure("data-gate", "too few rows", True, [check]))
    content, page = run(tmp_path)
    assert (content["status"], content["exit_status"]) == ("stopped", 2)
    assert content["error"] == "data-gate: too few rows"
    assert content["gates"] == [dataclasses.asdict(check)]
    assert "too few rows" in page and "3 &lt;rows&gt;" in page


def test_a_stopped_run_has_its_rows(tmp_path):
    notes.write(folder(tmp_path), notes.Failure("data-gate", "too few rows", True))
    rows = {"train": {"accepted": 7, "rejected": {"empty_text": 2}}}
    ingest = examples.Ingest(rows, not_sampled=0, files={"train": ["a.tsv"]}, span=None, fingerprint="0")
    examples.write_ingest(folder(tmp_path), ingest)
    content, page = run(tmp_path)
    assert content["rows"] == {"train": {"accepted": 7, "rejected": {"empty_text": 2}, "left_out": 0}}
    assert "empty_text" in page or "empty text" in page


def test_other_error_is_a_failure(tmp_path):
    notes.write(folder(tmp_path), notes.Failure("trainer", "ResourceExhaustedError: no memory", False))
    content, _ = run(tmp_path)
    assert (content["status"], content["error"]) == ("failed", "trainer: ResourceExhaustedError: no memory")


def test_failure_without_a_note(tmp_path):
    content, page = run(tmp_path)
    assert (content["status"], content["exit_status"]) == ("failed", 1)
    assert content["error"].startswith("a task was cancelled or killed before")
    assert content["error"] in html.unescape(page)


def test_existing_report_is_copied(tmp_path):
    os.makedirs(folder(tmp_path))
    summary = Summary("reviews", "pushed", pushed_path="serving/1", versions={})
    for name, text in (("summary.json", json.dumps(summary.to_json())), ("report.html", "<p>pushed</p>")):
        with open(os.path.join(folder(tmp_path), name), "w") as stream:
            stream.write(text)
    content, page = run(tmp_path)
    assert (content["status"], page) == ("pushed", "<p>pushed</p>")


def test_the_outcome_is_notified(tmp_path):
    notes.write(folder(tmp_path), notes.Failure("trainer", "ResourceExhaustedError: no memory", False))
    command = ["sh", "-c", f'echo "$REVIEWS_MESSAGE" >{tmp_path}/message']
    run(tmp_path, NotifyConfig(command=command).model_dump_json())
    assert (tmp_path / "message").read_text() == "reviews: failed: trainer: ResourceExhaustedError: no memory\n"


def test_task_that_succeeds_removes_only_its_own_note(tmp_path):
    notes.write(folder(tmp_path), notes.Failure("trainer", "lost", False))
    notes.remove(folder(tmp_path), "data-gate")
    assert notes.read(folder(tmp_path)).task == "trainer"
    notes.remove(folder(tmp_path), "trainer")
    assert notes.read(folder(tmp_path)) is None
    notes.remove(folder(tmp_path), "trainer")
