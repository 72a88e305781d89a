"""Replays the compiled pipeline on rows of NSMC, in every layout, and compares it with `local_runner.py`.

    python -m benchmarks.replay_drills [--layouts 2.3 2.5 2.15] [--train FILE] [--test FILE] [--rows 2000]

The same rows, seed and settings go through `local_runner.py` first. Then each layout has a replay in a root of its own,
which must push a model of the same metrics (to a part in a million: Beam adds in another order each time); the last
root has a second one, whose baseline is the first one's model, and one with reviews in English, which DataGate must
stop.
"""

import argparse
import dataclasses
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from typing import Any, Mapping, Optional, Sequence

import rich.console
import rich.table
import yaml

from cluster.replay import layouts

_REPO = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_NSMC = os.path.join(os.path.dirname(_REPO), "shared", "nsmc")

# A small encoder of the reviews' own: what is compared is the pipelines, and a minute of training will do. So are the
# bounds: what such a model has learned changes with each epoch.
_CONFIG = {
    "name": "replayed",
    "encoder": {
        "source": "pretrain",
        "pretrain": {"vocabulary": 4000, "layers": 1, "hidden": 64, "heads": 2, "steps": 200, "batch_size": 32},
    },
    "trainer": {"epochs": 10, "batch_size": 32, "learning_rate": 2.0e-3, "precision": "float32"},
    "gates": {
        "data": {"min_script_shares": {"Hangul": 0.5}, "unknown_tokens": {"max": 0.3}},
        "model": {
            **{name: {"min": 0.2, "max_drop": 0.5} for name in ("accuracy", "auc", "recall_0", "recall_1")},
            "calibration_error": {"max": 0.5, "max_rise": 0.5},
        },
        "slices": {"default": {"min": 0.2, "max_drop": 0.5}},
    },
}
_CLUSTER = {
    "serving": {"dir": "/mnt/reviews/serving"},
    "kubeflow": {
        "image": "registry.example.com/reviews:1",
        "volumes": [{"claim": "reviews", "path": "/mnt/reviews"}],
        "work_dir": "/mnt/reviews/state",
    },
}


@dataclasses.dataclass
class Row:
    """One run and what it came to."""

    run: str
    exit: int
    seconds: float
    tasks: str
    says: str
    metrics: Optional[Mapping[str, Any]]
    good: bool


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Runs all of it; returns 1 where a run went otherwise than promised."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", default=os.path.join(_NSMC, "ratings_train.txt"))
    parser.add_argument("--test", default=os.path.join(_NSMC, "ratings_test.txt"))
    parser.add_argument("--rows", type=int, default=2000, help="training rows that are drawn")
    parser.add_argument("--layouts", nargs="+", choices=list(layouts.LAYOUTS), default=list(layouts.LAYOUTS))
    options = parser.parse_args(arguments)
    console = rich.console.Console(width=None if sys.stdout.isatty() else 180)
    with tempfile.TemporaryDirectory() as folder:
        rows = _run_all(folder, options, console)
    console.print(_table(rows))
    return int(not all(row.good for row in rows))


def _run_all(folder: str, options: argparse.Namespace, console: rich.console.Console) -> list[Row]:
    rows: list[Row] = []

    def add(row: Row) -> None:
        rows.append(row)
        console.print(f"{'✓' if row.good else '✗'} {row.run}: exit {row.exit}, {row.seconds:.0f} s", markup=False)

    data = {"train": options.train, "test": options.test, "sample_size": options.rows}
    local = _local(folder, data)
    add(local)
    file = _compiled(folder, options.rows)
    given = [f"train={options.train}", f"test={options.test}"]
    for layout in options.layouts:
        root = os.path.join(folder, f"replay-{layout}")
        add(_replay(f"layout {layout}", file, root, layout, given, 0, local.metrics))
    add(_replay("a second one, 8 epochs", file, root, layout, [*given, "epochs=8"], 0, baseline=local.metrics))
    english = _english(folder, options.train)
    add(_replay("reviews in English", file, root, layout, [f"train={english}", given[1]], 2))
    return rows


