"""Draws the charts of a report as SVG that takes its colours and its font from the page around it."""

import contextlib
import dataclasses
import functools
import io
import re
import warnings
from typing import Any, Callable, Iterator, Mapping, Optional, Sequence

import matplotlib
import matplotlib.figure
import numpy as np

from artifacts.evaluation import Evaluation, Slice
from artifacts.model_run import TrainingFigures
from artifacts.pretraining import PretrainingFigures
from components.run_report import curves
from components.run_report.titles import title_slice

# Colours of the drawing -> variables of the page's style sheet, which has other values in dark mode.
INK, GRID, FIRST, SECOND = "#010101", "#020202", "#030303", "#040404"
_VARIABLES = {INK: "--ink", GRID: "--grid", FIRST: "--first", SECOND: "--second"}

_SETTINGS = {
    "svg.fonttype": "none",  # Text stays text.
    "text.parse_math": False,  # Names of labels may have dollars.
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "lines.linewidth": 1.6,
}

# In inches at 72 dots, so about the pixels of a phone divided by 72.
_SIZE = (4.6, 3.2)

_WIDE = (4.6, 2.6)

_SCORE_BINS = 20

# Rows of the table of a curve by step.
_TABLE_ROWS = 25


@dataclasses.dataclass(frozen=True)
class Chart:
    """A chart and the same numbers as a table.

    Attributes:
      name: identifier, unique on the page.
      title: the heading.
      alt: what the chart shows, for those who do not see it.
      svg: the drawing, an `<svg>` element.
      columns: heads of the table's columns.
      rows: cells of the table; the first of each row is its head.
      note: how to read the chart.
    """

    name: str
    title: str
    alt: str
    svg: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


def training(figures: TrainingFigures) -> list[Chart]:
    """Draws loss and metric by epoch, for the training and the dev rows, and loss and learning rate by step."""
    names = [name for name in figures.history[0] if f"dev_{name}" in figures.history[0]]
    by_epoch = [_training_chart(figures.history, figures.best_epoch, name) for name in names]
    if not figures.curve:
        return by_epoch
    return [*by_epoch, _step_chart(figures.curve, "loss", ".4f"), _step_chart(figures.curve, "learning_rate", ".2e")]


def pretraining(figures: PretrainingFigures) -> list[Chart]:
    """Draws each figure of a pre-training by step, for the texts trained on and the held-out ones."""
    return [
        _pretraining_chart(figures, name) for name in (figures.curve[-1] if figures.curve else ()) if name != "step"
    ]


