"""Prints what `drift` and `shadow` have found, in about twenty lines."""

import rich.box
import rich.console
import rich.markup
import rich.table
import rich.text

from components.data_gate.profile import share_of
from components.run_report import titles
from core import escape, streams
from local.monitoring.drift import NAME, Drift
from local.monitoring.logs import Log
from local.monitoring.shadow import Shadow

_SLICES = 3
# Fewer texts say little about a slice.
_MIN_SLICE_TEXTS = 30
_TEXTS = 8
_COLUMNS = ("difference", "served", "candidate", "text")
# Of a column: the space to the next one, and its share of the table's edges.
_PADDING = 4
# Of a text, if the labels take the whole width.
_MIN_TEXT = 20


def show_drift(drift: Drift, console: rich.console.Console) -> None:
    """Prints what moved, with a sentence for each topic."""
    _print(console, drift.sentence(), "bold red" if drift.failed else "bold")
    _print(console, drift.codec_sentence())
    for name, checks in drift.moved.items():
        reason = checks[0].reason.removeprefix(f"{NAME}: ")
        _print(console, f"{name}: {reason}", "red" if checks[0].blocks else "yellow", indent=2)
    _show_left_out(drift.log, console)
    for reason, topics in drift.not_checked.items():
        _print(console, f"not checked: {', '.join(topics)} ({reason})", "dim")


def show_shadow(shadow: Shadow, console: rich.console.Console) -> None:
    """Prints how far the models are apart, where most, and the texts with the largest differences."""
    _print(console, shadow.sentence(), "bold")
    if shadow.overall.largest:
        slices = [(name, group) for name, group in shadow.slices.items() if group.texts >= _MIN_SLICE_TEXTS]
        worst = sorted(slices, key=lambda item: item[1].same_share)[:_SLICES]
        shown = (f"{titles.title_slice(name)} {each.same_share:.1%} of {each.texts:,}" for name, each in worst)
        _print(console, f"they agree least on: {', '.join(shown)}" if worst else "")
        served, candidate = ({name: pair[side] for name, pair in shadow.labels.items()} for side in (0, 1))
        shares = (f"{name} {share_of(name, served):.1%} -> {share_of(name, candidate):.1%}" for name in shadow.labels)
        _print(console, f"answers: {', '.join(shares)}")
    _show_left_out(shadow.log, console)
    if shadow.largest:
        console.print(_make_table(shadow, console.width))


def _make_table(shadow: Shadow, width: int) -> rich.table.Table:
    table = rich.table.Table(box=rich.box.SIMPLE_HEAD, pad_edge=False)
    rows = [
        [_plain(cell) for cell in (f"{each.difference:.3f}", each.served, each.candidate, each.text)]
        for each in shadow.largest[:_TEXTS]
    ]
    for index, heading in enumerate(_COLUMNS):
        table.add_column(heading)
        width -= (
            max(len(heading), *(row[index].cell_len for row in rows)) + _PADDING if index < len(_COLUMNS) - 1 else 0
        )
    for *cells, text in rows:
        text.truncate(max(width, _MIN_TEXT), overflow="ellipsis")
        table.add_row(*cells, text)
    return table


def _show_left_out(log: Log, console: rich.console.Console) -> None:
    _print(console, log.describe_left_out(), "yellow" if log.damage else "dim")


def _print(console: rich.console.Console, text: str, style: str = "", indent: int = 0) -> None:
    """Prints a sentence, or nothing if it is empty; names and texts are untrusted."""
    if text:
        markup = rich.markup.escape(escape.line(text))
        streams.print_sentence(console, f"[{style}]{markup}[/]" if style else markup, indent)


def _plain(text: str) -> rich.text.Text:
    return rich.text.Text(escape.line(text))
