"""Shows a run on the terminal: one line per component, a progress bar, and the outcome."""

import collections
import contextlib
import datetime
import itertools
import logging
from typing import Any, Iterator, Mapping, Optional, Sequence

import rich.box
import rich.console
import rich.markup
import rich.progress
import rich.table
import rich.text

from components.run_report import titles
from components.run_report.summary import SplitRows, Summary, describe_distillation, predict_command
from core import escape, progress, streams
from core.checks import Check, Metrics, Verdict
from local.outcome import NodeOutcome

# Status of a component -> mark before its line, note after it.
_OUTCOMES = {
    "complete": ("[green]✓[/]", ""),
    "cached": ("[green]✓[/]", "[dim]cached[/]"),
    "failed": ("[red]✗[/]", "[red]failed[/]"),
    "interrupted": ("[yellow]-[/]", "[yellow]interrupted[/]"),
}

# Between the figures of a line.
_GAP = "  "
# Start of the name of a figure of the dev split, which is shown beside that of the train split.
_DEV = "dev_"


class Terminal(logging.Handler):
    """Prints components and their progress.

    On a terminal the running component has a spinner or a bar; a pipe only gets one line per finished component.
    """

    def __init__(self, console: rich.console.Console):
        super().__init__(logging.INFO)
        self.console = console
        self._node = ""
        # It gets the width that the others leave.
        details = rich.table.Column(ratio=1, no_wrap=True, overflow="ellipsis")
        self._bar = streams.make_progress(
            console,
            rich.progress.SpinnerColumn(),
            rich.progress.TextColumn("{task.description}"),
            rich.progress.BarColumn(bar_width=10),
            _TimeColumn(rich.table.Column(no_wrap=True)),
            rich.progress.TextColumn("{task.fields[details]}", table_column=details),
            expand=True,
        )
        self._task: Optional[rich.progress.TaskID] = None
        self._stage = ""

    @contextlib.contextmanager
    def show_progress(self) -> Iterator[None]:
        """Shows the records of `core.progress` inside the context."""
        level = progress.LOGGER.level
        progress.LOGGER.setLevel(logging.INFO)
        progress.LOGGER.addHandler(self)
        try:
            with self._bar:
                yield
        finally:
            progress.LOGGER.removeHandler(self)
            progress.LOGGER.setLevel(level)

    def start(self, node_id: str) -> None:
        """Shows that a component is running."""
        self._node, self._stage = node_id, ""
        self._restart_bar(None)

    def end(self, outcome: NodeOutcome) -> None:
        """Prints the line of a component that is complete or failed."""
        if self._task is not None:
            self._bar.remove_task(self._task)
            self._task = None
        mark, note = _OUTCOMES["cached" if outcome.cached else outcome.status]
        self.console.print(f"{mark} {outcome.id:<20}{outcome.seconds:7.1f} s  {note}".rstrip(), highlight=False)

    def emit(self, record: logging.LogRecord) -> None:
        """Draws one record of `core.progress`, or prints one that is kept."""
        fields: Mapping[str, Any] = vars(record)
        stage, figures = fields["stage"], fields["figures"]
        text = _escape(f"{stage}{_GAP}{_format_figures(figures)}".rstrip())
        if fields["keep"]:
            # A name is not separated from its value.
            streams.print_sentence(self.console, text, indent=2, separator=_GAP if figures else " ")
            return
        kind = stage.split(" ")[0]
        if kind != self._stage:
            self._stage = kind
            self._restart_bar(fields["total"] or None)
        if self._task is not None:
            self._bar.update(self._task, details=text, completed=fields["done"])

    def _restart_bar(self, total: Optional[int]) -> None:
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task(self._node, total=total, details="")


class _TimeColumn(rich.progress.ProgressColumn):
    """The time left; the time elapsed as long as it can't be estimated."""

    max_refresh = 0.5

    def render(self, task: rich.progress.Task) -> rich.text.Text:
        left = None if task.finished else task.time_remaining
        if left is None:
            return rich.text.Text(f"{_format_seconds(task.elapsed or 0)} elapsed")
        return rich.text.Text(f"{_format_seconds(left)} left")


def _format_seconds(seconds: float) -> str:
    return str(datetime.timedelta(seconds=int(seconds)))


def _escape(text: str) -> str:
    """Escapes rich's markup and control characters."""
    return rich.markup.escape(escape.line(text))


