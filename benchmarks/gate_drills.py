"""Runs the bundled sample with one thing wrong with it at a time, and tells which gate stopped each run.

    python -m benchmarks.gate_drills [--only honest codec ...] [--set KEY=VALUE ...]

Every case is a whole run of `configs/sample.yaml` in one root: the honest rows are pushed first, and the others meet
that model in serving. A row is good (✓) where all checks that block belong to the gate that is meant to stop the case.
"""

import argparse
import csv
import dataclasses
import json
import os
import random
import subprocess
import sys
import tempfile
from typing import Callable, Optional, Sequence

import rich.console
import rich.table

from benchmarks.faults.runs import REPO

_SAMPLE = os.path.join(REPO, "data", "sample")
_CONFIG = os.path.join(REPO, "configs", "sample.yaml")
# Reviews of so many characters and more are the long ones: a third of the sample.
_LONG = 40

Rows = list[list[str]]


@dataclasses.dataclass(frozen=True)
class Case:
    """One thing wrong.

    Attributes:
      name: of the case.
      gate: that is meant to stop it; None where it is meant to be pushed.
      change: makes the rows of a file (header left out) from the sample's.
      settings: of the run.
    """

    name: str
    gate: Optional[str]
    change: Callable[[Rows, random.Random], Rows] = lambda rows, chance: rows
    settings: Sequence[str] = ()


def _english(rows: Rows, chance: random.Random) -> Rows:
    """Reviews of the same length and label in English words."""
    words = {
        "0": "boring awful waste weak dull bad poor never again slept script mess".split(),
        "1": "great lovely moving superb strong good fine again and again laughed script gem".split(),
    }
    made = []
    for number, text, label in rows:
        count = max(len(text) // 6, 1)
        made.append([number, " ".join(chance.choice(words[label]) for _ in range(count)), label])
    return made


def _shuffled(rows: Rows, chance: random.Random) -> Rows:
    """The same labels on other rows."""
    labels = [label for *_, label in rows]
    chance.shuffle(labels)
    return [[number, text, label] for (number, text, _), label in zip(rows, labels, strict=True)]


def _long_shuffled(rows: Rows, chance: random.Random) -> Rows:
    """The same labels on other long rows."""
    long = [index for index, (_, text, _) in enumerate(rows) if len(text) >= _LONG]
    made = list(rows)
    for index, row in zip(long, _shuffled([rows[index] for index in long], chance), strict=True):
        made[index] = row
    return made


def _one_sided(rows: Rows, chance: random.Random) -> Rows:
    """Nearly all bad reviews are gone."""
    return [row for row in rows if row[2] == "1" or chance.random() < 0.02]


_DROPS = ("accuracy.max_drop", "auc.max_drop", "recall_0.max_drop", "recall_1.max_drop", "calibration_error.max_rise")

_CASES = (
    Case("honest", None),
    Case("the codec of another file", "data", settings=("data.encoding=latin-1",)),
    Case("English rows", "data", _english),
    Case("nearly one label only", "data", _one_sided),
    # One epoch: a model that has learned shuffled labels by heart answers like sentences at random, too.
    Case("labels shuffled", "model", _shuffled, ("trainer.epochs=1",)),
    Case("labels of long reviews shuffled", "model", _long_shuffled),
    Case("served too slowly", "serving", settings=("gates.serving.max_p50_ms=0.01",)),
    Case("negations that a model should have got", "invariance", settings=("gates.invariance.max_failed.different=0",)),
    # Rows tell how sure a difference is, not how much another seed changes: that is for the margins.
    Case("honest, another seed", None, settings=("trainer.seed=5", *(f"gates.model.{m}=0.08" for m in _DROPS))),
)


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Runs the cases and prints the table; returns 1 where another gate stopped one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=[case.name for case in _CASES])
    parser.add_argument("--set", nargs="+", default=[], help="for every run")
    options = parser.parse_args(arguments)
    console = rich.console.Console(width=None if sys.stdout.isatty() else 200)
    table = rich.table.Table("", "case", "meant to stop it", "status", "blocking checks", "the first says")
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        for case in (case for case in _CASES if case.name in options.only):
            summary = _run(case, folder, options.set)
            blocking = [c for c in summary["gates"] if not c["passed"] and c["severity"] == "fail"]
            gates = {check["gate"] for check in blocking}
            good = gates == ({case.gate} if case.gate else set()) and (summary["status"] == "pushed") == (not gates)
            bad += not good
            names = ", ".join(f"{check['gate']}: {check['check']}" for check in blocking)
            reason = blocking[0]["reason"] if blocking else ""
            table.add_row("✓" if good else "✗", case.name, case.gate or "none", summary["status"], names, reason)
            console.print(f"{'✓' if good else '✗'} {case.name}: {', '.join(sorted(gates)) or 'pushed'}", markup=False)
    console.print(table)
    return int(bool(bad))


def _run(case: Case, folder: str, settings: Sequence[str]) -> dict:
    """Runs a case; returns its `summary.json`."""
    chance = random.Random(0)
    given = []
    for role in ("train", "test"):
        file = os.path.join(folder, f"{role}.tsv")
        _write(file, case.change(_read(os.path.join(_SAMPLE, f"ratings_{role}.txt")), chance))
        given.append(f"data.{role}={file}")
    root = os.path.join(folder, "runs")
    command = [sys.executable, os.path.join(REPO, "local_runner.py"), "run", "--config", _CONFIG, "--root", root]
    subprocess.run([*command, "--set", *given, *settings, *case.settings], stdout=subprocess.DEVNULL, check=False)
    with open(os.path.join(root, "sample", "summary.json"), encoding="utf-8") as stream:
        return json.load(stream)


def _read(file: str) -> Rows:
    with open(file, encoding="utf-8", newline="") as stream:
        return list(csv.reader(stream, delimiter="\t"))[1:]


def _write(file: str, rows: Rows) -> None:
    with open(file, "w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
        writer.writerows([["id", "document", "label"], *rows])


if __name__ == "__main__":
    sys.exit(main())
