"""What workers and checkpoints cost and bring: whole trainings of the same rows, in turn.

    python -m benchmarks.training_scaling [--shape 4x256] [--rows 4000] [--rounds 3]

Each round trains with 1 worker, with 2 (each with half of this machine's cores), and with 1 that writes a checkpoint
every few seconds. Examples a second are those of the training's own figures: the first step, which traces the
graph, is left out, and so is the writing of checkpoints; what that costs shows in the seconds of the whole.
"""

import argparse
import os
import statistics
import tempfile
from typing import Optional, Sequence

import rich.console
import rich.table

from benchmarks.training import data, encoder, shapes
from benchmarks.training.job import Training, write_examples
from pipeline.config import TrainerConfig

_NEVER_S, _OFTEN_S = 1e6, 5.0

# Name in the table -> what is unlike the first.
_TRAININGS = {
    "1 worker": {"workers": 1, "checkpoint_seconds": _NEVER_S},
    "2 workers": {"workers": 2, "checkpoint_seconds": _NEVER_S},
    f"1 worker, a checkpoint every {_OFTEN_S:g} s": {"workers": 1, "checkpoint_seconds": _OFTEN_S},
}


def main(arguments: Optional[Sequence[str]] = None) -> None:
    """Runs the trainings and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", default="../shared/nsmc/ratings_train.txt", help="a TSV in NSMC's format")
    parser.add_argument("--shape", type=shapes.parse_shape, default="4x256")
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    train, dev = data.split_rows(data.read_rows(options.train, options.rows))
    with tempfile.TemporaryDirectory() as folder:
        examples = os.path.join(folder, "examples")
        write_examples(examples, train, dev)
        made = encoder.prepare(train.texts, options.shape, 0, folder)
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in _TRAININGS}
        for number in range(options.rounds):
            for name, keys in _TRAININGS.items():
                config = TrainerConfig(epochs=2, precision="float32", **keys)
                training = Training(os.path.join(folder, f"{name}-{number}"), examples, made, config)
                if training.start().wait():
                    raise SystemExit(f"the training with {name} failed")
                figures = training.figures()
                found[name].append((figures.examples_per_s, figures.seconds))
    rich.console.Console().print(_table(found))


def _table(found: dict[str, list[tuple[float, float]]]) -> rich.table.Table:
    table = rich.table.Table("", "examples/s", "times the first (least to most)", "seconds", "times the first")
    first = next(iter(found.values()))
    for name, runs in found.items():
        cells = []
        for kind in (0, 1):
            ratios = [run[kind] / base[kind] for run, base in zip(runs, first, strict=True)]
            median = statistics.median(run[kind] for run in runs)
            cells += [f"{median:.0f}", f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"]
        table.add_row(name, *cells)
    return table


if __name__ == "__main__":
    main()
