"""Two runs side by side, and the table and the page of the history."""

import io
import json
import os
import re
import subprocess
import sys

import pytest
import rich.console

import local_runner
from core import intervals
from core.errors import UserError
from local import comparison, comparison_view, history, history_page, history_view
from local.history import Run
from tests.local.runs import check, write_run

REPO = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HOSTILE = "\x1b]0;owned\x07[bold]</title><script>alert(1)</script>"
BASE = {"trainer": {"epochs": 2, "seed": 0}, "data": {"train": "a.tsv"}}
LONGER = {"trainer": {"epochs": 5, "seed": 0}, "data": {"train": "a.tsv"}}


def data(fingerprint):
    return {"files": {"train": ["a.tsv"], "test": []}, "fingerprint": fingerprint, "examples": "/gone"}


@pytest.fixture(name="folder")
def _folder(tmp_path):
    """Five runs: pushed, not blessed, of a missing file, interrupted, and pushed with other data."""
    folder = tmp_path / "runs" / "job"
    rows = {"train": {"accepted": 1200, "rejected": {"bad_label": 3}}, "test": {"accepted": 100, "rejected": {}}}
    more = {"train": {"accepted": 1300, "rejected": {}}, "test": {"accepted": 100, "rejected": {}}}
    passed, failed = check("accuracy", True, "0.9 is enough"), check("accuracy", False, "0.85 is below 0.9")
    warned = check("drift", False, "the words drifted", "warn")
    write_run(folder, "1", "pushed", BASE, 0.9, pushed_path="/s/17", data=data("f1"), rows=rows, gates=[passed])
    write_run(folder, "2", "not_blessed", LONGER, 0.85, data=data("f1"), rows=rows, gates=[failed])
    write_run(folder, "3", "stopped", LONGER, error="data.train = gone.tsv: No such file or directory")
    write_run(folder, "4")
    write_run(
        folder, "5", "pushed", LONGER, 0.95, pushed_path="/s/18", data=data("f2"), rows=more, gates=[passed, warned]
    )
    history.set_latest(str(folder / "history" / "5"))
    return folder


def call(capfd, *words):
    status = local_runner.main(list(map(str, words)))
    captured = capfd.readouterr()
    return status, captured.out, captured.err


def test_history_lists_metrics_pushes_and_what_changed(folder, capfd):
    status, text, _ = call(capfd, "history", "--root", folder.parent)
    assert status == 0
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert [line for line in lines if re.match(r"\d 2026-", line)] == [
        "5 2026-11-26 16:31 pushed 0.9500 0.9500 18 62",
        "4 2026-11-26 16:31 interrupted",
        "3 2026-11-26 16:31 stopped 62",
        "2 2026-11-26 16:31 not blessed 0.8500 0.8500 62",
        "1 2026-11-26 16:31 pushed 0.9000 0.9000 17 62",
    ]
    first = lines.index("nothing pushed:")
    assert lines[first:] == [
        "nothing pushed:",
        "3 data.train = gone.tsv: No such file or directory",
        "2 0.85 is below 0.9",
        "",
        "changed since the run before:",
        "5 content of the data files",
        "2 trainer.epochs: 2 -> 5",
    ]


@pytest.mark.parametrize("width", [60, 80])
def test_narrow_terminal_shows_one_metric_and_cuts_nothing(tmp_path, width):
    write_run(tmp_path, "20261126T163105Z-02", "not_blessed", BASE, 0.85, pushed_path="/s/1795712611", seconds=1234)
    screen = io.StringIO()
    history_view.show(history.list_runs(str(tmp_path)), rich.console.Console(file=screen, width=width))
    row = [line for line in screen.getvalue().splitlines() if line.startswith("20261126T163105Z-02")][0]
    time = ["2026-11-26", "16:31"] if width == 80 else []
    assert row.split() == ["20261126T163105Z-02", *time, "not", "blessed", "0.8500", "1795712611", "1234"]
    assert "in a terminal of 125 columns, and after --json: auc" in screen.getvalue()


def test_reader_that_has_enough_is_no_error(folder):
    words = ["compare", "1", "2", "--root", str(folder.parent)]
    command = [sys.executable, os.path.join(REPO, "local_runner.py"), *words]
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert "Traceback" not in done.stderr and "BrokenPipe" not in done.stderr


