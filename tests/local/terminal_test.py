"""The terminal: components, epochs and verdicts, without control characters from the input."""

import dataclasses
import io

import pytest
import rich.console
import rich.progress
from rich import cells

from components.run_report.summary import DataSummary, SplitRows, Summary
from core import progress
from core.checks import Check
from local import terminal
from local.outcome import NodeOutcome
from tests import terminals

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
            progress.report(
                "epoch 1/2", 5, 10, keep=True, loss=0.5, dev_loss=0.25, dev_accuracy=0.875, examples_per_s=132.4
            )
            screen.end(NodeOutcome("Trainer", "complete", 12.34))
            screen.end(NodeOutcome("Pusher", "complete", 0.1, cached=True))
            screen.end(NodeOutcome("Evaluator", "failed", 3.0))
            screen.end(NodeOutcome("Evaluator", "interrupted", 3.0))

    assert [line.split() for line in printed(act).splitlines()] == [
        "epoch 1/2 loss 0.500, dev 0.250 dev accuracy 0.875 132 rows/s".split(),
        "✓ Trainer 12.3 s".split(),
        "✓ Pusher 0.1 s cached".split(),
        "✗ Evaluator 3.0 s failed".split(),
        "- Evaluator 3.0 s interrupted".split(),
    ]


@pytest.mark.parametrize("columns", [80, 60, 40])
def test_progress_stays_one_row_in_a_narrow_terminal(columns):
    stream = io.StringIO()
    screen = terminal.Terminal(rich.console.Console(file=stream, width=columns, force_terminal=True))
    with screen.show_progress():
        screen.start("EncoderPretrainer")
        for done in range(3):
            progress.report("epoch 12/100", done, 1000, loss=0.5123, accuracy=0.8, file="a" * 100)
            screen._bar.refresh()
        before_the_end = stream.getvalue()
        screen.end(NodeOutcome("EncoderPretrainer", "complete", 1.0))
    (row,) = terminals.screen_rows(before_the_end, columns)
    assert cells.cell_len(row) <= columns - 3, "there is room for ^C"
    assert "EncoderPretrainer ━━━━━━━━━━ 0:00:00 elapsed" in row or "left" in row
    assert terminals.screen_rows(stream.getvalue(), columns)[0].split() == "✓ EncoderPretrainer 1.0 s".split()


EPOCH = {"loss": 0.3125, "accuracy": 0.875, "dev_loss": 0.5, "dev_accuracy": 0.75, "examples_per_s": 12345.6}


@pytest.mark.parametrize(
    "columns, rows",
    [
        (80, ["  epoch 100/100  loss 0.312, dev 0.500  accuracy 0.875, dev 0.750  12346 rows/s"]),
        (60, ["  epoch 100/100  loss 0.312, dev 0.500", "  accuracy 0.875, dev 0.750  12346 rows/s"]),
    ],
)
def test_end_of_an_epoch_fits_a_terminal_and_is_divided_between_figures(columns, rows):
    stream = io.StringIO()
    screen = terminal.Terminal(rich.console.Console(file=stream, width=columns, force_terminal=True))
    with screen.show_progress():
        progress.report("epoch 100/100", 5, 10, keep=True, **EPOCH)
    assert [row for row in terminals.screen_rows(stream.getvalue(), 1000) if row] == rows


@pytest.mark.parametrize(
    "seconds, text", [([], "0:00:12 elapsed"), ([0, 4, 8], "0:01:28 left"), ([0, 4, 8, 96], "0:01:36 elapsed")]
)
def test_time_left_is_the_time_that_the_rest_takes(seconds, text):
    now = 0.0
    task = rich.progress.Progress(get_time=lambda: now)
    number = task.add_task("", total=24)
    for done, now in enumerate(seconds, start=0):  # noqa: B007  Read by `get_time`.
        task.update(number, completed=done if done < 3 else 24)
    now = now or 12.0
    assert terminal._TimeColumn().render(task.tasks[0]).plain == text


def test_progress_is_not_drawn_once_the_run_is_over():
    def act(console):
        screen = terminal.Terminal(console)
        with screen.show_progress():
            pass
        progress.report("epoch 1/2", 5, 10, keep=True, dev_loss=0.5)

    assert printed(act) == ""


def test_outcome_has_rows_metrics_gates_and_reasons():
    text = printed(lambda console: terminal.show_outcome(console, SUMMARY))
    for words in (
        "1,200 rows; rejected: 3 empty_text",
        "0.7123",
        "0.7500",
        "✓ data gate: 1 check passed",
        "✗ model gate: 0 checks passed, 1 failed",
    ):
        assert words in text
    assert text.count("accuracy 0.7123 is [0.1] under") == 2 and "not blessed" in text and "/runs/report.html" in text


def test_pushed_model_comes_with_a_command_to_try_it():
    summary = dataclasses.replace(SUMMARY, status="pushed", pushed_path="/serving/7", gates=[])
    assert "local_runner.py predict --model /serving/7 '이것은 놀라운 영화입니다!'\n" in printed(
        lambda console: terminal.show_outcome(console, summary)
    )


def test_the_sentence_to_try_is_a_short_test_row(tmp_path):
    import tensorflow as tf

    from components.tsv_example_gen import executor, parse

    (tmp_path / "Split-test").mkdir()
    texts = [
        "No.",
        "x" * 20 + "\n",
        "-- not an option, a row",
        "It's a row with a quote",
        "A fine film! $HOME",
        "long " * 9,
    ]
    with tf.io.TFRecordWriter(str(tmp_path / "Split-test" / "part.gz"), "GZIP") as writer:
        for text in texts:
            writer.write(executor.to_example(parse.Row("", (text,), 1), "1"))
    summary = dataclasses.replace(
        SUMMARY, status="pushed", pushed_path="/serving/7", data=DataSummary({}, "f", str(tmp_path)), gates=[]
    )
    text = printed(lambda console: terminal.show_outcome(console, summary))
    assert "local_runner.py predict --model /serving/7 'A fine film! $HOME'\n" in text


def test_model_that_was_in_serving_already_is_not_called_pushed():
    summary = dataclasses.replace(SUMMARY, status="pushed", pushed_path="/s/7", already_in_serving=True, gates=[])
    text = printed(lambda console: terminal.show_outcome(console, summary))
    assert "already in serving, nothing new was pushed: this model is /s/7" in text and "pushed to" not in text


def test_metrics_and_checks_have_the_names_of_the_labels():
    metrics = {"candidate": {"example_count": 9.0, "recall_0": 0.5}, "baseline": None}
    gates = [Check("model", "recall_0_drop", False, None, None, "0.5 is too low")]
    summary = dataclasses.replace(SUMMARY, metrics=metrics, metric_titles={"recall_0": "recall of 부정"}, gates=gates)
    text = printed(lambda console: terminal.show_outcome(console, summary))
    assert "recall of 부정, drop: 0.5 is too low" in text and "test rows" in text and "recall_0" not in text


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
            progress.report(f"reading {HOSTILE}", 1, 2, keep=True, file=HOSTILE)
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
