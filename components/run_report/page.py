"""Prepares what the page of a report shows: pure functions of the summary and the details."""

import dataclasses
import itertools
import re
from typing import Any, Mapping, Optional, Sequence, Union

from artifacts.evaluation import Change, Evaluation, Interval, NotableRow
from components.data_gate.text_counts import LENGTH_EDGES
from components.run_report import charts, data_charts, titles
from components.run_report.gather import Details
from components.run_report.summary import Summary, describe_distillation, predict_command
from core.checks import Check
from schema import features

# Checks of ServingValidator that are figures of the model in use.
_SERVING_FIGURES = {"latency_p50_ms": "ms", "latency_p99_ms": "ms", "memory_mb": "MiB"}


@dataclasses.dataclass(frozen=True)
class Stage:
    """A stage from the files to the model: rows, and the share of the first stage, 0 to 1."""

    name: str
    rows: int
    share: float
    kind: str


@dataclasses.dataclass(frozen=True)
class MetricRow:
    """A metric of both models, as text; empty where there is nothing to show."""

    title: str
    value: str
    interval: str
    baseline: str
    change: str


def prepare(summary: Summary, details: Details) -> dict[str, Any]:
    """Returns the template's variables."""
    evaluated = details.evaluation
    verdict, sentence = describe_verdict(summary)
    confusion = _confusion(evaluated)
    return {
        "summary": summary,
        "details": details,
        "verdict": verdict,
        "sentence_of_verdict": sentence,
        "next_step": next_step(summary),
        "distillation": describe_distillation(summary),
        "checks": group_by_verdict(summary.gates),
        "check_title": lambda name: titles.title_check(name, summary.metric_titles),
        "metrics": metric_rows(summary.metrics, evaluated),
        "stages": funnel(summary, details),
        "confusion": confusion,
        "mistakes": evaluated.scores.mistakes if evaluated else 0,
        "charts": draw_charts(summary, details),
        "serving": [(c, _SERVING_FIGURES[c.check]) for c in summary.gates if c.check in _SERVING_FIGURES],
        "label_name": lambda label: _label_name(details, label),
        "answers": lambda row: _answers(details, row),
    }


def describe_verdict(summary: Summary) -> tuple[str, str]:
    """Returns the outcome in a word, and the rest of the sentence that the terminal prints."""
    if summary.status == "pushed" and summary.already_in_serving:
        return "Already in serving", f"Nothing new was pushed: this model is {summary.pushed_path}"
    if summary.status == "pushed":
        return "Pushed", f"to {summary.pushed_path}"
    if summary.status == "not_blessed":
        return "Not blessed", f"Nothing was pushed: {summary.reason}"
    return summary.status.capitalize(), summary.reason


def next_step(summary: Summary) -> str:
    """Returns what to do after the run."""
    if summary.status == "pushed" and summary.components:
        return f"Try it: {predict_command(summary)}"
    return {
        "pushed": "The model is in serving.",
        "not_blessed": (
            "The model in serving is unchanged. Look at the failed checks and the rows below, change the data, the "
            "training or the bounds, and run again: unchanged components come from the cache."
        ),
        "stopped": "Nothing was pushed. Fix what the message names, then run again.",
        "failed": "Nothing was pushed. After the fix, run again: complete components come from the cache.",
    }[summary.status]


def group_by_verdict(checks: Sequence[Check]) -> dict[str, list[tuple[str, list[Check]]]]:
    """Returns verdict -> (gate, its checks with that verdict), in the order of the run."""
    verdicts: dict[str, list[tuple[str, list[Check]]]] = {}
    for verdict in ("failed", "warning", "not checked", "passed"):
        matching = [check for check in checks if check.verdict == verdict]
        groups = itertools.groupby(matching, key=lambda check: check.gate)
        verdicts[verdict] = [(gate, list(group)) for gate, group in groups]
    return verdicts


def metric_rows(
    metrics: Mapping[str, Optional[Mapping[str, float]]], evaluated: Optional[Evaluation]
) -> list[MetricRow]:
    """Returns the metrics of the candidate beside those of the model in serving."""
    candidate, baseline = metrics["candidate"] or {}, metrics["baseline"]
    named = evaluated.metric_titles if evaluated else {name: titles.title_metric(name, {}) for name in candidate}
    return [
        MetricRow(
            named[name],
            f"{value:.4f}",
            _format_interval(evaluated.intervals.get(name)) if evaluated else "",
            f"{baseline[name]:.4f}" if baseline else "",
            _format_change(evaluated.changes.get(name)) if evaluated else "",
        )
        for name, value in candidate.items()
        if name in named and name != titles.ROW_COUNT
    ]


