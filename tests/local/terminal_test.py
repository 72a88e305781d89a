"""What a person reads: components, epochs, verdicts, and no control characters of the input's."""

import io

import pytest
import rich.console

from core import progress
from local import terminal
from local.outcome import NodeOutcome

SUMMARY = {
    "status": "not_blessed",
    "rows": {"train": {"accepted": 1200, "rejected": {"empty_text": 3}}},
    "metrics": {
        "candidate": {"example_count": 1000.0, "accuracy": 0.71234},
        "baseline": {"example_count": 1000.0, "accuracy": 0.75},
    },
    "gates": [
        {"gate": "data", "check": "label_balance", "passed": True, "reason": "fine", "severity": "fail"},
        {
            "gate": "model",
            "check": "accuracy",
            "passed": False,
            "reason": "accuracy 0.7123 is [0.1] under",
            "severity": "fail",
        },
    ],
    "report_path": "/runs/report.html",
    "pushed_path": None,
    "error": None,
}


def shown(act, width=100):
    """Returns what `act(console)` prints in a pipe."""
    stream = io.StringIO()
    act(rich.console.Console(file=stream, width=width))
    return stream.getvalue()


def test_each_component_is_a_line_with_its_duration_and_cached_where_it_was():
    def act(console):
        screen = terminal.Terminal(console)
        with screen.watching():
            screen.started("Trainer")
            progress.report("epoch 1/2", 5, 10, loss=0.5)
            progress.report("epoch 1/2", 5, 10, loss=0.5, dev_loss=0.25, dev_accuracy=0.875, examples_per_s=132.4)
            screen.ended(NodeOutcome("Trainer", "complete", 12.34))
            screen.ended(NodeOutcome("Pusher", "complete", 0.1, cached=True))
            screen.ended(NodeOutcome("Evaluator", "failed", 3.0))

    assert [line.split() for line in shown(act).splitlines()] == [
        "epoch 1/2 loss 0.5000 dev loss 0.2500 dev accuracy 0.8750 132 examples/s".split(),
        "✓ Trainer 12.3 s".split(),
        "✓ Pusher 0.1 s cached".split(),
        "✗ Evaluator 3.0 s failed".split(),
    ]


def test_progress_is_not_drawn_once_the_run_is_over():
    def act(console):
        screen = terminal.Terminal(console)
        with screen.watching():
            pass
        progress.report("epoch 1/2", 5, 10, dev_loss=0.5)

    assert shown(act) == ""


def test_the_end_tells_rows_metrics_each_gates_verdict_and_the_reason():
    text = shown(lambda console: terminal.show_outcome(console, SUMMARY))
    for words in (
        "1,200 rows; rejected: 3 empty_text",
        "0.7123",
        "0.7500",
        "✓ data gate: 1 check passed",
        "✗ model gate: 1 of 1",
    ):
        assert words in text
    assert text.count("accuracy 0.7123 is [0.1] under") == 2 and "not blessed" in text and "/runs/report.html" in text


def test_a_pushed_model_comes_with_the_command_that_asks_it():
    summary = {**SUMMARY, "status": "pushed", "pushed_path": "/serving/7", "gates": []}
    assert 'local_runner.py predict --model /serving/7 "' in shown(
        lambda console: terminal.show_outcome(console, summary)
    )


@pytest.mark.parametrize("status", ["failed", "stopped"])
def test_a_run_that_ended_early_says_why(status):
    summary = {**SUMMARY, "status": status, "gates": [], "error": "data.train = x: no such file"}
    assert f"{status}: data.train = x: no such file" in shown(lambda console: terminal.show_outcome(console, summary))


HOSTILE = "\x1b]0;owned\x07\x9b31m\u202e[bold]</title><script>alert(1)</script>"


def test_nothing_of_the_input_is_obeyed_by_the_terminal():
    check = {
        "gate": "data",
        "check": f"label_share/{HOSTILE}",
        "passed": False,
        "reason": f"label '{HOSTILE}' has 0 rows",
        "severity": "fail",
    }
    rows = {HOSTILE: {"accepted": 1, "rejected": {HOSTILE: 2}}}
    metrics = {"candidate": {f"recall/{HOSTILE}": 0.5}, "baseline": None}

    def act(console):
        screen = terminal.Terminal(console)
        with screen.watching():
            progress.report(f"reading {HOSTILE}", 1, 2, dev_file=HOSTILE)
        for status in ("not_blessed", "failed", "stopped", "pushed"):
            terminal.show_outcome(
                console,
                {
                    **SUMMARY,
                    **{"status": status, "rows": rows, "metrics": metrics, "gates": [check], "error": HOSTILE},
                    **{"report_path": HOSTILE, "pushed_path": HOSTILE},
                },
            )

    for width in (100, 1000):
        text = shown(act, width)
        assert not set("\x1b\x07\x9b\u202e") & set(text)
        assert "\\x1b]0;owned" in text and "[bold]" in text


def test_a_log_of_progress_is_as_safe(caplog):
    with caplog.at_level("INFO", progress.LOGGER.name):
        progress.report(f"reading {HOSTILE}", 1, 2, file=HOSTILE)
    assert not set("\x1b\x07\x9b\u202e") & set(caplog.text) and "\\x1b]0;owned" in caplog.text
