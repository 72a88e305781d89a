"""Draws the data of a run: shares of labels and scripts by split, and drift and skew against their bounds."""

from typing import Any, Mapping, Optional, Sequence

from components.data_gate.profile import SplitProfile, share_of
from components.run_report import charts
from components.run_report.charts import FIRST, INK, SECOND, Chart
from core.checks import Check

# Colour and marker of each split, in the order of the profile: they differ in more than colour.
_LOOKS = ((FIRST, "o"), (INK, "^"), (SECOND, "s"))

# Rows of a drawing; its table has all of them.
_DRAWN_ROWS = 12

# Multiples of the bound at the end of the axis; a larger value is drawn there.
_LARGEST = 2.0

_MEASURES = {
    "label": "labels",
    "length": "lengths",
    "script": "scripts",
    "oov": "unknown words",
    "answer": "answers",
}


def labels(splits: Mapping[str, SplitProfile]) -> Optional[Chart]:
    """Draws the share of each label in the rows of each split; None without labels."""
    return shares("labels", "Labels", "rows", {name: split.labels for name, split in splits.items()})


def scripts(splits: Mapping[str, SplitProfile]) -> Optional[Chart]:
    """Draws the share of each script in the letters of each split; None without letters."""
    return shares("scripts", "Scripts", "letters", {name: split.letters for name, split in splits.items()})


def shares(name: str, title: str, items: str, counts: Mapping[str, Mapping[str, int]]) -> Optional[Chart]:
    """Draws the share of each name in the counts of each split, the most frequent first; None without counts."""
    totals = {each: sum(of.get(each, 0) for of in counts.values()) for of in counts.values() for each in of}
    names = sorted((each for each in totals if totals[each]), key=lambda each: -totals[each])
    if not names:
        return None
    drawn = names[:_DRAWN_ROWS]
    with charts.drawing(name, (4.6, 1.1 + 0.3 * len(drawn))) as (axes, svg):
        for (split, of), (colour, marker) in zip(counts.items(), _LOOKS, strict=False):
            places = [share_of(each, of) for each in drawn]
            axes.plot(places, range(len(drawn)), marker, color=colour, markersize=5, fillstyle="none", label=split)
        axes.set(xlabel=f"share of the {items}", yticks=range(len(drawn)), yticklabels=drawn, xlim=(-0.02, 1.02))
        axes.set_ylim(len(drawn) - 0.5, -0.5)
        axes.figure.legend(loc="outside lower center", ncols=len(_LOOKS))
    rows = [[each, *(f"{of.get(each, 0):,} ({share_of(each, of):.1%})" for of in counts.values())] for each in names]
    shown = ", ".join(f"{share_of(drawn[0], of):.1%} in {split}" for split, of in counts.items())
    alt = f"Share of the {items} of each split; most are {drawn[0]}: {shown}"
    note = f"The {len(drawn)} most frequent of {len(names)}; all are in the table." if len(drawn) < len(names) else ""
    return Chart(name, title, alt, svg(), [name.removesuffix("s"), *counts], rows, note)


def drift(checks: Sequence[Check]) -> Optional[Chart]:
    """Draws the checks of drift and skew as multiples of their bounds; None without such checks.

    Args:
      checks: those of all gates.
    """
    compared = [check for check in checks if check.gate == "data" and _kind(check) in ("drift", "skew")]
    return distances("Drift and skew", compared, _describe(compared)) if compared else None


def distances(title: str, compared: Sequence[Check], note: str) -> Chart:
    """Draws checks with an upper bound as multiples of it.

    Args:
      title: the heading.
      compared: the checks, named `<measure>_drift` or `<measure>_skew`; at least one.
      note: how to read the chart.
    """
    with charts.drawing("drift", (4.6, 1.1 + 0.3 * len(compared))) as (axes, svg):
        for y, check in enumerate(compared):
            _draw_distance(axes, y, check)
        axes.axvline(1, color=INK, linewidth=1.2)
        axes.grid(axis="y", visible=False)
        axes.set(xlabel="distance, as a multiple of its bound", xlim=(0, _LARGEST * 1.04))
        axes.set(yticks=range(len(compared)), yticklabels=[_title(check) for check in compared])
        axes.set_ylim(len(compared) - 0.5, -0.5)
    over = [_title(check) for check in compared if not check.passed]
    alt = f"Distance of {len(compared)} measures from their bounds; over the bound: {', '.join(over) or 'none'}"
    rows = [[_title(check), _format(check.value), _format(check.bound), check.verdict] for check in compared]
    columns = ["measure", "distance", "bound", "verdict"]
    return Chart("drift", title, alt, svg(), columns, rows, note)


def _draw_distance(axes: Any, y: int, check: Check) -> None:
    multiple = _multiple(check)
    if multiple is None:
        axes.text(0.03, y, "not compared", va="center")
        return
    colour, marker = (FIRST, "o") if check.passed else (SECOND, "s")
    shown = min(multiple, _LARGEST)
    axes.plot([0, shown], [y, y], color=colour)
    axes.plot([shown], [y], marker, color=colour, markersize=5)


def _multiple(check: Check) -> Optional[float]:
    """Returns the value as a multiple of the bound; None if nothing was compared."""
    if not isinstance(check.value, (int, float)) or not isinstance(check.bound, (int, float)):
        return None
    if check.bound:
        return check.value / check.bound
    return _LARGEST if check.value else 0.0


def _describe(checks: Sequence[Check]) -> str:
    """Says what was compared with what, and what was not compared and why."""
    compares = {
        "drift": "Drift: the training rows against the training data of the model in serving",
        "skew": "Skew: the test rows against the training rows",
    }
    sentences = []
    for kind, sentence in compares.items():
        reasons = dict.fromkeys(check.reason for check in checks if _kind(check) == kind and not check.compared)
        sentences.append(f"{sentence}{', not compared: ' if reasons else ''}{'; '.join(map(_shorten, reasons))}.")
    return " ".join(sentences) + " The vertical line is the bound."


def _shorten(reason: str) -> str:
    return reason.removeprefix("not compared: ")


def _kind(check: Check) -> str:
    return check.check.partition("/")[0].rpartition("_")[2]


def _title(check: Check) -> str:
    """`oov_drift/letters` -> `unknown letters, drift`."""
    section, _, part = check.check.partition("/")
    measure = section.rpartition("_")[0]
    return f"{f'unknown {part}' if part else _MEASURES.get(measure, measure)}, {_kind(check)}"


def _format(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, (int, float)) else "not compared"
