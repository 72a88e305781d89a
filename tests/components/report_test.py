"""The report of a run: the keys of `summary.json`, and a self-contained page where input is never markup."""

import dataclasses
import json

from components.run_report import report
from components.run_report.summary import (
    REPORT_FILE,
    SUMMARY_FILE,
    ComponentSummary,
    EncoderSummary,
    SplitRows,
    Summary,
)
from core.checks import Check

SUMMARY = Summary(
    pipeline="job",
    status="stopped",
    error="data.train = <script>alert(1)</script>: no such file",
    rows={"train": SplitRows(7, {"bad_label": 2})},
    gates=[Check("data", "label", False, 3.0, 20.0, "label '<b>' of 'a&b'")],
    versions={"python": "3.10"},
)


def test_page_of_a_run_that_ended_early_is_escaped(tmp_path):
    written = report.write(str(tmp_path), SUMMARY, None)
    with open(written.report_path, encoding="utf-8") as stream:
        page = stream.read()
    assert "<script" not in page and "&lt;script&gt;" in page and "&lt;b&gt;" in page and "a&amp;b" in page
    assert "Stopped" in page and "bad_label 2" in page
    assert "http" not in page
    assert sorted(path.name for path in tmp_path.iterdir()) == [REPORT_FILE, SUMMARY_FILE]


def test_summary_json_has_the_documented_keys(tmp_path):
    report.write(str(tmp_path), SUMMARY, None)
    assert json.loads((tmp_path / SUMMARY_FILE).read_text()) == {
        "pipeline": "job",
        "status": "stopped",
        "exit_status": 2,
        "error": "data.train = <script>alert(1)</script>: no such file",
        "components": [],
        "rows": {"train": {"accepted": 7, "rejected": {"bad_label": 2}}},
        "encoder": None,
        "training": None,
        "metrics": {"candidate": None, "baseline": None},
        "gates": [
            {
                "gate": "data",
                "check": "label",
                "passed": False,
                "value": 3.0,
                "bound": 20.0,
                "reason": "label '<b>' of 'a&b'",
                "severity": "fail",
                "compared": True,
            }
        ],
        "pushed_path": None,
        "report_path": str(tmp_path / REPORT_FILE),
        "started": None,
        "seconds": None,
        "versions": {"python": "3.10"},
    }


HOSTILE = "\x1b]0;owned\x07\x9b31m\u202e[bold]</title><script>alert(1)</script>"


def test_input_is_escaped_everywhere(tmp_path):
    summary = dataclasses.replace(
        SUMMARY,
        pipeline=HOSTILE,
        error=HOSTILE,
        gates=[Check("data", HOSTILE, False, HOSTILE, None, HOSTILE)],
        encoder=EncoderSummary("hub", HOSTILE, HOSTILE, HOSTILE, 1, 1, 1),
        rows={HOSTILE: SplitRows(7, {HOSTILE: 2})},
        versions={HOSTILE: HOSTILE},
        metrics={"candidate": {HOSTILE: 0.5}, "baseline": {HOSTILE: 0.5}},
        started=HOSTILE,
        seconds=1.0,
        components=[ComponentSummary(HOSTILE, HOSTILE, 1.0, False)],
        pushed_path=HOSTILE,
    )
    for status in ("pushed", "not_blessed", "failed", "stopped"):
        written = report.write(str(tmp_path), dataclasses.replace(summary, status=status), None)
        with open(written.report_path, encoding="utf-8") as stream:
            page = stream.read()
        assert page.count("<title>") == page.count("</title>") == 1 and "<script" not in page
        assert "&lt;/title&gt;&lt;script&gt;" in page and r"\x1b]0;owned" in page
        assert not set("\x1b\x07\x9b\u202e") & set(page)
