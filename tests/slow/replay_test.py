"""The compiled pipeline, replayed in every layout, pushes the model that `local_runner.py` pushes.

.venv/bin/python -m pytest -m slow tests/slow/replay_test.py
"""

import json
import os
import subprocess
import sys

import pytest
import yaml

from cluster.replay import layouts
from tests.slow.runs import REPO

pytestmark = pytest.mark.slow

SAMPLE = os.path.join(REPO, "data", "sample")
TRAIN, TEST = (os.path.join(SAMPLE, f"ratings_{role}.txt") for role in ("train", "test"))
ROWS = 2000

# The test compares pipelines, not models, so the encoder is small, and any model meets the bounds.
CONFIG = {
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
CLUSTER = {
    "serving": {"dir": "/mnt/reviews/serving"},
    "kubeflow": {
        "image": "registry.example.com/reviews:1",
        "volumes": [{"claim": "reviews", "path": "/mnt/reviews"}],
        "work_dir": "/mnt/reviews/state",
    },
}


@pytest.fixture(scope="module", name="folder")
def _folder(tmp_path_factory):
    """A folder with the compiled pipeline; parameters set the data of each replay."""
    folder = tmp_path_factory.mktemp("replay")
    data = {"train": "https://example.com/train.txt", "test": "https://example.com/test.txt", "sample_size": ROWS}
    (folder / "cluster.yaml").write_text(yaml.safe_dump({**CONFIG, **CLUSTER, "data": data}))
    arguments = ("compile", "--config", folder / "cluster.yaml", "--output", folder / "pipeline.yaml")
    assert call("kubeflow_runner.py", *arguments) == 0
    return folder


@pytest.fixture(scope="module", name="expected")
def _expected(folder):
    """The metrics of the same rows, seed and settings through `local_runner.py`."""
    data = {"train": TRAIN, "test": TEST, "sample_size": ROWS}
    (folder / "local.yaml").write_text(yaml.safe_dump({**CONFIG, "data": data}))
    assert call("local_runner.py", "run", "--config", folder / "local.yaml", "--root", folder / "local") == 0
    summary = json.loads((folder / "local" / CONFIG["name"] / "history" / "latest" / "summary.json").read_text())
    # Beam sums in a different order each time.
    return pytest.approx(summary["metrics"]["candidate"], rel=1e-6)


@pytest.mark.parametrize("layout", layouts.LAYOUTS)
def test_every_layout_gives_the_metrics_of_the_local_run_and_then_compares_with_them(folder, expected, layout):
    status, summary = replay(folder, layout, TRAIN)
    assert (status, summary["metrics"]["candidate"]) == (0, expected), summary["error"]
    if layout == list(layouts.LAYOUTS)[-1]:
        status, summary = replay(folder, layout, TRAIN, "epochs=8")
        assert (status, summary["metrics"]["baseline"]) == (0, expected), summary["error"]


def test_the_data_gate_stops_reviews_in_english(folder):
    status, summary = replay(folder, list(layouts.LAYOUTS)[-1], write_english(folder / "english.tsv"))
    assert status == 2
    assert {check["gate"] for check in summary["gates"] if not check["passed"]} == {"data"}


def replay(folder, layout, train, *parameters):
    """Replays the pipeline; returns the exit status and the run's summary."""
    root = folder / f"replay-{layout}"
    arguments = ("replay", folder / "pipeline.yaml", "--root", root, "--layout", layout)
    before = set(root.glob("runs/*"))
    status = call("kubeflow_runner.py", *arguments, "--param", f"train={train}", f"test={TEST}", *parameters)
    (record,) = set(root.glob("runs/*")) - before
    run_id = json.loads(record.read_text())["run_id"]
    return status, json.loads((root / "volumes/reviews/state/runs" / run_id / "summary.json").read_text())


def write_english(path):
    """Writes the training rows with the same labels and every review in English words."""
    with open(TRAIN, encoding="utf-8") as source, open(path, "w", encoding="utf-8") as target:
        target.write(next(source))
        for index, line in enumerate(source):
            number, *_, label = line.rstrip("\n").split("\t")
            words = "boring awful waste dull bad poor" if label == "0" else "great lovely moving superb good fine"
            target.write(f"{number}\t{' '.join(words.split()[: index % 6 + 1])} {index}\t{label}\n")
    return path


def call(runner, *arguments):
    return subprocess.run([sys.executable, os.path.join(REPO, runner), *map(str, arguments)], cwd=REPO).returncode
