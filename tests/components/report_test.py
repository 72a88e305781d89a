"""The page of a run: whole, self-contained, and the input's text is never markup."""

from components.run_report import report

SUMMARY = {
    "pipeline": "job",
    "status": "stopped",
    "error": "data.train = <script>alert(1)</script>: no such file",
    "rows": {"train": {"accepted": 7, "rejected": {"bad_label": 2}}},
    "encoder": None,
    "training": None,
    "metrics": {"candidate": None, "baseline": None},
    "gates": [{"gate": "data", "check": "label", "passed": False, "reason": "label '<b>' of 'a&b'"}],
    "pushed_path": None,
    "versions": {"python": "3.10"},
}


def test_a_run_that_ended_early_has_a_page_and_nothing_in_it_is_run(tmp_path):
    with open(report.write(str(tmp_path), SUMMARY, None), encoding="utf-8") as stream:
        page = stream.read()
    assert "<script" not in page and "&lt;script&gt;" in page and "&lt;b&gt;" in page and "a&amp;b" in page
    assert "Stopped" in page and "bad_label 2" in page
    assert "http" not in page
    assert [path.name for path in tmp_path.iterdir()] == [report.REPORT_FILE]


HOSTILE = "\x1b]0;owned\x07\x9b31m\u202e[bold]</title><script>alert(1)</script>"


def test_wherever_the_input_is_shown_it_is_text(tmp_path):
    check = {**SUMMARY["gates"][0], "check": HOSTILE, "reason": HOSTILE}
    summary = {
        **SUMMARY,
        **{"pipeline": HOSTILE, "error": HOSTILE, "gates": [check], "encoder": {"handle": HOSTILE}},
        **{"rows": {HOSTILE: {"accepted": 7, "rejected": {HOSTILE: 2}}}, "versions": {HOSTILE: HOSTILE}},
        **{"metrics": {"candidate": {HOSTILE: 0.5}, "baseline": {HOSTILE: 0.5}}, "started": HOSTILE, "seconds": 1.0},
        "components": [{"id": HOSTILE, "status": HOSTILE, "seconds": 1.0, "cached": False}],
    }
    for status in ("pushed", "not_blessed", "failed", HOSTILE):
        path = report.write(str(tmp_path), {**summary, "status": status, "pushed_path": HOSTILE}, None)
        with open(path, encoding="utf-8") as stream:
            page = stream.read()
        assert page.count("<title>") == page.count("</title>") == 1 and "<script" not in page
        assert "&lt;/title&gt;&lt;script&gt;" in page and r"\x1b]0;owned" in page
        assert not set("\x1b\x07\x9b\u202e") & set(page)
