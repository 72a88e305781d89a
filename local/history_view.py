"""Shows the history of a pipeline: a table, JSON, a page; opens the report of a run."""

import json
import os
import pathlib
import sys
import webbrowser
from typing import Any, Mapping, Optional, Sequence

import rich.box
import rich.console
import rich.table
import rich.text

from components.run_report import titles
from components.run_report.summary import REPORT_FILE, find_reason
from core import escape
from core.checks import Check
from core.errors import UserError
from local import comparison, session
from local.history import Run

# A table with all metrics does not fit into fewer columns.
_WIDE = 125
# Nor one with the time, which the id contains, into fewer than these.
_NARROW = 80
# Of a value of the configuration; the end of a path says more than its beginning.
_VALUE_CHARACTERS = 40

_COLOURS = {"pushed": "green", "not_blessed": "red", "stopped": "red", "failed": "red", "interrupted": "yellow"}


def describe_runs(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Describes the runs of a pipeline.

    Args:
      runs: oldest first.

    Returns:
      For each run `run`, `folder`, `status`, `started`; `reason`, why nothing was pushed; `metrics` of its model;
      `pushed_path`, `pushed_version`; `seconds`; `changes`, key -> values before and after of the configuration's
      changes since the run before; `data_changed`, whether the content of the input files did; both None if unknown.
    """
    described = []
    settings: Optional[Mapping[str, Any]] = None
    fingerprint: Optional[str] = None
    for run in runs:
        summary = run.summary or {}
        current = (summary.get("data") or {}).get("fingerprint")
        pushed_path = summary.get("pushed_path")
        described.append(
            {
                **comparison.identify(run),
                "reason": _reason(summary),
                "metrics": comparison.candidate_metrics(summary),
                "pushed_path": pushed_path,
                "pushed_version": os.path.basename(pushed_path) if pushed_path else None,
                "seconds": summary.get("seconds"),
                "changes": comparison.compare_settings(settings, run.settings),
                "data_changed": fingerprint != current if fingerprint and current else None,
            }
        )
        settings, fingerprint = run.settings or settings, current or fingerprint
    return described


def _reason(summary: Mapping[str, Any]) -> Optional[str]:
    return find_reason(summary.get("error"), [Check(**each) for each in summary.get("gates", ())]) or None


def show(runs: Sequence[Run], console: rich.console.Console) -> None:
    """Prints the runs, newest first: a table, why runs pushed nothing, and what changed from run to run."""
    described = list(reversed(describe_runs(runs)))
    names = metric_names(described)
    shown = names if console.width >= _WIDE else names[:1]
    headings = metric_titles(runs)
    console.print(_make_table(described, shown, headings, with_time=console.width >= _NARROW))
    _show_lines(console, "nothing pushed:", {each["run"]: _format_reason(each) for each in described})
    _show_lines(console, "changed since the run before:", {each["run"]: _format_changes(each) for each in described})
    if len(shown) < len(names):
        hidden = ", ".join(titles.title_metric(name, headings) for name in names[1:])
        print_text(console, f"in a terminal of {_WIDE} columns, and after --json: {hidden}")


def _make_table(
    runs: Sequence[Mapping[str, Any]], metrics: Sequence[str], names: Mapping[str, str], with_time: bool
) -> rich.table.Table:
    # Without edges and double padding it fits into the terminal.
    table = rich.table.Table(box=rich.box.SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True)
    for heading in ("run", *(["started (UTC)"] if with_time else []), "status"):
        table.add_column(heading, no_wrap=True)
    for heading in (*(titles.title_metric(name, names) for name in metrics), "pushed", "s"):
        table.add_column(heading, justify="right")
    for run in runs:
        seconds = "" if run["seconds"] is None else f"{run['seconds']:.0f}"
        values = [format_metric(run["metrics"].get(name)) for name in metrics]
        table.add_row(
            *map(plain, (run["run"], *([format_time(run["started"])] if with_time else []))),
            format_status(run["status"]),
            *map(plain, (*values, run["pushed_version"] or "", seconds)),
        )
    return table


def _show_lines(console: rich.console.Console, heading: str, lines: Mapping[str, Sequence[str]]) -> None:
    """Prints lines, each after the id of its run."""
    if any(lines.values()):
        console.print()
        print_text(console, heading)
    for run, of_run in lines.items():
        for line in of_run:
            print_text(console, f"  {run}  {line}")


def _format_reason(run: Mapping[str, Any]) -> list[str]:
    return [run["reason"]] if run["reason"] else []


def metric_names(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns the names of the metrics of any run, as returned by `describe_runs`, without the number of rows."""
    names = dict.fromkeys(name for run in runs for name in run["metrics"])
    return [name for name in names if name != titles.ROW_COUNT]


def metric_titles(runs: Sequence[Run]) -> Mapping[str, str]:
    """Returns metric name -> what people call it; runs of earlier releases don't know it."""
    return comparison.metric_titles(run.summary or {} for run in runs)


def _format_changes(run: Mapping[str, Any]) -> list[str]:
    lines = [f"{key}: {format_value(a)} -> {format_value(b)}" for key, (a, b) in (run["changes"] or {}).items()]
    return [*lines, "content of the data files"] if run["data_changed"] else lines


def format_status(status: str) -> rich.text.Text:
    """Formats a run's status in its colour."""
    return rich.text.Text(escape.line(status.replace("_", " ")), style=_COLOURS.get(status, ""))


def format_time(time: Optional[str]) -> str:
    """`2026-11-26T16:31:05+00:00` -> `2026-11-26 16:31`."""
    return "" if time is None else time[:16].replace("T", " ")


def format_metric(value: Optional[float]) -> str:
    """Formats a share with four decimals; an unknown one is empty."""
    return "" if value is None else f"{value:.4f}"


def format_value(value: Any) -> str:
    """Formats a value of the configuration as YAML would, and cuts off the beginning of a long one."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _VALUE_CHARACTERS else f"...{text[-_VALUE_CHARACTERS + 3 :]}"


def print_text(console: rich.console.Console, text: str) -> None:
    """Prints a line without markup or control characters."""
    console.print(escape.line(text), markup=False, highlight=False, soft_wrap=True)


def plain(text: str) -> rich.text.Text:
    """Returns a text in which neither markup nor control characters have a meaning."""
    return rich.text.Text(escape.lines(text))


def find_report(run: Run) -> str:
    """Returns the path of a run's report.

    Raises:
      UserError: it has none.
    """
    path = run.path(REPORT_FILE)
    if not os.path.isfile(path):
        log_file = run.path(session.LOG_FILE)
        hint = f"; its log is {log_file}" if os.path.isfile(log_file) else ""
        raise UserError(f"{run.folder}: has no report: the run was {run.status}{hint}")
    return path


def open_in_browser(path: str) -> bool:
    """Opens a page in the browser; returns False if there is no display or no browser."""
    has_display = sys.platform == "darwin" or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))
    # Without a display, webbrowser would start a text browser in this terminal.
    return has_display and webbrowser.open(pathlib.Path(path).absolute().as_uri())