def _format_figures(figures: Mapping[str, Any]) -> str:
    """`{"loss": 0.31245, "dev_loss": 0.4, "examples_per_s": 132.4}` -> `loss 0.312, dev 0.400  132 rows/s`.

    Three decimals and short words, so that an epoch fits into 80 columns; the report has all digits.
    """
    parts = []
    for name, value in figures.items():
        if name.endswith("_per_s"):
            unit = name.removesuffix("_per_s")
            parts.append(f"{value:.0f} {'rows' if unit == 'examples' else unit}/s")
        elif not (name.startswith(_DEV) and name.removeprefix(_DEV) in figures):
            dev = f", dev {_format_figure(figures[_DEV + name])}" if _DEV + name in figures else ""
            parts.append(f"{name.replace('_', ' ')} {_format_figure(value)}{dev}")
    return _GAP.join(parts)


def _format_figure(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def show_outcome(console: rich.console.Console, summary: Summary) -> None:
    """Prints rows, metrics, gates and the verdict of a run."""
    console.print()
    _show_rows(console, summary.rows)
    if sentence := describe_distillation(summary):
        streams.print_sentence(console, _escape(sentence))
    _show_metrics(console, summary.metrics, summary.metric_titles)
    _show_gates(console, summary.gates, summary.metric_titles)
    console.print()
    streams.print_sentence(console, _format_verdict(summary))
    _show_next_steps(console, summary)


def _show_rows(console: rich.console.Console, rows: Mapping[str, SplitRows]) -> None:
    for split, counts in rows.items():
        rejected = ", ".join(f"{count} {reason}" for reason, count in counts.rejected.items())
        line = f"{split:<5} {counts.accepted:>9,} rows" + (f"; rejected: {rejected}" if rejected else "")
        line += f"; left out: {counts.left_out:,}" if counts.left_out else ""
        streams.print_sentence(console, _escape(line))


def _show_metrics(console: rich.console.Console, metrics: Metrics, names: Mapping[str, str]) -> None:
    candidate, baseline = metrics["candidate"], metrics["baseline"]
    if not candidate:
        return
    table = rich.table.Table("on the test split", "this model", "previously in serving", box=rich.box.SIMPLE_HEAD)
    for name, value in candidate.items():
        digits = ",.0f" if name == titles.ROW_COUNT else ".4f"
        before = f"{baseline[name]:{digits}}" if baseline else "none"
        table.add_row(_escape(titles.title_metric(name, names)), f"{value:{digits}}", before)
    console.print(table)


def _show_gates(console: rich.console.Console, checks: Sequence[Check], names: Mapping[str, str]) -> None:
    """Prints a line per gate, and below it the failed checks; the report lists all checks."""
    for gate, group in itertools.groupby(checks, key=lambda check: check.gate):
        of_gate = list(group)
        mark = "[red]✗[/]" if _blocking_checks(of_gate) else "[green]✓[/]"
        console.print(f"{mark} {gate} gate: {_count_verdicts(of_gate)}", highlight=False)
        for check in sorted((each for each in of_gate if not each.passed), key=lambda check: not check.blocks):
            mark = "" if check.blocks else "[yellow]warning:[/] "
            text = _escape(f"{titles.title_check(check.check, names)}: {check.reason}")
            streams.print_sentence(console, f"{mark}{text}", indent=4)


def _count_verdicts(checks: Sequence[Check]) -> str:
    """Returns the number of checks by verdict: `24 checks passed, 1 failed, 2 not checked`."""
    counts = collections.Counter(check.verdict for check in checks)
    words: Mapping[Verdict, str] = {"failed": "failed", "warning": "with a warning", "not checked": "not checked"}
    passed = f"{counts['passed']} {'check' if counts['passed'] == 1 else 'checks'} passed"
    return ", ".join([passed, *(f"{counts[verdict]} {word}" for verdict, word in words.items() if counts[verdict])])


def _blocking_checks(checks: Sequence[Check]) -> list[Check]:
    return [check for check in checks if check.blocks]


def _format_verdict(summary: Summary) -> str:
    failed, path = _blocking_checks(summary.gates), _escape(summary.pushed_path or "")
    if summary.already_in_serving:
        return f"[green]already in serving[/], nothing new was pushed: this model is {path}"
    if summary.status == "pushed":
        return f"[green]pushed[/] to {path}"
    if summary.status == "not_blessed":
        return f"[red]not blessed[/], nothing was pushed: {_escape(summary.reason)}"
    if failed:
        return "[red]stopped[/] before training: see the failed checks above"
    return f"[red]{summary.status}[/]: {_escape(summary.error or '')}"


def _show_next_steps(console: rich.console.Console, summary: Summary) -> None:
    """Prints what users copy, so without line breaks."""
    if summary.status == "pushed":
        command = _escape(predict_command(summary))
        console.print(f"try it: {command}", highlight=False, soft_wrap=True)
    if summary.report_path:
        show_report(console, summary.report_path)


def show_report(console: rich.console.Console, path: str) -> None:
    """Prints the path of a report, without line breaks, so that it can be copied."""
    console.print(f"report: {_escape(path)}", highlight=False, soft_wrap=True)
