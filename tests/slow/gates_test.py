"""The bundled sample with one fault at a time: only the gate meant for that fault blocks the push.

    .venv/bin/python -m pytest -m slow tests/slow/gates_test.py

Every case is a whole run of `configs/sample.yaml` in one root. The unchanged rows are pushed first, and the candidates
of the other cases are compared with that model.
"""

import csv
import json
import os
import random
import subprocess
import sys

import pytest

from tests.slow.runs import REPO

pytestmark = pytest.mark.slow

# A third of the sample's reviews have this many characters or more.
_LONG = 40

Rows = list[list[str]]


def _english(rows: Rows, generator: random.Random) -> Rows:
    """Replaces reviews by English words of the same length and label."""
    words = {
        "0": "boring awful waste weak dull bad poor never again slept script mess".split(),
        "1": "great lovely moving superb strong good fine again and again laughed script gem".split(),
    }
    changed = []
    for number, text, label in rows:
        count = max(len(text) // 6, 1)
        changed.append([number, " ".join(generator.choice(words[label]) for _ in range(count)), label])
    return changed


def _shuffled(rows: Rows, generator: random.Random) -> Rows:
    """Shuffles the labels of all rows."""
    labels = [label for *_, label in rows]
    generator.shuffle(labels)
    return [[number, text, label] for (number, text, _), label in zip(rows, labels, strict=True)]


def _long_shuffled(rows: Rows, generator: random.Random) -> Rows:
    """Shuffles the labels of the long rows."""
    long = [index for index, (_, text, _) in enumerate(rows) if len(text) >= _LONG]
    changed = list(rows)
    for index, row in zip(long, _shuffled([rows[index] for index in long], generator), strict=True):
        changed[index] = row
    return changed


def _one_sided(rows: Rows, generator: random.Random) -> Rows:
    """Removes nearly all bad reviews."""
    return [row for row in rows if row[2] == "1" or generator.random() < 0.02]


_DROPS = ("accuracy.max_drop", "auc.max_drop", "recall_0.max_drop", "recall_1.max_drop", "calibration_error.max_rise")

# Name -> the gate that should block (None: pushed), the change of the rows of each file, the settings.
CASES = {
    "the encoding of another file": ("data", None, ("data.encoding=latin-1",)),
    "English rows": ("data", _english, ()),
    "nearly one label only": ("data", _one_sided, ()),
    # One epoch: a model that has memorised shuffled labels also changes its answer at random on similar sentences.
    "labels shuffled": ("model", _shuffled, ("trainer.epochs=1",)),
    "labels of long reviews shuffled": ("model", _long_shuffled, ()),
    "served too slowly": ("serving", None, ("gates.serving.max_p50_ms=0.01",)),
    "negations that change the answer": ("invariance", None, ("gates.invariance.max_failed.different=0",)),
    # The margins cover the difference between seeds, which the number of rows does not predict.
    "unchanged, another seed": (None, None, ("trainer.seed=5", *(f"gates.model.{m}=0.08" for m in _DROPS))),
}


@pytest.fixture(scope="module", name="root")
def _root(tmp_path_factory):
    """A run root with a model of the unchanged rows in serving."""
    folder = tmp_path_factory.mktemp("gates")
    blocking, status = run(folder, None, ())
    assert (blocking, status) == ([], "pushed")
    return folder


@pytest.mark.parametrize("case", CASES)
def test_only_the_gate_meant_for_the_fault_blocks(root, case):
    gate, change, settings = CASES[case]
    blocking, status = run(root, change, settings)
    assert {check["gate"] for check in blocking} == ({gate} if gate else set()), blocking
    assert (status == "pushed") == (gate is None)


def run(folder, change, settings):
    """Runs the sample with changed rows; returns the checks that block and the run's status."""
    generator, overrides = random.Random(0), []
    for role in ("train", "test"):
        rows = read(os.path.join(REPO, "data", "sample", f"ratings_{role}.txt"))
        write(folder / f"{role}.tsv", change(rows, generator) if change else rows)
        overrides.append(f"data.{role}={folder / role}.tsv")
    command = [sys.executable, os.path.join(REPO, "local_runner.py"), "run", "--root", str(folder / "runs")]
    command += ["--config", os.path.join(REPO, "configs", "sample.yaml"), "--set", *overrides, *settings]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    summary = json.loads(
        (folder / "runs" / "sample" / "history" / "latest" / "summary.json").read_text(encoding="utf-8")
    )
    assert done.returncode == summary["exit_status"], done.stdout
    blocking = [check for check in summary["gates"] if not check["passed"] and check["severity"] == "fail"]
    return blocking, summary["status"]


def read(file):
    with open(file, encoding="utf-8", newline="") as stream:
        return list(csv.reader(stream, delimiter="\t"))[1:]


def write(file, rows):
    with open(file, "w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
        writer.writerows([["id", "document", "label"], *rows])
