"""Prints a comparison of two runs."""

from typing import Any, Mapping, Optional, Sequence

import rich.box
import rich.console
import rich.table
import rich.text

from components.run_report import titles
from core import escape, intervals
from local import comparison, history_view

# Of the fingerprint of the data; enough to tell two apart.
_DIGEST_CHARACTERS = 12


def show(result: Mapping[str, Any], console: rich.console.Console) -> None:
    """Prints a comparison, with the rows that only one model gets right.

    Args:
      result: as returned by `comparison.compare`, with `rows` as returned by `row_comparison.compare_rows`, or None
        and the reason under `rows_note`.
      console: the user's console.
    """
    for name in ("a", "b"):
        run = result[name]
        time = history_view.format_time(run["started"])
        line = rich.text.Text.assemble((name.upper(), "bold"), "  ", escape.line(run["run"]), f"  {time}  ")
        console.print(line.append_text(history_view.format_status(run["status"])))
    _show_metrics(console, result["metrics"], result["rows"])
    _show_gates(console, result["gates"])
    _show_data(console, result["data"])
    _show_settings(console, result["config"])
    _show_rows(console, result["rows"], result["rows_note"])


def _show_metrics(
    console: rich.console.Console, metrics: Mapping[str, Mapping[str, Any]], rows: Optional[Mapping[str, Any]]
) -> None:
    if not metrics:
        _print_heading(console, "metrics: neither model was evaluated")
        return
    _print_heading(console, "metrics on the test split (in brackets: 95 % confidence intervals)")
    table = _make_table("", "A", "B", "B - A")
    for name, each in metrics.items():
        if name == titles.ROW_COUNT:
            _add_row(table, "test rows", *(_format_count(each[key]) for key in ("a", "b", "difference")))
            continue
        interval = rows["interval"] if rows and name == comparison.ACCURACY else None
        difference = "" if each["difference"] is None else f"{each['difference']:+.4f}{_format_interval(interval, '+')}"
        values = (history_view.format_metric(each[key]) + _format_interval(each[f"{key}_interval"]) for key in "ab")
        _add_row(table, each["title"], *values, difference)
    console.print(table)


def _format_count(value: Optional[float]) -> str:
    return "" if value is None else f"{value:,.0f}"


def _format_interval(interval: Optional[intervals.Interval], sign: str = "") -> str:
    return "" if interval is None else f" [{interval[0]:{sign}.3f}, {interval[1]:{sign}.3f}]"


def _show_gates(console: rich.console.Console, gates: Sequence[Mapping[str, Any]]) -> None:
    if not gates:
        _print_heading(console, "gates: every check has the same result")
        return
    _print_heading(console, "gates: checks with another result")
    for check in gates:
        results = f"{check['a'] or 'no such check'} -> {check['b'] or 'no such check'}"
        reason = check["b_reason"] if check["b"] in ("failed", "warning") else check["a_reason"]
        shown = f": {reason}" if reason and {"failed", "warning"} & {check["a"], check["b"]} else ""
        history_view.print_text(console, f"  {check['gate']} {check['title']}: {results}{shown}")


def _show_data(console: rich.console.Console, data: Mapping[str, Any]) -> None:
    _print_heading(console, "data")
    table = _make_table("", "A", "B")
    for split, pairs in data["rows"].items():
        _add_row(table, f"{split} rows", *map(_format_count, pairs["accepted"]))
        if any(pairs["rejected"]):
            _add_row(table, f"{split} rejected", *map(_format_rejected, pairs["rejected"]))
    _add_row(table, "SHA-256 of the files", *((digest or "")[:_DIGEST_CHARACTERS] for digest in data["fingerprint"]))
    console.print(table)
    if None not in data["fingerprint"] and data["fingerprint"][0] != data["fingerprint"][1]:
        history_view.print_text(console, "  the files differ, so the metrics may be of different test rows")


def _format_rejected(rejected: Optional[Mapping[str, int]]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in (rejected or {}).items()) or "0"


def _show_settings(console: rich.console.Console, changes: Optional[comparison.Changes]) -> None:
    if not changes:
        _print_heading(console, "configuration: " + ("unknown" if changes is None else "no key differs"))
        return
    _print_heading(console, "configuration")
    table = _make_table("", "A", "B")
    for key, values in changes.items():
        _add_row(table, key, *map(history_view.format_value, values))
    console.print(table)


def _show_rows(console: rich.console.Console, rows: Optional[Mapping[str, Any]], note: Optional[str]) -> None:
    if rows is None:
        _print_heading(console, f"rows: not compared: {note}")
        return
    fixed, broken = rows["fixed_count"], rows["broken_count"]
    count = f"{rows['rows']:,} test rows of B"
    _print_heading(console, f"rows: of {count}, {fixed:,} are right only with B and {broken:,} only with A")
    for name, title in (("fixed", "right only with B"), ("broken", "right only with A")):
        if rows[name]:
            shown, count = len(rows[name]), rows[f"{name}_count"]
            table = _make_table("id", "text", "label", "A", "B", title=f"{title}: {shown} of {count:,}")
            for row in rows[name]:
                _add_row(table, row["id"], row["text"], row["label"], *map(_format_score, (row["a"], row["b"])))
            console.print(table)


def _format_score(values: Sequence[Any]) -> str:
    """Formats an answer: the name of a class and its probability, or a score."""
    if not isinstance(values[0], str):
        return f"{values[0]:.4g}"
    return f"{values[0]} {values[1]:.1%}"


def _make_table(*headings: str, title: Optional[str] = None) -> rich.table.Table:
    table = rich.table.Table(title=title, title_justify="left", box=rich.box.SIMPLE_HEAD)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _add_row(table: rich.table.Table, *cells: str) -> None:
    table.add_row(*map(history_view.plain, cells))


def _print_heading(console: rich.console.Console, text: str) -> None:
    console.print()
    console.print(rich.text.Text(escape.line(text), style="bold"), soft_wrap=True)
