"""Kills a training at random moments, again and again, and compares its end with one that was left alone.

    python -m benchmarks.kill_drills [--workers 2] [--kills 10] [--seed 0]

A row is an attempt: what was killed (the training's process, or with two workers one of them), after how many
seconds, the newest checkpoint then on disk, and the error that is told. Every fourth kill is some time after the
start, most likely before the first step; the others are some time after the first checkpoint of that attempt. The
last attempt is left alone; below stand its result and that of a training that was never killed.
"""

import argparse
import os
import random
import signal
import subprocess
import tempfile
import time
from typing import Optional, Sequence

import numpy as np
import rich.console
import rich.table

from benchmarks.training import data, encoder, shapes
from benchmarks.training.job import Training, write_examples
from core.config import TrainerConfig

# Of a kill, after the start or after a checkpoint; a training writes one a second here.
_LATEST_S = 5.0


def main(arguments: Optional[Sequence[str]] = None) -> None:
    """Runs the drills and prints the table."""
    options = _parser().parse_args(arguments)
    console = rich.console.Console()
    generator = random.Random(options.seed)
    train, dev = data.split_rows(data.read_rows(options.train, options.rows))
    with tempfile.TemporaryDirectory() as folder:
        examples = os.path.join(folder, "examples")
        write_examples(examples, train, dev)
        made = encoder.prepare(train.texts, shapes.parse_shape("2x128"), 0, folder)
        config = TrainerConfig(
            epochs=options.epochs,
            learning_rate=1e-3,
            workers=options.workers,
            precision="float32",
            checkpoint_seconds=1,
        )
        alone = Training(os.path.join(folder, "alone"), examples, made, config)
        if alone.start().wait():
            raise SystemExit("the training that was left alone failed")
        drilled = Training(os.path.join(folder, "drilled"), examples, made, config)
        table = rich.table.Table("attempt", "killed", "after s", "checkpoint at step", "what was told")
        for attempt in range(options.kills):
            table.add_row(str(attempt + 1), *_drill(drilled, options.workers, attempt % 4 == 3, generator))
        ended = drilled.start().wait()
        table.add_row("last", "nothing", "", "", f"exit status {ended}")
        console.print(table)
        _compare(console, alone, drilled)


def _drill(training: Training, workers: int, early: bool, generator: random.Random) -> list[str]:
    """Starts an attempt and kills it, or one of its workers, at a random moment."""
    victim, before, started = generator.randrange(workers), training.last_checkpoint(), time.monotonic()
    with tempfile.TemporaryFile() as output:
        process = training.start(output)
        while not early and process.poll() is None and training.last_checkpoint() == before:
            time.sleep(0.05)
        time.sleep(generator.uniform(0.0, _LATEST_S))
        after_s = time.monotonic() - started
        if process.poll() is not None:
            raise SystemExit(
                f"the training was over before it could be killed; give it more --epochs: {process.wait()}"
            )
        pid = process.pid if workers == 1 else _worker(process.pid, victim)
        checkpoint = training.last_checkpoint()
        os.kill(pid or process.pid, signal.SIGKILL)
        process.wait()
        output.seek(0)
        told = (output.read().decode(errors="replace").strip().splitlines() or [""])[-1]
    killed = f"worker {victim}" if workers > 1 and pid else "the process"
    return [killed, f"{after_s:.1f}", str(checkpoint), told.split("; its log")[0][-90:] if workers > 1 and pid else ""]


def _worker(parent: int, index: int) -> Optional[int]:
    """Returns the process of a local worker; None where it has not been started yet."""
    listed = subprocess.run(["ps", "--ppid", str(parent), "-o", "pid="], capture_output=True, text=True)
    for pid in map(int, listed.stdout.split()):
        with open(f"/proc/{pid}/environ", "rb") as stream:
            if f'"index": {index}'.encode() in stream.read():
                return pid
    return None


def _compare(console: rich.console.Console, alone: Training, drilled: Training) -> None:
    table = rich.table.Table(
        "epoch", "loss, left alone", "loss, killed", "dev accuracy, left alone", "dev accuracy, killed"
    )
    for one, other in zip(alone.figures().history, drilled.figures().history, strict=True):
        names = [row[name] for name in ("loss", "dev_accuracy") for row in (one, other)]
        table.add_row(str(one["epoch"]), *(f"{value:.10f}" for value in names))
    console.print(table)
    logits = [np.array(training.answers().outputs["logit"]) for training in (alone, drilled)]
    console.print(f"largest difference of {len(logits[0])} logits: {np.abs(logits[0] - logits[1]).max():g}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", default="../shared/nsmc/ratings_train.txt", help="a TSV in NSMC's format")
    parser.add_argument("--rows", type=int, default=12000)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    return parser


if __name__ == "__main__":
    main()
