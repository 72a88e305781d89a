import json
import os

import pytest
from tfx.dsl.components.base import base_executor

from components import RunSummary
from components.run_outcome import executor, notes


def run(tmp_path, status):
    artifact = RunSummary()
    artifact.uri = str(tmp_path / "out")
    os.makedirs(artifact.uri)
    context = base_executor.BaseExecutor.Context(unique_id="run-1", tmp_dir=str(tmp_path / "tmp"))
    properties = {
        executor.FINAL_STATUS: json.dumps(status),
        executor.PIPELINE_NAME: "reviews",
        executor.REPORTS_DIR: str(tmp_path / "reports"),
    }
    executor.Executor(context).Do({}, {"report": [artifact]}, properties)
    with open(os.path.join(artifact.uri, "report.html")) as stream:
        page = stream.read()
    with open(os.path.join(artifact.uri, "summary.json")) as stream:
        return json.load(stream), page


def folder(tmp_path):
    return notes.run_folder(str(tmp_path / "reports"), "run-1")


def test_what_a_user_must_mend_is_told_with_the_checks_that_failed(tmp_path):
    check = {"gate": "data", "check": "rows", "passed": False, "value": 3, "bound": 20, "reason": "3 <rows>"}
    check["severity"] = "fail"
    notes.write(folder(tmp_path), notes.Failure("data-gate", "too few rows", True, [check]))
    content, page = run(tmp_path, {"state": "FAILED", "error": {"message": "task failed"}})
    assert (content["status"], content["exit_status"]) == ("stopped", 2)
    assert content["error"] == "data-gate: too few rows"
    assert content["gates"] == [check]
    assert "too few rows" in page and "3 &lt;rows&gt;" in page


def test_another_failure(tmp_path):
    notes.write(folder(tmp_path), notes.Failure("trainer", "ResourceExhaustedError: no memory", False))
    content, _ = run(tmp_path, {"state": "FAILED"})
    assert (content["status"], content["error"]) == ("failed", "trainer: ResourceExhaustedError: no memory")


@pytest.mark.parametrize(
    "status, error",
    [
        ({"state": "FAILED", "error": {"message": "pod lost"}}, "the run ended as FAILED: pod lost"),
        ({"state": "CANCELLED"}, "the run ended as CANCELLED: its tasks say why in their logs"),
        ({}, "the run ended as unknown: its tasks say why in their logs"),
    ],
)
def test_a_failure_of_which_no_task_could_leave_a_note(tmp_path, status, error):
    content, page = run(tmp_path, status)
    assert (content["status"], content["exit_status"], content["error"]) == ("failed", 1, error)
    assert error in page


@pytest.mark.parametrize("state", ["SUCCEEDED", "COMPLETE"])
def test_a_run_that_came_to_its_report_keeps_it(tmp_path, state):
    os.makedirs(folder(tmp_path))
    for name, text in (("summary.json", '{"status": "pushed"}'), ("report.html", "<p>pushed</p>")):
        with open(os.path.join(folder(tmp_path), name), "w") as stream:
            stream.write(text)
    assert run(tmp_path, {"state": state}) == ({"status": "pushed"}, "<p>pushed</p>")
