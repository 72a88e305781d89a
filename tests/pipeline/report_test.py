"""The page of a run: whole, self-contained, and the input's text is never markup."""

from pipeline import report

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
