"""Logs a run to MLflow if `MLFLOW_TRACKING_URI` is set and the package `mlflow` is installed."""

import importlib.util
import json
import logging
import os
import re
import time
from typing import Any, Iterator, Mapping, NamedTuple, Sequence, TypeVar

import yaml

from components.run_report.summary import find_reason
from core.checks import Check
from core.config import Config, dump_config

URI_VARIABLE = "MLFLOW_TRACKING_URI"

# Read by MLflow's client: its own defaults would hold up a run for minutes after an outage.
_LIMITS = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "30", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}
# Limits of MLflow's servers: metrics and parameters of a request, characters of a value.
_MAX_METRICS, _MAX_PARAMETERS, _MAX_CHARACTERS = 1000, 100, 500

_T = TypeVar("_T")


class Point(NamedTuple):
    """A value of a metric; `step` is a training step, an epoch, or 0 for a final value."""

    name: str
    value: float
    step: int


def list_parameters(config: Config) -> dict[str, str]:
    """Returns key -> value of a configuration, such as `trainer.epochs` -> `5`.

    The section `notify`, which may contain secrets, is left out.
    """
    tree = yaml.safe_load(dump_config(config))
    return dict(_flatten({section: value for section, value in tree.items() if section != "notify"}))


def list_metrics(summary: Mapping[str, Any]) -> list[Point]:
    """Returns the metrics of a run.

    Args:
      summary: the content of `summary.json`.

    Returns:
      The training curve (`loss`, by step), the epochs (`epoch/dev_loss`, by epoch), rows (`rows/train`), and the
      metrics on the test split (`candidate/accuracy`, `baseline/accuracy`).
    """
    training = summary["training"] or {"curve": (), "history": ()}
    points = [
        Point(prefix + name, value, int(row[clock]))
        for prefix, clock, rows in (("", "step", training["curve"]), ("epoch/", "epoch", training["history"]))
        for row in rows
        for name, value in row.items()
        if name != clock
    ]
    points += [Point(f"rows/{split}", counts["accepted"], 0) for split, counts in summary["rows"].items()]
    for model, metrics in summary["metrics"].items():
        points += [Point(f"{model}/{name}", value, 0) for name, value in (metrics or {}).items()]
    return points


def log_run(parameters: Mapping[str, str], summary: Mapping[str, Any]) -> list[str]:
    """Logs a run to MLflow, if it is configured. A failure never changes the run's outcome.

    The experiment is `MLFLOW_EXPERIMENT_NAME`, or the name of the pipeline.

    Args:
      parameters: what `list_parameters` returns.
      summary: the content of `summary.json`.

    Returns:
      A message if the run was not logged.
    """
    if not os.environ.get(URI_VARIABLE):
        return []
    if importlib.util.find_spec("mlflow") is None:
        problem = f"{URI_VARIABLE} is set, but MLflow is not installed: pip install mlflow-skinny"
    else:
        try:
            _log(parameters, summary)
            return []
        except Exception as error:  # The client raises errors of several libraries.
            problem = f"MLflow: {_describe(error)}"
    message = f"{problem}; this run was not logged there"
    logging.warning("%s", message)
    return [message]


def _log(parameters: Mapping[str, str], summary: Mapping[str, Any]) -> None:
    for name, value in _LIMITS.items():
        os.environ.setdefault(name, value)
    import mlflow
    from mlflow.entities import Metric, Param

    client, now_ms = mlflow.MlflowClient(), int(time.time() * 1000)
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or summary["pipeline"]
    experiment = client.get_experiment_by_name(name)
    experiment_id = experiment.experiment_id if experiment else client.create_experiment(name)
    run_id = client.create_run(experiment_id, run_name=summary["run"], tags=_list_tags(summary)).info.run_id
    for some in _divide([Param(key, value[:_MAX_CHARACTERS]) for key, value in parameters.items()], _MAX_PARAMETERS):
        client.log_batch(run_id, params=some)
    points = [Metric(_clean(point.name), point.value, now_ms, point.step) for point in list_metrics(summary)]
    for several in _divide(points, _MAX_METRICS):
        client.log_batch(run_id, metrics=several)
    if summary["report_path"]:
        client.log_artifact(run_id, summary["report_path"])
    client.set_terminated(run_id, "FINISHED" if summary["status"] in ("pushed", "not_blessed") else "FAILED")


def _list_tags(summary: Mapping[str, Any]) -> dict[str, str]:
    tags = {
        "verdict": summary["status"],
        "reason": find_reason(summary["error"], [Check(**each) for each in summary["gates"]]),
        "pushed_path": summary["pushed_path"],
        "run_folder": summary["run_folder"],
    }
    return {name: value[:_MAX_CHARACTERS] for name, value in tags.items() if value}


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield _clean(f"{prefix}{key}"), value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _clean(name: str) -> str:
    """Replaces the characters that MLflow does not allow in a name."""
    return re.sub(r"[^\w./ -]", "_", name)


def _divide(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _describe(error: Exception) -> str:
    """Returns the first line of an error, without a password in an address."""
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    return re.sub(r"//[^/@\s]+@", "//...@", first)[:_MAX_CHARACTERS]
