"""The page of a pipeline's history: charts of the metrics over the runs, and a table of the runs."""

import io
import os
import re
from typing import Any, Mapping, Sequence

import markupsafe
import matplotlib
import matplotlib.figure
import matplotlib.ticker

from components.run_report import titles
from core import pages
from core.errors import UserError
from core.files import atomic_write
from local import history_view
from local.history import Run

# Drawn in this colour and replaced by that of the page's text, which matplotlib can't name.
_TEXT = "#010203"
_PUSHED = "#2f7d4f"
_OTHER = "#b3541e"
_DATES = 6


def write(pipeline: str, runs: Sequence[Run], file: str) -> None:
    """Writes the page, a self-contained HTML file.

    Args:
      pipeline: name of the pipeline.
      runs: oldest first.
      file: the file to write.

    Raises:
      UserError: it can't be written.
    """
    described = history_view.describe_runs(runs)
    evaluated = [run for run in described if run["metrics"]]
    names = history_view.metric_names(evaluated)
    headings = {name: titles.title_metric(name, history_view.metric_titles(runs)) for name in names}
    page = pages.render(
        os.path.join(os.path.dirname(__file__), "history.html.j2"),
        {
            "pipeline": pipeline,
            "runs": list(reversed(described)),
            "metrics": headings,
            "charts": {name: markupsafe.Markup(draw_metric(name, headings[name], evaluated)) for name in names},
            "format_time": history_view.format_time,
            "format_metric": history_view.format_metric,
        },
    )
    try:
        with atomic_write(file) as stream:
            stream.write(page)
    except OSError as error:
        raise UserError(f"--html {file}: can't be written ({error.strerror})") from error


def draw_metric(name: str, title: str, runs: Sequence[Mapping[str, Any]]) -> str:
    """Draws a metric over the runs, which are evenly spaced; a filled point is a model that was pushed.

    Args:
      name: the metric.
      title: what people call it.
      runs: as returned by `history_view.describe_runs`, oldest first.

    Returns:
      An `<svg>` element whose ids contain the metric's name.
    """
    points = [(index, run["metrics"][name]) for index, run in enumerate(runs) if name in run["metrics"]]
    pushed = [point for point in points if runs[point[0]]["pushed_path"]]
    others = [point for point in points if point not in pushed]
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure = matplotlib.figure.Figure(figsize=(5, 2.4), layout="constrained")
        axes = figure.subplots()
        axes.plot([x for x, _ in pushed], [y for _, y in pushed], "o-", color=_PUSHED)
        axes.plot([x for x, _ in others], [y for _, y in others], "o", color=_OTHER, fillstyle="none")
        _style(axes, [history_view.format_time(run["started"]) for run in runs])
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue().replace(_TEXT, "currentColor")
    prefix = re.sub(r"\W", "-", name)  # Ids must be unique in the page.
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{prefix}-", svg[svg.index("<svg") :])
    return svg.replace("<svg ", f'<svg role="img" aria-label="{markupsafe.escape(_describe(name, title, runs))}" ', 1)


def _style(axes: Any, times: Sequence[str]) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_TEXT)
    axes.tick_params(colors=_TEXT, labelsize=8)
    axes.set_xlim(-0.5, len(times) - 0.5)
    axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(_DATES, integer=True))
    axes.xaxis.set_major_formatter(lambda x, _: times[int(x)].replace(" ", "\n") if 0 <= x < len(times) else "")


def _describe(name: str, title: str, runs: Sequence[Mapping[str, Any]]) -> str:
    values = [run["metrics"][name] for run in runs if name in run["metrics"]]
    return f"{title} of {len(values)} runs, from {values[0]:.4f} to {values[-1]:.4f}, see the table"
