"""The report of a run: the keys of `summary.json`, and a self-contained page where input is never markup."""

import dataclasses
import html.parser
import json
import re

import pytest

from artifacts.evaluation import Evaluation, NotableRow, Scores
from artifacts.examples import Ingest
from artifacts.model_run import TrainingFigures
from artifacts.pretraining import PretrainingFigures
from components.run_report import report
from components.run_report.gather import Details, SampleRow
from components.run_report.summary import (
    REPORT_FILE,
    SUMMARY_FILE,
    ComponentSummary,
    EncoderSummary,
    SplitRows,
    Summary,
)
from core.checks import Check
from schema.task import BinaryTask

SUMMARY = Summary(
    pipeline="job",
    status="stopped",
    error="data.train = <script>alert(1)</script>: no such file",
    rows={"train": SplitRows(7, {"bad_label": 2})},
    gates=[Check("data", "label", False, 3.0, 20.0, "label '<b>' of 'a&b'")],
    versions={"python": "3.10"},
)


def write(tmp_path, summary, details):
    """Writes the report; returns the page and a parser's view of it."""
    written = report.write(str(tmp_path), summary, details)
    with open(written.report_path, encoding="utf-8") as stream:
        text = stream.read()
    page = Page()
    page.feed(text)
    page.close()
    return text, page


