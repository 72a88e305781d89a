"""Prints what `drift` and `shadow` have found, in about twenty lines."""

import rich.box
import rich.console
import rich.markup
import rich.table
import rich.text

from components.data_gate.profile import share_of
from components.run_report import titles
from core import escape, streams
from local.monitoring.drift import NAME, Drift, topic
from local.monitoring.logs import Log
from local.monitoring.shadow import Shadow

_SLICES = 3
# Fewer texts say little about a slice.
_MIN_SLICE_TEXTS = 30
_TEXTS = 8


def show_drift(drift: Drift, console: rich.console.Console) -> None:
    """Prints what moved, with a sentence for each topic."""
    _print(console, drift.sentence(), "bold red" if drift.failed else "bold")
    _print(console, drift.codec_sentence())
    for name, checks in drift.moved.items():
        reason = checks[0].reason.removeprefix(f"{NAME}: ")
        _print(console, f"{name}: {reason}", "red" if checks[0].blocks else "yellow", indent=2)
    _show_left_out(drift.log, console)
    skipped = dict.fromkeys(topic(check) for check in drift.checks if not check.compared)
    _print(console, f"not checked: {', '.join(skipped)}", "dim")


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
        console.print(_make_table(shadow))


def _make_table(shadow: Shadow) -> rich.table.Table:
    table = rich.table.Table(box=rich.box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("difference", justify="right", no_wrap=True)
    for heading in (shadow.served, shadow.candidate):
        table.add_column(_plain(heading), overflow="fold")
    table.add_column("text", no_wrap=True, overflow="ellipsis")
    for each in shadow.largest[:_TEXTS]:
        table.add_row(f"{each.difference:.3f}", _plain(each.served), _plain(each.candidate), _plain(each.text))
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
