"""Compares two runs: metrics, gates, data, configuration. Reads only what the runs have written."""

import os
from typing import Any, Iterable, Mapping, Optional

from components.run_report import titles
from core import intervals
from core.checks import Check
from local.history import Run

# The metric that is a share of all test rows, so that their number gives its interval.
ACCURACY = "accuracy"

Changes = Mapping[str, tuple[Any, Any]]


def compare(a: Run, b: Run) -> dict[str, Any]:
    """Compares the second run with the first.

    Returns:
      `a` and `b`, each with `run`, `folder`, `status`, `started`; `metrics`, `gates`, `data` and `config`, as returned
      by the functions below; all of it can be written as JSON.
    """
    first, second = a.summary or {}, b.summary or {}
    return {
        "a": identify(a),
        "b": identify(b),
        "metrics": compare_metrics(first, second),
        "gates": compare_gates(first, second),
        "data": compare_data(first, second),
        "config": compare_settings(a.settings, b.settings),
    }


def identify(run: Run) -> dict[str, Any]:
    """Returns the id, folder, status and start of a run."""
    return {
        "run": run.id,
        "folder": run.folder,
        "status": run.status,
        "started": run.record.get("started") or (run.summary or {}).get("started"),
    }


def compare_settings(before: Optional[Mapping[str, Any]], after: Optional[Mapping[str, Any]]) -> Optional[Changes]:
    """Returns key -> (value before, value after) of the keys that differ; None if a configuration is unknown."""
    if before is None or after is None:
        return None
    return {key: (before.get(key), after.get(key)) for key in {**before, **after} if before.get(key) != after.get(key)}


def compare_metrics(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Compares the candidates' metrics.

    Args:
      a: summary of the first run.
      b: summary of the second run.

    Returns:
      Metric -> its `title` for people, its values `a` and `b`, their `difference` (b - a), and the 95 % confidence
      intervals `a_interval` and `b_interval`; each is None if it is unknown.
    """
    first, second = candidate_metrics(a), candidate_metrics(b)
    names = metric_titles([a, b])
    return {
        name: {
            "title": titles.title_metric(name, names),
            "a": first.get(name),
            "b": second.get(name),
            "difference": second[name] - first[name] if name in first and name in second else None,
            "a_interval": _metric_interval(name, a),
            "b_interval": _metric_interval(name, b),
        }
        for name in {**first, **second}
    }


def candidate_metrics(summary: Mapping[str, Any]) -> Mapping[str, float]:
    """Returns the metrics of a run's model; empty if it was not evaluated."""
    return summary.get("metrics", {}).get("candidate") or {}


def metric_titles(summaries: Iterable[Mapping[str, Any]]) -> Mapping[str, str]:
    """Returns metric name -> what people call it, from the last of the summaries that has the metric."""
    return {name: title for summary in summaries for name, title in summary.get("metric_titles", {}).items()}


def compare_gates(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns the checks with another result, or that only one of the runs made, in the order of the gates.

    Returns:
      `gate`, `check`, its `title` for people, the verdicts `a` and `b` (`core.checks.Verdict`, or None if the run did
      not make the check), and the sentences `a_reason` and `b_reason`.
    """
    first, second = _checks(a), _checks(b)
    names = metric_titles([a, b])
    pairs = ((key, first.get(key), second.get(key)) for key in {**first, **second})
    return [
        {
            "gate": gate,
            "check": name,
            "title": titles.title_check(name, names),
            "a": before and before.verdict,
            "b": after and after.verdict,
            "a_reason": before and before.reason,
            "b_reason": after and after.reason,
        }
        for (gate, name), before, after in pairs
        if (before and before.verdict) != (after and after.verdict)
    ]


def compare_data(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, Any]:
    """Compares the data of two summaries.

    Returns:
      `rows`, split -> pairs of accepted rows and of rejected rows by reason; `files`, the pair of file names by role;
      `fingerprint`, the pair of SHA-256 of their content. An unknown part of a pair is None.
    """
    splits = {**a.get("rows", {}), **b.get("rows", {})}
    rows = ({name: summary.get("rows", {}).get(name, {}) for name in splits} for summary in (a, b))
    return {
        "rows": {
            name: {
                "accepted": (first.get("accepted"), second.get("accepted")),
                "rejected": (first.get("rejected"), second.get("rejected")),
            }
            for (name, first), (_, second) in zip(*(each.items() for each in rows), strict=True)
        },
        **{key: tuple((summary.get("data") or {}).get(key) for summary in (a, b)) for key in ("files", "fingerprint")},
    }


def describe_obstacle(a: Run, b: Run) -> Optional[str]:
    """Returns why the models of two runs can't predict the same test rows; None if they can."""
    for run in (a, b):
        if model_folder(run) is None:
            return f"the model of {run.id} is not on disk"
    if model_folder(a) == model_folder(b):
        return "both runs have the same model"
    return None if test_examples(b) else f"the test rows of {b.id} are not on disk"


def model_folder(run: Run) -> Optional[str]:
    """Returns the folder of a run's model, pushed or not; None if it is not on disk."""
    summary = run.summary or {}
    paths = (summary.get("model_path"), summary.get("pushed_path"))
    return next((path for path in paths if path and os.path.isdir(path)), None)


def test_examples(run: Run) -> Optional[str]:
    """Returns the folder of a run's test rows; None if it is not on disk."""
    data = (run.summary or {}).get("data")
    folder = os.path.join(data["examples"], "Split-test") if data else ""
    return folder if os.path.isdir(folder) else None


def _metric_interval(name: str, summary: Mapping[str, Any]) -> Optional[intervals.Interval]:
    if name in summary.get("metric_intervals", {}):
        low, high = summary["metric_intervals"][name]
        return low, high
    # Summaries of earlier releases have no intervals.
    metrics = candidate_metrics(summary)
    if name != ACCURACY or name not in metrics:
        return None
    return intervals.wilson(metrics[name], metrics.get(titles.ROW_COUNT, 0))


def _checks(summary: Mapping[str, Any]) -> dict[tuple[str, str], Check]:
    checks = [Check(**check) for check in summary.get("gates", ())]
    return {(check.gate, check.check): check for check in checks}
