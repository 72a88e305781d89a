"""The pages of `drift` and `shadow`: self-contained HTML, in the style of a run's report."""

import os
from typing import Any, Mapping, Optional, Sequence

import markupsafe

from components.data_gate.text_counts import LENGTH_EDGES
from components.run_report import charts, data_charts, titles
from components.run_report.charts import FIRST, Chart
from components.run_report.page import mark_settings
from core import escape, intervals, pages
from core.checks import Check
from core.errors import UserError
from core.files import atomic_write
from local.monitoring.drift import Drift, topic
from local.monitoring.shadow import Group, Shadow

_TRAINED, _ASKED = "training", "requests"


def write_drift(drift: Drift, file: str) -> None:
    """Writes the page of `drift`.

    Raises:
      UserError: the file can't be written.
    """
    groups: dict[str, list[Check]] = {}
    for check in drift.checks:
        groups.setdefault(check.verdict, []).append(check)
    values = {"drift": drift, "checks": groups, "topic": topic, "charts": _draw_drift(drift)}
    _write(file, "drift.html.j2", values)


def write_shadow(shadow: Shadow, file: str) -> None:
    """Writes the page of `shadow`.

    Raises:
      UserError: the file can't be written.
    """
    drawn = [_draw_slices(shadow.slices), _draw_answers(shadow)]
    _write(file, "shadow.html.j2", {"shadow": shadow, "charts": [chart for chart in drawn if chart]})


def _draw_drift(drift: Drift) -> list[Chart]:
    splits = {_TRAINED: drift.trained, _ASKED: drift.rows}
    compared = [check for check in drift.checks if check.check.partition("/")[0].endswith("_drift")]
    note = "Requests against the training data. The vertical line is the bound."
    drawn: Sequence[Optional[Chart]] = (
        data_charts.distances("Distance from the training data", compared, note),
        charts.lengths({name: split.lengths for name, split in splits.items()}, LENGTH_EDGES.tolist()),
        data_charts.scripts(splits),
        data_charts.shares(
            "labels", "Training labels and answers", "rows", {_TRAINED: drift.trained.labels, "answers": drift.answered}
        ),
    )
    return [chart for chart in drawn if chart]


def _draw_slices(slices: Mapping[str, Group]) -> Optional[Chart]:
    """Draws the share of the texts on which the models agree, by slice; None without texts."""
    if not slices:
        return None
    found = {titles.title_slice(name): group for name, group in slices.items()}
    spans = {name: intervals.wilson(group.same_share, group.texts) or (0.0, 1.0) for name, group in found.items()}
    with charts.drawing("slices", (4.6, 0.9 + 0.32 * len(found))) as (axes, svg):
        for y, (name, group) in enumerate(found.items()):
            axes.plot(spans[name], [y, y], color=FIRST)
            axes.plot([group.same_share], [y], "o", color=FIRST, markersize=5)
        axes.set(xlabel="share of the texts on which they agree", yticks=range(len(found)), yticklabels=list(found))
        axes.set_ylim(len(found) - 0.5, -0.5)
    lowest = min(found, key=lambda name: found[name].same_share)
    rows = [
        [name, f"{group.texts:,}", f"{group.same_share:.1%}", f"{group.mean:.4f}", f"{group.largest:.4f}"]
        for name, group in found.items()
    ]
    alt = f"Share of the texts on which the models agree, lowest on {lowest}: {found[lowest].same_share:.1%}"
    columns = ["slice", "texts", "agree", "mean difference", "largest difference"]
    note = "The lines are 95 % intervals; few texts make them wide."
    return Chart("slices", "Agreement by slice", alt, svg(), columns, rows, note)


def _draw_answers(shadow: Shadow) -> Optional[Chart]:
    sides = {"served": 0, "candidate": 1}
    counts = {side: {name: pair[index] for name, pair in shadow.labels.items()} for side, index in sides.items()}
    return data_charts.shares("answers", "Answers", "texts", counts)


def _write(file: str, template: str, values: Mapping[str, Any]) -> None:
    path = os.path.join(os.path.dirname(__file__), template)
    # Matplotlib has escaped the texts in a drawing.
    filters = {"parts": mark_settings, "drawing": lambda svg: markupsafe.Markup(escape.lines(svg))}
    page = pages.render(path, values, filters)
    try:
        with atomic_write(file) as stream:
            stream.write(page)
    except OSError as error:
        raise UserError(f"--html {file}: can't be written ({error.strerror})") from error