class Page(html.parser.HTMLParser):
    """The headings, ids, addresses, texts and tables of a page; fails if an element is not closed."""

    VOID = {"meta", "link", "br", "img", "use", "path", "rect", "circle"}

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.links, self.headings, self.heads, self.texts = [], [], [], [], [], []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.links += [attributes[name] for name in ("href", "src", "xlink:href") if name in attributes]
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.headings += [int(tag[1])] if tag in ("h1", "h2", "h3", "h4") else []
        self.heads += [attributes.get("scope")] if tag == "th" else []
        if tag == "img":
            assert attributes["alt"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


def scores(**rows):
    """Numbers of rows by label and score in tenths: `scores(negative=[1, 1, 9], positive=[8])`."""
    return [[rows[name].count(tenth) for tenth in range(11)] for name in ("negative", "positive")]


EVALUATION = Evaluation.model_validate(
    {
        "label_names": ["부정", "긍정"],
        "metric_titles": BinaryTask(("document",), {"0": "부정", "1": "긍정"}).metric_titles,
        "has_baseline": True,
        "scores": {
            "candidate": scores(negative=[1, 1, 2, 9], positive=[8, 9, 9, 3, 6]),
            "baseline": scores(negative=[1, 6, 2, 9], positive=[8, 9, 9, 7, 6]),
            "fixed": 1,
            "broken": 1,
            "mistakes": 2,
            "confusion": [[3, 1], [1, 4]],
        },
        "intervals": {"accuracy": {"low": 0.453, "high": 0.937}},
        "changes": {"accuracy": {"difference": 0.0, "interval": {"low": -0.31, "high": 0.31}}},
        "slice_metric": "accuracy",
        "slices": {
            "length:1-9": {
                "rows": 9,
                "value": 0.7778,
                "interval": {"low": 0.45, "high": 0.94},
                "baseline": 0.7,
                "min": 0.55,
            },
            "script:other": {"rows": 1, "value": None, "interval": None, "baseline": None, "min": None},
        },
        "mistakes": [{"id": "17", "text": "ㅋㅋ 최고", "label": 0, "candidate": 0.9, "baseline": 0.9}],
        "fixed": [{"id": "18", "text": "노잼", "label": 0, "candidate": 0.1, "baseline": 0.6}],
        "broken": [{"id": "19", "text": "볼만함", "label": 1, "candidate": 0.3, "baseline": 0.7}],
        "suspicion": [0.7, 0.68],
        "suspects": 2,
    }
)

FAILED = Check(
    "model", "recall_1_drop", False, 0.2, 0.03, "recall of 긍정 0.6 is more than gates.model.recall_1.max_drop = 0.03"
)
WARNING = Check("data", "label_skew", False, 0.2, 0.1, "20 % more 긍정", "warn")
IDLE = Check("serving", "model_server", True, "not run", None, "not run: no server here", "warn", compared=False)
PASSED = Check("serving", "latency_p50_ms", True, 2.4, 500.0, "p50 latency of one review is 2.40 ms")

TRAINED = Summary(
    pipeline="nsmc",
    status="not_blessed",
    metric_titles=EVALUATION.metric_titles,
    rows={"train": SplitRows(70, {"bad_label": 2}), "dev": SplitRows(8, {}), "test": SplitRows(9, {"empty_text": 1})},
    encoder=EncoderSummary("hub", "bert-multilingual", "abc123", "/encoder", 12, 768, 119547),
    training=TrainingFigures(
        132.4,
        0.05,
        60.0,
        2,
        [
            {"epoch": 1, "loss": 0.5, "accuracy": 0.7, "dev_loss": 0.4, "dev_accuracy": 0.81},
            {"epoch": 2, "loss": 0.3, "accuracy": 0.9, "dev_loss": 0.3, "dev_accuracy": 0.86},
        ],
        "float32",
        1,
        "native",
        [
            {"step": 5, "loss": 0.6, "accuracy": 0.6, "learning_rate": 2e-5},
            {"step": 10, "loss": 0.4, "accuracy": 0.8, "learning_rate": 1e-5},
        ],
    ),
    metrics={
        "candidate": {"example_count": 9, "accuracy": 0.7778, "recall_1": 0.8},
        "baseline": {"example_count": 9, "accuracy": 0.7778, "recall_1": 1.0},
    },
    gates=[WARNING, FAILED, IDLE, PASSED],
    components=[
        ComponentSummary("TsvExampleGen", "complete", 2.0, True),
        ComponentSummary("Trainer", "complete", 60.0, False),
    ],
    started="2024-05-06T07:08:09+00:00",
    seconds=62.0,
    versions={"python": "3.10"},
)
DETAILS = Details(
    ingest=Ingest({}, 10, {"train": ["train.tsv"], "test": ["test.tsv"]}, None, "f00d"),
    samples={"train": [SampleRow("1", "재미있다", 1)]},
    rejected=[{"file": "/d/train.tsv", "line": 12, "reason": "bad_label", "detail": "", "raw": "3\t굿\t7"}],
    rejected_path="/artifacts/rejected",
    evaluation=EVALUATION,
    label_names=("부정", "긍정"),
    record={"git": {"commit": "c0ffee", "dirty": True}, "command": ["run", "--set", "a=1"], "seeds": {"data.seed": 3}},
)


def test_a_refused_model_comes_with_its_reason_before_anything_else(tmp_path):
    _, page = write(tmp_path, TRAINED, DETAILS)
    order = [
        "Not blessed Nothing was pushed: recall of 긍정 0.6",
        "1 failed check",
        "1 warning",
        "1 not checked",
        "serving gate: 1 passed",
    ]
    places = [page.text.index(words) for words in order]
    assert places == sorted(places)
    assert "model: recall of 긍정, drop" in page.text and "model: recall_1_drop" not in page.text
    # Nothing was compared: neither under the passed checks nor counted there.
    assert page.text.index("not run: no server here") < page.text.index("serving gate: 1 passed")


def test_the_page_shows_rows_metrics_and_the_rows_behind_them(tmp_path):
    _, page = write(tmp_path, TRAINED, DETAILS)
    for words in (
        "read 100",  # 87 accepted, 3 rejected, 10 not sampled.
        "rejected: bad label 2",
        "left out by data.sample_size 10",
        "train.tsv:12 bad label",
        "All of them are in /artifacts/rejected",
        "재미있다 긍정 train",
        "accuracy 0.7778 0.453 to 0.937 0.7778 +0.0000 (-0.310 to +0.310)",
        "recall of 긍정 0.8000",
        "label 부정 3 75.0 % 1 25.0 %",
        "label 긍정 1 20.0 % 4 80.0 %",
        "2 test rows have a label that is suspected to be wrong",
        "ㅋㅋ 최고 부정 suspect 0.900 0.900 17",
        "볼만함 긍정 suspect 0.300 0.700 19",
        "length 1-9 9 0.7778 0.450 to 0.940 0.7000 at least 0.55",
        "script other 1 undefined",
        "latency p50 2.4 ms at most 500 ms passed",
        "2 (kept) 0.3000 0.3000",
        "10 0.4000",
        "5 2.00e-05",
        "abc123",
        "git commit c0ffee and changed files command run --set a=1 seeds data.seed = 3",
        "f00d",
    ):
        assert words in page.text


def test_a_screen_reader_gets_headings_in_order_heads_of_rows_and_columns_and_unique_ids(tmp_path):
    text, page = write(tmp_path, TRAINED, DETAILS)
    assert page.open == [] and page.headings[0] == 1 and page.headings.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(page.headings, page.headings[1:], strict=False))
    assert set(page.heads) == {"col", "row"}
    assert len(page.ids) == len(set(page.ids))
    landmarks = re.findall(r'role="region" aria-label="([^"]*)"', text) + re.findall(r"<h2 [^>]*>([^<]*)</h2>", text)
    assert len(landmarks) == len(set(landmarks)), "axe: landmark-unique"
    assert text.count("<svg ") == text.count('role="img" aria-label="') == 10
    assert "<main>" in text and '<html lang="en">' in text


