"""A pipeline's folder with runs of literal summaries, for tests."""

import json
import os

import yaml

from local import history

PASSED = {"gate": "model", "check": "accuracy", "passed": True, "value": 0.9, "bound": 0.7, "severity": "fail"}


def write_run(folder, run, status=None, config=None, accuracy=None, **fields):
    """Writes the folder of a run into a pipeline's history; without a status the run has no summary."""
    path = os.path.join(folder, history.HISTORY, run)
    os.makedirs(path)
    _write(os.path.join(path, history.RUN_FILE), json.dumps({"run": run, "started": "2026-11-26T16:31:05+00:00"}))
    if config is not None:
        _write(os.path.join(path, history.CONFIG_FILE), yaml.safe_dump(config))
    if status is not None:
        candidate = None if accuracy is None else {"example_count": 100.0, "accuracy": accuracy, "auc": accuracy}
        summary = {"status": status, "started": "2026-11-26T16:31:06+00:00", "pushed_path": None, "seconds": 61.5}
        summary |= {"metrics": {"candidate": candidate, "baseline": None}, "rows": {}, "gates": [], "error": None}
        _write(os.path.join(path, "summary.json"), json.dumps({**summary, **fields}))
    return path


def check(name, passed, reason, severity="fail"):
    return {**PASSED, "check": name, "passed": passed, "reason": reason, "severity": severity}


def _write(path, text):
    with open(path, "w", encoding="utf-8") as stream:
        stream.write(text)