def test_history_json_is_one_object_per_run_oldest_first(folder, capfd):
    text = call(capfd, "history", "--root", folder.parent, "--json")[1]
    runs = [json.loads(line) for line in text.splitlines()]
    assert [run["run"] for run in runs] == ["1", "2", "3", "4", "5"]
    assert runs[1] == {
        "run": "2",
        "folder": str(folder / "history" / "2"),
        "status": "not_blessed",
        "started": "2026-11-26T16:31:05+00:00",
        "reason": "0.85 is below 0.9",
        "metrics": {"example_count": 100.0, "accuracy": 0.85, "auc": 0.85},
        "pushed_path": None,
        "pushed_version": None,
        "seconds": 61.5,
        "changes": {"trainer.epochs": [2, 5]},
        "data_changed": False,
    }
    assert (runs[3]["status"], runs[3]["changes"], runs[3]["data_changed"]) == ("interrupted", None, None)
    assert runs[4]["data_changed"] is True and runs[4]["pushed_version"] == "18"


def test_history_changes_no_file(folder, capfd):
    before = sorted(folder.rglob("*"))
    call(capfd, "history", "--root", folder.parent)
    call(capfd, "compare", "1", "2", "--root", folder.parent)
    assert sorted(folder.rglob("*")) == before


def test_page_has_a_chart_per_metric_and_every_run(folder, tmp_path, capfd):
    page = tmp_path / "history.html"
    assert call(capfd, "history", "--root", folder.parent, "--html", page)[0] == 0
    text = page.read_text(encoding="utf-8")
    assert re.findall(r'<svg role="img" aria-label="([^"]*)"', text) == [
        "accuracy of 3 runs, from 0.9000 to 0.9500, see the table",
        "auc of 3 runs, from 0.9000 to 0.9500, see the table",
    ]
    assert text.count("<tr>") == 6 and "trainer.epochs: 2 → 5" in text and "0.85 is below 0.9" in text
    ids = re.findall(r'\bid="([^"]*)"', text)
    assert len(ids) == len(set(ids))
    # No part of the page comes from elsewhere: addresses only name XML's vocabularies.
    assert not re.findall(r'(?:src|href)="(?!#)', re.sub(r'xlink:href="#|xmlns:\w+=', "", text))


def test_metrics_have_the_names_of_the_labels_and_every_known_interval(tmp_path, capfd):
    folder = tmp_path / "runs" / "job"
    metrics = {"candidate": {"example_count": 100.0, "recall_0": 0.8}, "baseline": None}
    known = {"metric_titles": {"recall_0": "recall of 부정"}, "metric_intervals": {"recall_0": [0.71, 0.87]}}
    gates = [check("recall_0/length:1-9", False, "0.8 is below 0.9")]
    write_run(folder, "1", "pushed", BASE, metrics=metrics)
    write_run(folder, "2", "not_blessed", BASE, metrics=metrics, gates=gates, **known)
    compared = call(capfd, "compare", "1", "2", "--root", folder.parent)[1]
    line = next(line for line in compared.splitlines() if "recall of 부정" in line)
    assert line.split() == "recall of 부정 0.8000 0.8000 [0.710, 0.870] +0.0000".split()
    assert "model recall of 부정, length 1-9: no such check -> failed: 0.8 is below 0.9" in compared
    shown = call(capfd, "history", "--root", folder.parent)[1]
    page = tmp_path / "history.html"
    call(capfd, "history", "--root", folder.parent, "--html", page)
    for text in (compared, shown, page.read_text()):
        assert "recall of 부정" in text and "recall 0" not in text and "recall_0<" not in text


def test_pushed_runs_are_connected_and_others_hollow():
    runs = [{"metrics": {"auc": 0.9}, "pushed_path": path, "started": "2026-11-26T16:31:06"} for path in ("/s/1", None)]
    assert history_page._OTHER in history_page.draw_metric("auc", "AUC", runs)
    assert history_page._OTHER not in history_page.draw_metric("auc", "AUC", runs[:1])


def test_page_that_cannot_be_written_is_an_error(folder, tmp_path):
    with pytest.raises(UserError, match=r"--html .*: can't be written \(No such file or directory\)"):
        history_page.write("job", history.list_runs(str(folder)), str(tmp_path / "gone" / "history.html"))


def test_input_in_a_summary_is_never_markup_or_control(folder, tmp_path):
    write_run(folder, "6", "stopped", {"data": {"train": HOSTILE}}, error=HOSTILE)
    runs = history.list_runs(str(folder))
    history_page.write(HOSTILE, runs, str(tmp_path / "history.html"))
    assert "<script" not in (tmp_path / "history.html").read_text()
    screen = io.StringIO()
    console = rich.console.Console(file=screen, width=200)
    history_view.show(runs, console)
    comparison_view.show({**comparison.compare(runs[0], runs[-1]), "rows": None, "rows_note": HOSTILE}, console)
    assert "\x1b" not in screen.getvalue() and "[bold]" in screen.getvalue()