def _local(folder: str, data: Mapping[str, Any]) -> Row:
    config = _write(folder, "local.yaml", {**_CONFIG, "data": data})
    status, seconds, told = _call("local_runner.py", "run", "--config", config, "--root", os.path.join(folder, "local"))
    summary = _json(os.path.join(folder, "local", _CONFIG["name"], "summary.json"))
    done = [component["status"] for component in summary["components"]]
    metrics = summary["metrics"]["candidate"]
    return Row("local_runner.py", status, seconds, _counted(done), told, metrics, status == 0)


def _compiled(folder: str, rows: int) -> str:
    # Only the defaults of parameters that every replay gives.
    data = {"train": "https://example.com/train.txt", "test": "https://example.com/test.txt", "sample_size": rows}
    config = _write(folder, "cluster.yaml", {**_CONFIG, **_CLUSTER, "data": data})
    file = os.path.join(folder, "pipeline.yaml")
    status, _, told = _call("kubeflow_runner.py", "compile", "--config", config, "--output", file)
    if status:
        raise SystemExit(f"compile failed: {told}")
    return file


def _replay(
    name: str,
    file: str,
    root: str,
    layout: str,
    given: Sequence[str],
    wanted: int,
    candidate: Optional[Mapping[str, Any]] = None,
    baseline: Optional[Mapping[str, Any]] = None,
) -> Row:
    """Replays; good is the wanted exit status and, where they are given, these metrics."""
    before = _records(root)
    status, seconds, told = _call(
        "kubeflow_runner.py", "replay", file, "--root", root, "--layout", layout, "--param", *given
    )
    (path,) = _records(root) - before
    record = _json(path)
    tasks = [task["status"] for task in record["tasks"].values()]
    summary = _json(os.path.join(root, "volumes", "reviews", "state", "runs", record["run_id"], "summary.json"))
    metrics = summary["metrics"]
    good = status == wanted and all(
        wanted_metrics is None or _equal(metrics[side], wanted_metrics)
        for side, wanted_metrics in (("candidate", candidate), ("baseline", baseline))
    )
    says = summary["error"] or next(line for line in told.splitlines() if line.startswith(("pushed", "not blessed")))
    return Row(name, status, seconds, _counted(tasks), says, metrics["candidate"], good)


def _equal(found: Mapping[str, float], wanted: Mapping[str, float]) -> bool:
    return found.keys() == wanted.keys() and all(math.isclose(found[n], wanted[n], rel_tol=1e-6) for n in wanted)


def _records(root: str) -> set[str]:
    folder = os.path.join(root, "runs")
    return {os.path.join(folder, name) for name in os.listdir(folder)} if os.path.isdir(folder) else set()


def _english(folder: str, train: str) -> str:
    """The same rows and labels, every review in English words."""
    path = os.path.join(folder, "english.tsv")
    with open(train, encoding="utf-8") as source, open(path, "w", encoding="utf-8") as target:
        target.write(next(source))
        for index, line in enumerate(source):
            number, *_, label = line.rstrip("\n").split("\t")
            words = "boring awful waste dull bad poor" if label == "0" else "great lovely moving superb good fine"
            target.write(f"{number}\t{' '.join(words.split()[: index % 6 + 1])} {index}\t{label}\n")
    return path


def _call(runner: str, *arguments: str) -> tuple[int, float, str]:
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, os.path.join(_REPO, runner), *arguments], cwd=_REPO, capture_output=True, text=True
    )
    return done.returncode, time.monotonic() - started, done.stdout + done.stderr


def _write(folder: str, name: str, content: Mapping[str, Any]) -> str:
    path = os.path.join(folder, name)
    with open(path, "w", encoding="utf-8") as stream:
        yaml.safe_dump(content, stream)
    return path


def _json(path: str) -> dict[str, Any]:
    with open(path, encoding="utf-8") as stream:
        return json.load(stream)


def _counted(statuses: Sequence[str]) -> str:
    return ", ".join(f"{statuses.count(status)} {status}" for status in sorted(set(statuses)))


def _table(rows: Sequence[Row]) -> rich.table.Table:
    table = rich.table.Table("", "run", "exit", "seconds", "tasks", "accuracy", "auc", "says")
    for row in rows:
        figures = [f"{row.metrics[name]:.6f}" if row.metrics else "" for name in ("accuracy", "auc")]
        mark, says = "✓" if row.good else "✗", row.says.splitlines()[-1]
        table.add_row(mark, row.run, str(row.exit), f"{row.seconds:.0f}", row.tasks, *figures, says)
    return table


if __name__ == "__main__":
    sys.exit(main())