def _pretraining_chart(figures: PretrainingFigures, name: str) -> Chart:
    title = name.replace("_", " ")
    points = {"training": figures.curve, "held-out texts": figures.history}
    with drawing(f"pretraining-{name}", _WIDE) as (axes, svg):
        for (label, rows), style, color in zip(points.items(), ("-", "s--"), (FIRST, SECOND), strict=True):
            if rows:
                x, y = ([row[key] for row in rows] for key in ("step", name))
                axes.plot(x, y, style, color=color, markersize=4, label=label)
        axes.set(xlabel="step", ylabel=title)
        axes.legend()
    # Of the long curve, the points at which the held-out texts were measured.
    shown = figures.history or figures.curve[:: -(-len(figures.curve) // _TABLE_ROWS)]
    training, held_out = ({row["step"]: f"{row[name]:.4f}" for row in rows} for rows in points.values())
    steps = [row["step"] for row in shown]
    cells = [[f"{step:,.0f}", training.get(step, ""), held_out.get(step, "")] for step in steps]
    last = (figures.history or figures.curve)[-1]
    where = "on held-out texts" if figures.history else "in training"
    alt = f"{title} by step of the pre-training; {last[name]:.4f} {where} after the last of {figures.steps:,} steps"
    columns = ["step", "training", "held-out texts"]
    return Chart(f"pretraining-{name}", f"Pre-training: {title}", alt, svg(), columns, cells)


def _step_chart(curve: Sequence[Mapping[str, float]], name: str, digits: str) -> Chart:
    title = name.replace("_", " ")
    steps, values = [int(point["step"]) for point in curve], [point[name] for point in curve]
    with drawing(f"step-{name}", _WIDE) as (axes, svg):
        axes.plot(steps, values, color=FIRST)
        axes.set(xlabel="step", ylabel=title, ylim=(0, None))
    # A table of every point would be hundreds of rows.
    shown = range(0, len(steps), -(-len(steps) // _TABLE_ROWS))
    rows = [[f"{steps[i]:,}", format(values[i], digits)] for i in shown]
    alt = f"{title} by step, from {values[0]:{digits}} to {values[-1]:{digits}}, at most {max(values):{digits}}"
    return Chart(f"step-{name}", f"{title.capitalize()} by step", alt, svg(), ["step", title], rows)


def _training_chart(history: Sequence[Mapping[str, float]], best_epoch: int, name: str) -> Chart:
    epochs = [int(row["epoch"]) for row in history]
    train, dev = ([row[prefix + name] for row in history] for prefix in ("", "dev_"))
    with drawing(f"training-{name}", _WIDE) as (axes, svg):
        axes.plot(epochs, train, "o-", color=FIRST, markersize=4, label="train")
        axes.plot(epochs, dev, "s--", color=SECOND, markersize=4, label="dev")
        axes.axvline(best_epoch, color=INK, linestyle=":", linewidth=1, label="kept")
        axes.set(xlabel="epoch", ylabel=name, xticks=epochs[:: -(-len(epochs) // 12)])
        axes.legend()
    rows = [
        [f"{epoch}{' (kept)' if epoch == best_epoch else ''}", f"{a:.4f}", f"{b:.4f}"]
        for epoch, a, b in zip(epochs, train, dev, strict=True)
    ]
    at_best = dev[epochs.index(best_epoch)]
    alt = f"{name} over {len(epochs)} epochs; on dev {dev[0]:.4f} after the first, {at_best:.4f} after the kept epoch"
    return Chart(f"training-{name}", f"{name.capitalize()} by epoch", alt, svg(), ["epoch", "train", "dev"], rows)


def evaluation(evaluated: Evaluation) -> list[Chart]:
    """Draws the plots that the task names."""
    return [_PLOTS[name](evaluated) for name in evaluated.plots]


def _counts(evaluated: Evaluation) -> dict[str, np.ndarray]:
    """Returns the counts of both models, of one without a model in serving."""
    counts = {"candidate": np.array(evaluated.scores.candidate)}
    if evaluated.has_baseline:
        counts["in serving"] = np.array(evaluated.scores.baseline)
    return counts


def _scores(evaluated: Evaluation) -> Chart:
    counts, labels = np.array(evaluated.scores.candidate), evaluated.label_names
    table = curves.histogram(counts, _SCORE_BINS)
    edges = np.linspace(0, 1, _SCORE_BINS + 1)
    with drawing("scores") as (axes, svg):
        axes.stairs(table[0], edges, color=SECOND, label=f"label {labels[0]}", linewidth=1.6, linestyle="--")
        axes.stairs(table[1], edges, color=FIRST, label=f"label {labels[1]}", linewidth=1.6, fill=False)
        axes.axvline(0.5, color=INK, linestyle=":", linewidth=1)
        axes.set(xlabel=f"probability of {labels[1]}", ylabel="test rows", xlim=(0, 1), ylim=(0, None))
        axes.legend(loc="upper center")
    rows = [
        [f"{edges[i]:.2f} to {edges[i + 1]:.2f}", f"{table[0, i]:,}", f"{table[1, i]:,}"] for i in range(_SCORE_BINS)
    ]
    unsure = int(table[:, 8:12].sum())
    alt = f"Histogram of the candidate's scores by label; {unsure:,} of {table.sum():,} rows score between 0.4 and 0.6"
    note = "Rows right of 0.5 are called " + labels[1] + "."
    columns = ["score", f"label {labels[0]}", f"label {labels[1]}"]
    return Chart("scores", "Scores by label", alt, svg(), columns, rows, note)


def _calibration(evaluated: Evaluation) -> Chart:
    positive = evaluated.label_names[1]
    note = "On the dotted line a probability means what it says; below it the model is too sure of " + positive + "."
    bins = {name: curves.calibration(table) for name, table in _counts(evaluated).items()}
    return _calibration_chart(bins, positive, note)


def _confidence_calibration(evaluated: Evaluation) -> Chart:
    note = "On the dotted line a probability means what it says; below it the model is too sure of its answers."
    sums = evaluated.scores.calibration
    bins = {"candidate": curves.confidence_bins(sums["candidate"])}
    if evaluated.has_baseline:
        bins["in serving"] = curves.confidence_bins(sums["baseline"])
    return _calibration_chart(bins, "correct answers", note)


def _calibration_chart(bins: Mapping[str, list[curves.Bin]], positive: str, note: str) -> Chart:
    with drawing("calibration") as (axes, svg):
        axes.plot([0, 1], [0, 1], color=INK, linestyle=":", linewidth=1, label="perfect")
        for name, style in _styles(bins):
            axes.plot([b.score for b in bins[name]], [b.observed for b in bins[name]], ms=4, label=name, **style)
        axes.set(xlabel="predicted probability", ylabel=f"share of {positive}", xlim=(0, 1), ylim=(0, 1))
        axes.legend(loc="upper left")
    rows = [
        [f"{b.low:.1f} to {b.high:.1f}", name, f"{b.rows:,}", f"{b.score:.3f}", f"{b.observed:.3f}"]
        for name in bins
        for b in bins[name]
    ]
    worst = max(bins["candidate"], key=lambda b: abs(b.score - b.observed))
    alt = (
        f"Predicted probability and share of {positive} in bins of the score; the candidate is furthest off between "
        f"{worst.low:.1f} and {worst.high:.1f}: {worst.score:.2f} predicted, {worst.observed:.2f} observed"
    )
    columns = ["score", "model", "rows", "mean score", f"share of {positive}"]
    return Chart("calibration", "Calibration", alt, svg(), columns, rows, note)


def _shares(evaluated: Evaluation) -> dict[str, list[curves.Threshold]]:
    return {name: curves.thresholds(table) for name, table in _counts(evaluated).items()}


def _roc(evaluated: Evaluation) -> Chart:
    shares, labels = _shares(evaluated), evaluated.label_names
    with drawing("roc") as (axes, svg):
        axes.plot([0, 1], [0, 1], color=INK, linestyle=":", linewidth=1, label="chance")
        for name, style in _styles(shares, marker=False):
            axes.plot([s.false_positives for s in shares[name]], [s.recall for s in shares[name]], label=name, **style)
        axes.set(xlabel=f"{labels[0]} called {labels[1]}", ylabel=f"recall of {labels[1]}", xlim=(0, 1), ylim=(0, 1.01))
        axes.legend(loc="lower right")
    alt = f"Share of {labels[1]} that is recognised against the share of {labels[0]} that is called {labels[1]}"
    columns = ["from score", "model", f"{labels[0]} called {labels[1]}", f"recall of {labels[1]}"]
    return Chart("roc", "ROC", alt, svg(), columns, _threshold_rows(shares, "false_positives", "recall"))


def _precision_recall(evaluated: Evaluation) -> Chart:
    shares, positive = _shares(evaluated), evaluated.label_names[1]
    with drawing("precision-recall") as (axes, svg):
        for name, style in _styles(shares, marker=False):
            points = shares[name][1:]
            axes.plot([s.recall for s in points], [s.precision for s in points], label=name, **style)
        axes.set(xlabel=f"recall of {positive}", ylabel=f"precision of {positive}", xlim=(0, 1), ylim=(0, 1.01))
        axes.legend(loc="lower left")
    alt = f"Precision of {positive} against its recall, at every threshold of the score"
    columns = ["from score", "model", f"recall of {positive}", f"precision of {positive}"]
    rows = _threshold_rows(shares, "recall", "precision")
    return Chart("precision-recall", "Precision and recall", alt, svg(), columns, rows)


def _score_scatter(evaluated: Evaluation) -> Chart:
    """Draws the rows by label and score, in bins, with the area of a dot for the number of rows."""
    low, high = evaluated.score_range or (0.0, 1.0)
    table = np.array(evaluated.scores.candidate)
    middles = low + (high - low) * (np.arange(len(table)) + 0.5) / len(table)
    labels, scores = np.nonzero(table)
    rows = table[labels, scores]
    with drawing("score-scatter") as (axes, svg):
        axes.plot([low, high], [low, high], color=INK, linestyle=":", linewidth=1, label="perfect")
        areas = 80 * rows / max(rows.max(initial=1), 1) + 2
        axes.scatter(middles[labels], middles[scores], s=areas, color=FIRST, alpha=0.7, linewidths=0)
        axes.set(xlabel="label", ylabel="score", xlim=(low, high), ylim=(low, high))
        axes.legend(loc="upper left")
    near = int(sum(np.trace(table, offset) for offset in (-1, 0, 1)))
    alt = f"Scores by label; {near:,} of {table.sum():,} rows are on the diagonal or beside it"
    means = [(table[i] @ middles / table[i].sum()) if table[i].any() else np.nan for i in range(len(table))]
    cells = [
        [f"{edge:.4g} to {edge + (high - low) / len(table):.4g}", f"{table[i].sum():,}", _figure(float(means[i]))]
        for i, edge in enumerate(low + (high - low) * np.arange(len(table)) / len(table))
    ]
    note = "A larger dot has more rows. On the dotted line the score is the label."
    return Chart("score-scatter", "Scores by label", alt, svg(), ["label", "rows", "mean score"], cells, note)


def _score_histogram(evaluated: Evaluation) -> Chart:
    low, high = evaluated.score_range or (0.0, 1.0)
    table = np.array(evaluated.scores.candidate)
    edges = np.linspace(low, high, len(table) + 1)
    with drawing("score-histogram") as (axes, svg):
        axes.stairs(table.sum(axis=1), edges, color=SECOND, label="label", linewidth=1.6, linestyle="--")
        axes.stairs(table.sum(axis=0), edges, color=FIRST, label="score", linewidth=1.6, fill=False)
        axes.set(xlabel="label and score", ylabel="test rows", xlim=(low, high), ylim=(0, None))
        axes.legend()
    rows = [
        [f"{edges[i]:.4g} to {edges[i + 1]:.4g}", f"{table[i].sum():,}", f"{table[:, i].sum():,}"]
        for i in range(len(table))
    ]
    alt = "Histograms of the labels and of the candidate's scores"
    return Chart("score-histogram", "Labels and scores", alt, svg(), ["range", "labels", "scores"], rows)


_PLOTS: Mapping[str, Callable[[Evaluation], Chart]] = {
    "scores": _scores,
    "calibration": _calibration,
    "confidence_calibration": _confidence_calibration,
    "roc": _roc,
    "precision_recall": _precision_recall,
    "score_scatter": _score_scatter,
    "score_histogram": _score_histogram,
}


def _threshold_rows(shares: Mapping[str, list[curves.Threshold]], *fields: str) -> list[list[str]]:
    """Returns the table of both curves, at every tenth of the score."""
    scores = [tenth / 10 for tenth in range(1, 10)]
    return [
        [f"{score:.1f}", name, *(_figure(getattr(curves.at_score(each, score), field)) for field in fields)]
        for name, each in shares.items()
        for score in scores
    ]


def _figure(value: float) -> str:
    return "undefined" if np.isnan(value) else f"{value:.3f}"


def slices(figures: Mapping[str, Slice], metric: str) -> Chart:
    """Draws the slice metric of both models with its interval and its bound, one line per slice."""
    shown = {name: each for name, each in figures.items() if each.value is not None}
    with drawing("slices", (4.6, 0.9 + 0.32 * len(shown))) as (axes, svg):
        for y, each in enumerate(shown.values()):
            _draw_slice(axes, y, each)
        axes.set(xlabel=metric, yticks=range(len(shown)), yticklabels=[title_slice(name) for name in shown])
        axes.set_ylim(len(shown) - 0.5, -0.5)
        axes.figure.legend(*_unique_legend(axes), loc="outside lower center", ncols=3)
    lowest = min(shown, key=lambda name: shown[name].value or 0.0)
    alt = f"{metric} of {len(shown)} slices, lowest on {title_slice(lowest)}: {shown[lowest].value:.3f}"
    columns = ["slice", "rows", metric, "95 % interval", "in serving", "bound"]
    rows = [_slice_row(name, each) for name, each in figures.items()]
    note = "The lines are 95 % intervals; few rows make them wide."
    return Chart("slices", f"{metric.capitalize()} by slice", alt, svg(), columns, rows, note)


def _draw_slice(axes: Any, y: int, each: Slice) -> None:
    if each.interval:
        axes.plot([each.interval.low, each.interval.high], [y, y], color=FIRST)
    axes.plot([each.value], [y], "o", color=FIRST, markersize=5, label="candidate")
    if each.baseline is not None:
        axes.plot([each.baseline], [y], "D", color=SECOND, markersize=4, fillstyle="none", label="in serving")
    if each.min is not None:
        axes.plot([each.min, each.min], [y - 0.35, y + 0.35], color=INK, label="bound")


def _unique_legend(axes: Any) -> tuple[list[Any], list[str]]:
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    return list(handles.values()), list(handles)


def _slice_row(name: str, each: Slice) -> list[str]:
    return [
        title_slice(name),
        f"{each.rows:,}",
        "undefined" if each.value is None else f"{each.value:.4f}",
        f"{each.interval.low:.3f} to {each.interval.high:.3f}" if each.interval else "",
        "none" if each.baseline is None else f"{each.baseline:.4f}",
        "too few rows" if each.min is None else f"at least {each.min:g}",
    ]


def _styles(models: Mapping[str, Any], marker: bool = True) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields each model's name and its line: they differ in more than colour."""
    looks = (FIRST, "o", "-"), (SECOND, "s", "--")
    for name, (colour, sign, line) in zip(models, looks, strict=False):
        yield name, {"color": colour, "linestyle": line, "marker": sign if marker else None}


@contextlib.contextmanager
def drawing(name: str, size: tuple[float, float] = _SIZE) -> Iterator[tuple[Any, Callable[[], str]]]:
    """Yields axes to draw on, and a function that returns the drawing as an `<svg>` element."""
    with _settings(name):
        figure = matplotlib.figure.Figure(figsize=size, layout="constrained")
        yield figure.subplots(), functools.partial(_to_svg, figure, name)


@contextlib.contextmanager
def _settings(name: str) -> Iterator[None]:
    with matplotlib.rc_context({**_SETTINGS, "svg.hashsalt": name}), warnings.catch_warnings():
        # The reader's font has Korean letters, whether or not this machine's has.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def _to_svg(figure: matplotlib.figure.Figure, name: str) -> str:
    stream = io.StringIO()
    with _settings(name):
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    return embed(stream.getvalue(), name)


def embed(svg: str, name: str) -> str:
    """Makes a document of matplotlib an element of a page: ids are unique there, colours and font are the page's."""
    view_box = re.search(r'viewBox="[^"]*"', svg)
    assert view_box
    element = f"<svg {view_box[0]}>" + svg[svg.index(">", view_box.end()) + 1 :]
    element = re.sub(r"<metadata>.*?</metadata>", "", element, flags=re.DOTALL)
    element = re.sub(r' id="', f' id="{name}-', element)
    element = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{name}-", element)
    element = re.sub(r"font(-family)?: ([\d.]+px) [^;\"]*", r"font-size: \2", element)
    element = re.sub(r"font-family: [^;\"]*;?", "", element)
    for colour, variable in _VARIABLES.items():
        element = element.replace(colour, f"var({variable})")
    return element.replace("<svg ", '<svg aria-hidden="true" ', 1)


def lengths(counts: Mapping[str, Sequence[int]], edges: Sequence[int]) -> Optional[Chart]:
    """Draws the share of the rows of each split by length in characters.

    Args:
      counts: split -> rows in each bin.
      edges: int[bins - 1], where the bins begin, from the second on.
    """
    used = [i for i in range(len(edges) + 1) if any(rows[i] for rows in counts.values())]
    if not used:
        return None
    starts = [0, *edges]
    shares = {split: [rows[i] / max(sum(rows), 1) for i in used] for split, rows in counts.items()}
    with drawing("lengths", _WIDE) as (axes, svg):
        for (split, values), (colour, line) in zip(
            shares.items(), ((FIRST, "-"), (INK, ":"), (SECOND, "--")), strict=False
        ):
            axes.plot([max(starts[i], 1) for i in used], values, color=colour, linestyle=line, label=split)
        axes.set(xscale="log", xlabel="characters", ylabel="share of the rows", ylim=(0, None))
        axes.xaxis.set_major_formatter("{x:.0f}")
        axes.xaxis.set_minor_formatter("")
        axes.legend()
    rows = [[f"from {starts[i]}", *(f"{shares[split][n]:.1%}" for split in shares)] for n, i in enumerate(used)]
    alt = "Distribution of the length of the texts, for each split"
    return Chart("lengths", "Length of the texts", alt, svg(), ["characters", *shares], rows)