def test_compare_shows_metrics_gates_data_and_settings(folder, capfd):
    status, text, _ = call(capfd, "compare", "2", "latest", "--root", folder.parent)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert status == 0
    assert "accuracy 0.8500 [0.767, 0.907] 0.9500 [0.888, 0.978] +0.1000" in lines
    assert "test rows 100 100 0" in lines
    assert "model accuracy: failed -> passed: 0.85 is below 0.9" in lines
    assert "model drift: no such check -> warning: the words drifted" in lines
    assert "train rows 1,200 1,300" in lines and "train rejected 3 bad_label 0" in lines
    assert "the files differ, so the metrics may be of different test rows" in lines
    assert "configuration: no key differs" in lines
    assert "rows: not compared: the model of 2 is not on disk" in lines


def test_compare_json_is_one_object(folder, capfd):
    text = call(capfd, "compare", "1", folder / "history" / "2", "--root", folder.parent, "--json")[1]
    result = json.loads(text)
    assert (result["a"]["run"], result["b"]["status"]) == ("1", "not_blessed")
    assert result["config"] == {"trainer.epochs": [2, 5]}
    assert result["metrics"]["auc"]["difference"] == pytest.approx(-0.05)
    assert [(gate["check"], gate["a"], gate["b"]) for gate in result["gates"]] == [("accuracy", "passed", "failed")]
    assert result["rows"] is None and result["rows_note"] == "the model of 1 is not on disk"


def test_run_without_a_verdict_can_be_compared(folder, capfd):
    status, text, _ = call(capfd, "compare", "4", "3", "--root", folder.parent)
    assert status == 0 and "neither model was evaluated" in text and "configuration: unknown" in text


def test_key_that_only_one_configuration_has_differs():
    assert comparison.compare_settings({"a": 1, "b": 2}, {"a": 1, "c": 3}) == {"b": (2, None), "c": (None, 3)}
    assert comparison.compare_settings(None, {"a": 1}) is None


def test_intervals_of_known_values():
    # statsmodels.stats.proportion.proportion_confint(90, 100, method="wilson")
    assert intervals.wilson(0.9, 100) == pytest.approx((0.8256, 0.9448), abs=1e-4)
    assert intervals.wilson(0.9, 0) is None
    # (8 - 1) / 80 = 0.0875 with a standard error of sqrt(9 / 80 - 0.0875 ** 2) / sqrt(80) = 0.0362
    assert intervals.paired_difference(8, 1, 80) == pytest.approx((0.0166, 0.1584), abs=1e-4)
    assert intervals.paired_difference(0, 0, 10) == (0, 0)
    assert intervals.paired_difference(9, 0, 10)[1] == 1


@pytest.mark.parametrize(
    ("models", "examples", "obstacle"),
    [
        (("m1", "m2"), True, None),
        (("m1", None), True, "the model of b is not on disk"),
        (("m1", "m1"), True, "both runs have the same model"),
        (("m1", "m2"), False, "the test rows of b are not on disk"),
    ],
)
def test_rows_are_compared_if_both_models_and_the_rows_are_there(tmp_path, models, examples, obstacle):
    (tmp_path / "examples" / "Split-test").mkdir(parents=True)
    runs = []
    for name, model in zip("ab", models, strict=True):
        path = tmp_path / str(model)
        if model:
            path.mkdir(exist_ok=True)
        place = {"examples": str(tmp_path / ("examples" if examples else "gone"))}
        runs.append(Run(write_run(tmp_path, name, "pushed", model_path=str(path), data={**data("f"), **place})))
    assert comparison.describe_obstacle(*runs) == obstacle


def test_open_prints_the_path_without_a_display(folder, capfd, monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    report = folder / "history" / "5" / "report.html"
    report.write_text("")
    assert call(capfd, "open", "--root", folder.parent) == (0, f"{report}\n", "")
    text = call(capfd, "open", "latest", "--root", folder.parent, "--json")[1]
    assert json.loads(text) == {"report": str(report), "opened": False}


def test_open_starts_the_browser_on_the_report(folder, tmp_path, capfd, monkeypatch):
    browser, seen = tmp_path / "browser", tmp_path / "seen"
    browser.write_text(f'#!/bin/sh\necho "$1" > {seen}\n')
    browser.chmod(0o755)
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(history_view.webbrowser, "_tryorder", None)
    monkeypatch.setenv("BROWSER", str(browser))
    report = folder / "history" / "1" / "report.html"
    report.write_text("")
    assert call(capfd, "open", "1", "--root", folder.parent) == (0, "", "")
    assert seen.read_text().strip() == report.as_uri()


def test_open_of_an_interrupted_run_names_its_log(folder, capfd):
    (folder / "history" / "4" / "run.log").write_text("")
    status, _, error = call(capfd, "open", "4", "--root", folder.parent)
    assert status == 2 and "has no report: the run was interrupted; its log is" in error and error.count("\n") == 1
