"""The terminal: components, epochs and verdicts, without control characters from the input."""

import dataclasses
import io

import pytest
import rich.console

from components.run_report.summary import SplitRows, Summary
from core import progress
from core.checks import Check
from local import terminal
from local.outcome import NodeOutcome

SUMMARY = Summary(
    pipeline="reviews",
    status="not_blessed",
    rows={"train": SplitRows(1200, {"empty_text": 3})},
    metrics={
        "candidate": {"example_count": 1000.0, "accuracy": 0.71234},
        "baseline": {"example_count": 1000.0, "accuracy": 0.75},
    },
    gates=[
        Check("data", "label_balance", True, None, None, "fine"),
        Check("model", "accuracy", False, None, None, "accuracy 0.7123 is [0.1] under"),
    ],
    report_path="/runs/report.html",
    versions={},
)


def printed(act, width=100):
    """Returns the output of `act(console)` to a pipe."""
    stream = io.StringIO()
    act(rich.console.Console(file=stream, width=width))
    return stream.getvalue()


def test_each_component_has_a_line_with_its_duration_and_status():
    def act(console):
        screen = terminal.Terminal(console)
        with screen.show_progress():
            screen.start("Trainer")
            progress.report("epoch 1/2", 5, 10, loss=0.5)
            progress.report("epoch 1/2", 5, 10, loss=0.5, dev_loss=0.25, dev_accuracy=0.875, examples_per_s=132.4)
            screen.end(NodeOutcome("Trainer", "complete", 12.34))
            screen.end(NodeOutcome("Pusher", "complete", 0.1, cached=True))
            screen.end(NodeOutcome("Evaluator", "failed", 3.0))

    assert [line.split() for line in printed(act).splitlines()] == [
        "epoch 1/2 loss 0.5000 dev loss 0.2500 dev accuracy 0.8750 132 examples/s".split(),
        "✓ Trainer 12.3 s".split(),
        "✓ Pusher 0.1 s cached".split(),
        "✗ Evaluator 3.0 s failed".split(),
    ]


def test_progress_is_not_drawn_once_the_run_is_over():
    def act(console):
        screen = terminal.Terminal(console)
        with screen.show_progress():
            pass
        progress.report("epoch 1/2", 5, 10, dev_loss=0.5)

    assert printed(act) == ""


def test_outcome_has_rows_metrics_gates_and_reasons():
    text = printed(lambda console: terminal.show_outcome(console, SUMMARY))
    for words in (
        "1,200 rows; rejected: 3 empty_text",
        "0.7123",
        "0.7500",
        "✓ data gate: 1 check passed",
        "✗ model gate: 1 of 1",
    ):
        assert words in text
    assert text.count("accuracy 0.7123 is [0.1] under") == 2 and "not blessed" in text and "/runs/report.html" in text


def test_pushed_model_comes_with_a_command_to_try_it():
    summary = dataclasses.replace(SUMMARY, status="pushed", pushed_path="/serving/7", gates=[])
    assert 'local_runner.py predict --model /serving/7 "' in printed(
        lambda console: terminal.show_outcome(console, summary)
    )


@pytest.mark.parametrize("status", ["failed", "stopped"])
def test_run_that_ended_early_names_the_error(status):
    summary = dataclasses.replace(SUMMARY, status=status, gates=[], error="data.train = x: no such file")
    assert f"{status}: data.train = x: no such file" in printed(lambda console: terminal.show_outcome(console, summary))


HOSTILE = "\x1b]0;owned\x07\x9b31m\u202e[bold]</title><script>alert(1)</script>"


def test_control_characters_and_markup_of_the_input_are_escaped():
    summary = dataclasses.replace(
        SUMMARY,
        rows={HOSTILE: SplitRows(1, {HOSTILE: 2})},
        metrics={"candidate": {f"recall/{HOSTILE}": 0.5}, "baseline": None},
        gates=[Check("data", f"label_share/{HOSTILE}", False, None, None, f"label '{HOSTILE}' has 0 rows")],
        error=HOSTILE,
        report_path=HOSTILE,
        pushed_path=HOSTILE,
    )

    def act(console):
        screen = terminal.Terminal(console)
        with screen.show_progress():
            progress.report(f"reading {HOSTILE}", 1, 2, dev_file=HOSTILE)
        for status in ("not_blessed", "failed", "stopped", "pushed"):
            terminal.show_outcome(console, dataclasses.replace(summary, status=status))

    for width in (100, 1000):
        text = printed(act, width)
        assert not set("\x1b\x07\x9b\u202e") & set(text)
        assert "\\x1b]0;owned" in text and "[bold]" in text


def test_progress_in_a_log_is_escaped(caplog):
    with caplog.at_level("INFO", progress.LOGGER.name):
        progress.report(f"reading {HOSTILE}", 1, 2, file=HOSTILE)
    assert not set("\x1b\x07\x9b\u202e") & set(caplog.text) and "\\x1b]0;owned" in caplog.text