def test_the_page_needs_no_network_and_its_links_lead_somewhere(tmp_path):
    text, page = write(tmp_path, TRAINED, DETAILS)
    assert "http" not in text and "@import" not in text
    # Colours of the charts come from the style sheet.
    assert "var(--first)" in text and "#030303" not in text
    assert all(link.startswith("#") and link[1:] in page.ids for link in page.links)


def test_a_pushed_model_comes_with_a_command_and_its_warnings(tmp_path):
    summary = dataclasses.replace(TRAINED, status="pushed", pushed_path="/serving/7", gates=[WARNING, IDLE, PASSED])
    _, page = write(tmp_path, summary, DETAILS)
    assert "Pushed to /serving/7" in page.text and "predict --model /serving/7" in page.text
    assert "No check failed. 1 passed, 1 had nothing to check" in page.text and "20 % more 긍정" in page.text


def test_a_model_that_was_in_serving_already_is_not_called_pushed(tmp_path):
    summary = dataclasses.replace(TRAINED, status="pushed", pushed_path="/serving/7", already_in_serving=True, gates=[])
    _, page = write(tmp_path, summary, DETAILS)
    assert "Already in serving Nothing new was pushed: this model is /serving/7" in page.text
    assert "Pushed to" not in page.text


@pytest.mark.parametrize("status", ["failed", "stopped"])
def test_a_run_that_ended_early_names_the_error_the_log_and_the_next_step(tmp_path, status):
    summary = dataclasses.replace(SUMMARY, status=status)
    text, page = write(tmp_path, summary, Details(log_path="/runs/run.log"))
    assert f"{status.capitalize()} data.train = <script>alert(1)</script>: no such file" in page.text
    assert "<script" not in text and "&lt;script&gt;" in text and "a&amp;b" in text
    assert "Log: /runs/run.log" in page.text and "run again" in page.text
    assert "rejected: bad label 2" in page.text and "Metrics" not in page.text
    assert sorted(path.name for path in tmp_path.iterdir()) == [REPORT_FILE, SUMMARY_FILE]


def test_summary_json_has_the_documented_keys(tmp_path):
    report.write(str(tmp_path), SUMMARY, Details())
    assert json.loads((tmp_path / SUMMARY_FILE).read_text()) == {
        "pipeline": "job",
        "status": "stopped",
        "exit_status": 2,
        "error": "data.train = <script>alert(1)</script>: no such file",
        "components": [],
        "rows": {"train": {"accepted": 7, "rejected": {"bad_label": 2}, "left_out": 0}},
        "data": None,
        "encoder": None,
        "training": None,
        "distillation": None,
        "metrics": {"candidate": None, "baseline": None},
        "metric_titles": {},
        "metric_intervals": {},
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
        "model_path": None,
        "pushed_path": None,
        "already_in_serving": False,
        "run": None,
        "run_folder": None,
        "report_path": str(tmp_path / REPORT_FILE),
        "started": None,
        "seconds": None,
        "versions": {"python": "3.10"},
    }


HOSTILE = "\x1b]0;owned\x07\x9b31m\u202e[bold]</title><script>alert(1)</script>"

HOSTILE_DETAILS = dataclasses.replace(
    DETAILS,
    ingest=Ingest({}, 0, {HOSTILE: [HOSTILE]}, None, HOSTILE),
    samples={HOSTILE: [SampleRow(HOSTILE, HOSTILE, 0)]},
    rejected=[{"file": HOSTILE, "line": 1, "reason": HOSTILE, "detail": HOSTILE, "raw": HOSTILE}],
    rejected_path=HOSTILE,
    log_path=HOSTILE,
    record={"git": {"commit": HOSTILE, "dirty": False}, "command": [HOSTILE], "seeds": {HOSTILE: 1}},
    label_names=(HOSTILE, HOSTILE),
    evaluation=EVALUATION.model_copy(
        update={
            "label_names": (HOSTILE, f"$\\frac{{1}}{{2}}$ {HOSTILE}"),
            "mistakes": (NotableRow(id=HOSTILE, text=HOSTILE, label=0, candidate=0.9, baseline=0.9),),
        }
    ),
)