def _format_interval(interval: Optional[Interval]) -> str:
    return f"{interval.low:.3f} to {interval.high:.3f}" if interval else ""


def _format_change(change: Optional[Change]) -> str:
    if change is None:
        return ""
    interval = f" ({change.interval.low:+.3f} to {change.interval.high:+.3f})" if change.interval else ""
    return f"{change.difference:+.4f}{interval}"


def funnel(summary: Summary, details: Details) -> list[Stage]:
    """Returns the numbers of rows: read, rejected by reason, left out, accepted by split, trained on, evaluated."""
    if not summary.rows:
        return []
    rejected: dict[str, int] = {}
    for counts in summary.rows.values():
        for reason, count in counts.rejected.items():
            rejected[reason] = rejected.get(reason, 0) + count
    accepted = {split: counts.accepted for split, counts in summary.rows.items()}
    ignored = sum(counts.left_out for counts in summary.rows.values())
    not_sampled = details.ingest.not_sampled if details.ingest else 0
    total = sum(accepted.values()) + sum(rejected.values()) + ignored + not_sampled
    rows = [
        ("read", total, "all"),
        *((f"rejected: {reason.replace('_', ' ')}", count, "out") for reason, count in rejected.items()),
        *([("left out by data.ignore_labels", ignored, "out")] if ignored else []),
        *([("left out by data.sample_size", not_sampled, "out")] if not_sampled else []),
        *((f"accepted: {split}", count, "in") for split, count in accepted.items()),
        *([("trained on", accepted.get(features.TRAIN_SPLIT, 0), "used")] if summary.training else []),
        *([("evaluated", int(_evaluated_rows(summary)), "used")] if _evaluated_rows(summary) else []),
    ]
    return [Stage(name, count, count / total if total else 0.0, kind) for name, count, kind in rows]


def _evaluated_rows(summary: Summary) -> float:
    return (summary.metrics["candidate"] or {}).get(titles.ROW_COUNT, 0)


def _confusion(evaluated: Optional[Evaluation]) -> Optional[list[list[tuple[int, float]]]]:
    """Returns (rows, share of the label's rows) by label and predicted label."""
    if evaluated is None or not evaluated.scores.confusion:
        return None
    table = evaluated.scores.confusion
    return [[(count, count / max(sum(row), 1)) for count in row] for row in table]


def draw_charts(summary: Summary, details: Details) -> dict[str, list[charts.Chart]]:
    """Draws the charts of each section that has figures."""
    evaluated, training = details.evaluation, summary.training
    pretraining = summary.encoder.pretraining if summary.encoder else None
    splits = details.profile.splits if details.profile else {}
    drawn = [
        data_charts.labels(splits),
        charts.lengths({name: each.lengths for name, each in splits.items()}, LENGTH_EDGES.tolist()),
        data_charts.scripts(splits),
        data_charts.drift(summary.gates),
    ]
    has_slices = evaluated is not None and any(each.value is not None for each in evaluated.slices.values())
    return {
        "data": [chart for chart in drawn if chart],
        "pretraining": charts.pretraining(pretraining) if pretraining else [],
        "training": charts.training(training) if training else [],
        "evaluation": charts.evaluation(evaluated) if evaluated else [],
        "slices": [charts.slices(evaluated.slices, evaluated.slice_metric)] if evaluated and has_slices else [],
    }


def _label_name(details: Details, label: Union[int, float]) -> str:
    """Returns the name of a class, or a score."""
    return details.label_names[int(label)] if label < len(details.label_names) else f"{label:.6g}"


def _answers(details: Details, row: NotableRow) -> list[str]:
    """Returns both models' answers: the name of a class if they say it, and the number."""
    names = [f"{_label_name(details, answer)} " for answer in row.classes or ()] or ["", ""]
    return [f"{name}{number:.3f}" for name, number in zip(names, (row.candidate, row.baseline), strict=True)]


def mark_settings(text: str) -> list[tuple[bool, str]]:
    """Splits a sentence into (is a setting, text): `gates.model.accuracy.min = 0.7` is one."""
    parts = re.split(r"((?:gates|data|trainer|encoder|serving)\.[\w.:+-]*\w(?: = [\d.,]*\d)?)", text)
    return [(index % 2 == 1, part) for index, part in enumerate(parts) if part]
