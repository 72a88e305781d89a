"""What a person sees of a run: a line a component, a bar while it works, and the outcome at the end."""

import contextlib
import itertools
import logging
from typing import Any, Iterator, Mapping, Optional, Sequence

import rich.box
import rich.console
import rich.markup
import rich.progress
import rich.table

from core import escape, installation, progress
from local.outcome import NodeOutcome, Observer


class Terminal(Observer, logging.Handler):
    """Draws progress records and component outcomes on a console.

    On a terminal the component at work has a spinner or a bar; in a pipe only the finished lines are written.
    """

    def __init__(self, console: rich.console.Console):
        logging.Handler.__init__(self, logging.INFO)
        self.console = console
        self._node = ""
        self._bar = rich.progress.Progress(
            rich.progress.SpinnerColumn(),
            rich.progress.TextColumn("{task.description}"),
            rich.progress.BarColumn(bar_width=20),
            rich.progress.TimeElapsedColumn(),
            rich.progress.TextColumn("left"),
            rich.progress.TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task: Optional[rich.progress.TaskID] = None
        self._stage = ""

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Shows progress records for as long as the context lasts."""
        level = progress.LOGGER.level
        progress.LOGGER.setLevel(logging.INFO)
        progress.LOGGER.addHandler(self)
        try:
            with self._bar:
                yield
        finally:
            progress.LOGGER.removeHandler(self)
            progress.LOGGER.setLevel(level)

    def started(self, node_id: str) -> None:
        self._node, self._stage = node_id, ""
        self._restart_bar(node_id, None)

    def ended(self, outcome: NodeOutcome) -> None:
        if self._task is not None:
            self._bar.remove_task(self._task)
            self._task = None
        mark = "[green]✓[/]" if outcome.status == "complete" else "[red]✗[/]"
        told = "[dim]cached[/]" if outcome.cached else "" if outcome.status == "complete" else "[red]failed[/]"
        self.console.print(f"{mark} {outcome.id:<20}{outcome.seconds:7.1f} s  {told}", highlight=False)

    def emit(self, record: logging.LogRecord) -> None:
        """Draws one record of `core.progress`."""
        figures: Mapping[str, Any] = getattr(record, "figures", {})
        stage = str(getattr(record, "stage", ""))
        text = _escaped(f"{self._node} {stage} {_shown(figures)}".rstrip())
        if any(name.startswith("dev_") for name in figures):
            self.console.print(f"  {_escaped(stage)}  {_escaped(_shown(figures))}", highlight=False, soft_wrap=True)
            return
        kind = stage.split(" ")[0]
        if kind != self._stage:
            self._stage = kind
            self._restart_bar(text, record.total or None)
        if self._task is not None:
            self._bar.update(self._task, description=text, completed=record.done)

    def _restart_bar(self, text: str, total: Optional[int]) -> None:
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task(text, total=total)


def _escaped(text: str) -> str:
    """For rich: nothing in the text is markup, and nothing of it is obeyed by the terminal."""
    return rich.markup.escape(escape.line(text))


def _shown(figures: Mapping[str, Any]) -> str:
    """`{"dev_loss": 0.31245, "examples_per_s": 132.4}` -> `dev loss 0.3125  132 examples/s`."""
    parts = []
    for name, value in figures.items():
        if name.endswith("_per_s"):
            parts.append(f"{value:.0f} {name.removesuffix('_per_s')}/s")
        else:
            parts.append(f"{name.replace('_', ' ')} {value:.4f}" if isinstance(value, float) else f"{name} {value}")
    return "  ".join(parts)


def show_outcome(console: rich.console.Console, summary: Mapping[str, Any]) -> None:
    """Prints what a person wants to know of a finished run."""
    console.print()
    _show_rows(console, summary["rows"])
    _show_metrics(console, summary["metrics"])
    _show_gates(console, summary["gates"])
    console.print(_verdict(summary), highlight=False, soft_wrap=True)


def _show_rows(console: rich.console.Console, rows: Mapping[str, Any]) -> None:
    for split, counts in rows.items():
        rejected = ", ".join(f"{count} {reason}" for reason, count in counts["rejected"].items())
        line = f"{split:<5} {counts['accepted']:>9,} rows" + (f"; rejected: {rejected}" if rejected else "")
        console.print(_escaped(line), highlight=False)


def _show_metrics(console: rich.console.Console, metrics: Mapping[str, Any]) -> None:
    if not metrics["candidate"]:
        return
    table = rich.table.Table("on the test split", "this model", "in serving before", box=rich.box.SIMPLE_HEAD)
    for name, value in metrics["candidate"].items():
        before = _figure(metrics["baseline"][name]) if metrics["baseline"] else "none"
        table.add_row(_escaped(name), _figure(value), before)
    console.print(table)


def _figure(value: float) -> str:
    """Counts are whole numbers, the rest are shares."""
    return f"{value:,.0f}" if value > 1 else f"{value:.4f}"


def _show_gates(console: rich.console.Console, checks: Sequence[Mapping[str, Any]]) -> None:
    """A line a gate, and under it the sentences of what missed its bound; the report has them all."""
    for gate, group in itertools.groupby(checks, key=lambda check: check["gate"]):
        made = list(group)
        failed, warned = _blocking(made), [c for c in made if not c["passed"] and c["severity"] == "warn"]
        verdict = f"[red]✗[/] {gate} gate: {len(failed)} of" if failed else f"[green]✓[/] {gate} gate:"
        warnings = f", {len(warned)} with a warning" if warned else ""
        told = f"{verdict} {len(made)} {'check' if len(made) == 1 else 'checks'} {'failed' if failed else 'passed'}"
        console.print(f"{told}{warnings}", highlight=False)
        for check in [*failed, *warned]:
            mark = "" if check in failed else "[yellow]warning:[/] "
            sentence = f"{_escaped(check['check'])}: {_escaped(check['reason'])}"
            console.print(f"    {mark}{sentence}", highlight=False, soft_wrap=True)


def _blocking(checks: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [check for check in checks if not check["passed"] and check["severity"] == "fail"]


def _verdict(summary: Mapping[str, Any]) -> str:
    failed = _blocking(summary["gates"])
    report = f"\nreport: {_escaped(summary['report_path'])}" if summary["report_path"] else ""
    if summary["status"] == "pushed":
        reviews = installation.command("local_runner.py")
        ask = f'{reviews} predict --model {summary["pushed_path"]} "이것은 놀라운 영화입니다!"'
        return f"\n[green]pushed[/] to {_escaped(summary['pushed_path'])}\nask it: {_escaped(ask)}{report}"
    if summary["status"] == "not_blessed":
        reasons = "; ".join(check["reason"] for check in failed)
        return f"\n[red]not blessed[/], nothing was pushed: {_escaped(reasons)}{report}"
    if failed:
        return f"\n[red]stopped[/] before training: the failed checks above say why{report}"
    return f"\n[red]{summary['status']}[/]: {_escaped(summary['error'])}{report}"