def test_the_page_shows_the_pretraining_as_curves(tmp_path):
    figures = PretrainingFigures(
        objective="electra",
        texts={"trained": 1980, "held_out": 20, "left_out_test": 3},
        rejected={"empty_text": 1},
        steps=10,
        passes=0.5,
        seconds=9.0,
        examples_per_s=640.0,
        tokens_per_s=12_800.0,
        precision="bfloat16",
        replicas=1,
        curve=[{"step": step, "loss": 1 / step, "accuracy": 0.5 + step / 30} for step in (5, 10)],
        history=[{"step": 10, "loss": 0.15, "accuracy": 0.7512}],
    )
    encoder = EncoderSummary("pretrain", "ELECTRA of 2 layers", "abc", "/encoder", 2, 128, 8000, figures)
    text = write(tmp_path, dataclasses.replace(TRAINED, encoder=encoder), DETAILS)[0]
    assert "1,980 different texts, 0.5 times each; 20 held out" in text
    assert "3 texts of the test split were left out" in text and "empty text 1" in text
    assert "Pre-training: loss" in text and "Pre-training: accuracy" in text and "0.7512" in text
    assert json.loads((tmp_path / SUMMARY_FILE).read_text())["encoder"]["pretraining"]["history"] == figures.history


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
        written = report.write(str(tmp_path), dataclasses.replace(summary, status=status), HOSTILE_DETAILS)
        with open(written.report_path, encoding="utf-8") as stream:
            page = stream.read()
        assert page.count("<title>") == page.count("</title>") == 1 and "<script" not in page
        assert "&lt;/title&gt;&lt;script&gt;" in page and r"\x1b]0;owned" in page
        assert not set("\x1b\x07\x9b\u202e") & set(page)


def evaluation_of(**fields):
    """`EVALUATION` of another task, without suspected labels."""
    return EVALUATION.model_copy(update={"suspicion": None, "mistakes": (), "fixed": (), "broken": (), **fields})


def test_the_page_of_three_classes_has_their_confusion_and_answers(tmp_path):
    table = ((5, 1, 0), (0, 4, 2), (1, 0, 6))
    calibration = ((0, 0, 0),) * 9 + ((19, 1000, 16000),)
    scores = {"candidate": table, "baseline": table, "confusion": table, "fixed": 1, "broken": 0, "mistakes": 4}
    evaluated = evaluation_of(
        label_names=("bad", "fair", "good"),
        plots=("confidence_calibration",),
        scores=Scores(calibration={"candidate": calibration, "baseline": calibration}, **scores),
        mistakes=(NotableRow(id="1", text="ㅋㅋ", label=1, candidate=0.8, baseline=0.6, classes=(2, 1)),),
    )
    details = dataclasses.replace(DETAILS, evaluation=evaluated, label_names=evaluated.label_names)
    _, page = write(tmp_path, TRAINED, details)
    for words in ("label fair 0 0.0 % 4 66.7 % 2 33.3 %", "ㅋㅋ fair good 0.800 fair 0.600", "The 1 clearest of 4"):
        assert words in page.text
    assert "0.9 to 1.0 candidate 19 0.842 0.789" in page.text  # 16 / 19, and one gap of 1 / 19 less.


def test_the_page_of_scores_has_a_scatter_and_no_confusion(tmp_path):
    table = ((2, 1), (0, 3))
    evaluated = evaluation_of(
        label_names=(),
        score_range=(0.0, 5.0),
        plots=("score_scatter", "score_histogram"),
        scores=Scores(candidate=table, baseline=table, fixed=0, broken=0, mistakes=1),
        mistakes=(NotableRow(id="1", text="ㅋㅋ", label=1.5, candidate=4.25, baseline=4.0),),
        mistake_title="Largest errors",
    )
    details = dataclasses.replace(
        DETAILS, evaluation=evaluated, label_names=(), samples={"train": [SampleRow("1", "재미있다", 3.5)]}
    )
    _, page = write(tmp_path, TRAINED, details)
    for words in ("Largest errors", "ㅋㅋ 1.5 4.250 4.000", "0 to 2.5 3 2.083", "2.5 to 5 3 4", "재미있다 3.5 train"):
        assert words in page.text
    assert "Confusion matrix" not in page.text
