import html
import json
import os

from tfx.dsl.components.base import base_executor

from artifacts import RunSummary
from components.run_outcome import executor, notes


def run(tmp_path):
    artifact = RunSummary()
    artifact.uri = str(tmp_path / "out")
    os.makedirs(artifact.uri)
    context = base_executor.BaseExecutor.Context(unique_id="run-1", tmp_dir=str(tmp_path / "tmp"))
    properties = {
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
    content, page = run(tmp_path)
    assert (content["status"], content["exit_status"]) == ("stopped", 2)
    assert content["error"] == "data-gate: too few rows"
    assert content["gates"] == [check]
    assert "too few rows" in page and "3 &lt;rows&gt;" in page


def test_another_failure(tmp_path):
    notes.write(folder(tmp_path), notes.Failure("trainer", "ResourceExhaustedError: no memory", False))
    content, _ = run(tmp_path)
    assert (content["status"], content["error"]) == ("failed", "trainer: ResourceExhaustedError: no memory")


def test_a_failure_of_which_no_task_could_leave_a_note(tmp_path):
    content, page = run(tmp_path)
    assert (content["status"], content["exit_status"]) == ("failed", 1)
    assert content["error"].startswith("a task was cancelled, or ended before") and content["error"] in html.unescape(
        page
    )


def test_a_run_that_came_to_its_report_keeps_it(tmp_path):
    os.makedirs(folder(tmp_path))
    for name, text in (("summary.json", '{"status": "pushed"}'), ("report.html", "<p>pushed</p>")):
        with open(os.path.join(folder(tmp_path), name), "w") as stream:
            stream.write(text)
    assert run(tmp_path) == ({"status": "pushed"}, "<p>pushed</p>")


def test_only_the_tasks_own_note_goes_with_its_success(tmp_path):
    notes.write(folder(tmp_path), notes.Failure("trainer", "lost", False))
    notes.remove(folder(tmp_path), "data-gate")
    assert notes.read(folder(tmp_path)).task == "trainer"
    notes.remove(folder(tmp_path), "trainer")
    assert notes.read(folder(tmp_path)) is None
    notes.remove(folder(tmp_path), "trainer")
