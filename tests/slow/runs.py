"""Whole runs of a small pipeline in processes, for tests that disturb them."""

import contextlib
import csv
import dataclasses
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from typing import Any, Optional, Sequence

REPO = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# A run takes half a minute on two cores, mostly for imports.
_CONFIG = """
name: drill
data: {train: train.tsv, test: test.tsv}
encoder:
  pretrain: {vocabulary: 300, layers: 1, hidden: 16, heads: 2, steps: 40, max_length: 32}
trainer: {epochs: 8, batch_size: 8, learning_rate: 0.01, max_length: 32, checkpoint_seconds: 0.5}
serving: {dir: serving}
# Any model passes: these tests are not about its quality.
gates:
  model:
    accuracy: {min: 0, max_drop: 1}
    auc: {min: 0, max_drop: 1}
    recall_0: {min: 0, max_drop: 1}
    recall_1: {min: 0, max_drop: 1}
    calibration_error: {max: 1, max_rise: 1}
  slices: {default: {min: 0, max_drop: 1}}
"""
_TIMEOUT_S = 600.0
_FINISHED = re.compile(r"^[✓✗] (\w+)", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class RunResult:
    """A finished run.

    Attributes:
      status: exit status; negative if it was killed by a signal.
      output: both streams.
    """

    status: int
    output: str

    @property
    def nodes(self) -> list[str]:
        """The components that finished, in order."""
        return _FINISHED.findall(self.output)

    @property
    def cached(self) -> set[str]:
        """The components whose outputs came from the cache."""
        return {line.split()[1] for line in self.output.splitlines() if line.endswith("cached")}


class Running:
    """A run in progress; a thread reads its output, so that a full pipe never blocks it."""

    def __init__(self, command: Sequence[str]):
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "500"},
            encoding="utf-8",
            # A shell starts background processes with Ctrl-C ignored, which the run would inherit.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self._lines.append(line)

    def wait_for(self, node: Optional[str]) -> None:
        """Waits until a component has finished (None: until the first output) or the run is over."""
        while self.process.poll() is None:
            output = "".join(self._lines)
            if (node in _FINISHED.findall(output)) if node else output:
                return
            time.sleep(0.02)

    def wait(self, seconds: float) -> None:
        """Waits for some seconds, at most until the run is over."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)

    def kill(self, sent: signal.Signals = signal.SIGKILL) -> RunResult:
        """Sends a signal to the run's process, not to its children."""
        if self.process.poll() is None:
            self.process.send_signal(sent)
        return self.end()

    def end(self) -> RunResult:
        """Waits until the run is over."""
        status = self.process.wait(_TIMEOUT_S)
        self._reader.join(_TIMEOUT_S)
        return RunResult(status, "".join(self._lines))


class Place:
    """A folder with a job: a configuration, rows, a run root."""

    def __init__(self, folder: str, root: Optional[str] = None):
        """Writes the job.

        Args:
          folder: new or empty.
          root: the run root, default: `runs` in the folder.
        """
        self.folder = folder
        self.root = root or os.path.join(folder, "runs")
        self.config = os.path.join(folder, "drill.yaml")
        self.train, self.test = (os.path.join(folder, name) for name in ("train.tsv", "test.tsv"))
        os.makedirs(folder, exist_ok=True)
        with open(self.config, "w", encoding="utf-8") as stream:
            stream.write(_CONFIG)
        write_reviews(self.train, 400, seed=1)
        write_reviews(self.test, 80, seed=2)

    @property
    def run_folder(self) -> str:
        """The pipeline's folder in the root."""
        return os.path.join(self.root, "drill")

    @property
    def history(self) -> str:
        """The folder of the runs."""
        return os.path.join(self.run_folder, "history")

    def runs(self) -> list[str]:
        """The ids of the runs, oldest first."""
        return sorted(name for name in os.listdir(self.history) if name[0].isdecimal())

    @property
    def database(self) -> str:
        """The metadata store's file."""
        return os.path.join(self.run_folder, "metadata.sqlite")

    @property
    def serving(self) -> str:
        """The serving folder."""
        return os.path.join(self.folder, "serving")

    def versions(self) -> list[str]:
        """The versions in serving, oldest first."""
        names = os.listdir(self.serving) if os.path.isdir(self.serving) else []
        return sorted((name for name in names if name.isdecimal()), key=int)

    def start(self, *settings: str) -> Running:
        """Starts a run with settings after `--set`."""
        words = [sys.executable, os.path.join(REPO, "local_runner.py"), "run", "--config", self.config]
        return Running([*words, "--root", self.root, *(["--set", *settings] if settings else [])])

    def run(self, *settings: str) -> RunResult:
        """Runs the job until it finishes."""
        return self.start(*settings).end()

    def summary(self) -> dict[str, Any]:
        """The `summary.json` of the newest run."""
        with open(os.path.join(self.history, self.runs()[-1], "summary.json"), encoding="utf-8") as stream:
            return json.load(stream)

    def output(self, node: str, name: str) -> str:
        """The newest output folder of a component."""
        parent = os.path.join(self.run_folder, "artifacts", node, name)
        return os.path.join(parent, max((n for n in os.listdir(parent) if n.isdecimal()), key=int))


def write_reviews(path: str, count: int, seed: int) -> None:
    """Writes reviews whose labels a tiny model can learn."""
    chance = random.Random(seed)
    with open(path, "w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
        writer.writerow(["id", "document", "label"])
        for number in range(count):
            word = chance.choice(["재미있다", "최고다"] if number % 2 else ["지루하다", "별로다"])
            subject = chance.choice(["정말", "이 영화", "배우들이"])
            # Seeds below 14 have no text in common, and the last digit does not depend on the label.
            writer.writerow([f"{seed}{number}", f"{subject} {word} {14 * number + seed}", number % 2])
