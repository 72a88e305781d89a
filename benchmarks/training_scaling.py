"""The effect of workers and checkpoints on the speed of whole trainings, in turn.

    python -m benchmarks.training_scaling [--shape 2x128] [--rows 5000] [--epochs 4] [--rounds 3] [--dev FILE]

Each round trains with 1 worker, with 2 (each with half of this machine's cores), and with 1 that writes a checkpoint
every few seconds; all three use the round's seed. Examples a second are the training's own figures, without the first
step, which traces the graph, and without the writing of checkpoints, whose cost shows in the total seconds.
"""

import argparse
import os
import statistics
import tempfile
from typing import Mapping, Optional, Sequence

import rich.console
import rich.table

from artifacts import model_run
from benchmarks.training import data, encoder, shapes
from benchmarks.training.trainer_process import Training, write_examples
from core.config import TrainerConfig

# New weights learn nothing at BERT's 3e-5.
_LEARNING_RATE = 1e-3

_NEVER_S, _OFTEN_S = 1e6, 5.0

# Name in the table -> settings.
_TRAININGS = {
    "1 worker": {"workers": 1, "checkpoint_seconds": _NEVER_S},
    "2 workers": {"workers": 2, "checkpoint_seconds": _NEVER_S},
    f"1 worker, a checkpoint every {_OFTEN_S:g} s": {"workers": 1, "checkpoint_seconds": _OFTEN_S},
}


def main(arguments: Optional[Sequence[str]] = None) -> None:
    """Runs the trainings and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", default="../shared/nsmc/ratings_train.txt", help="a TSV in NSMC's format")
    parser.add_argument("--dev", default="", help="rows to evaluate on (default: a tenth of the others)")
    parser.add_argument("--dev-rows", type=int, help="take the first rows only")
    parser.add_argument("--shape", type=shapes.parse_shape, default="2x128")
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    train, dev = data.train_and_dev(options.train, options.rows, options.dev, options.dev_rows)
    with tempfile.TemporaryDirectory() as folder:
        examples = os.path.join(folder, "examples")
        write_examples(examples, train, dev)
        made = encoder.prepare(train.texts, options.shape, 0, folder)
        figures: dict[str, list[model_run.TrainingFigures]] = {name: [] for name in _TRAININGS}
        for number in range(options.rounds):
            for name, keys in _TRAININGS.items():
                shared = {"epochs": options.epochs, "learning_rate": _LEARNING_RATE, "precision": "float32"}
                config = TrainerConfig(seed=number, **shared, **keys)
                training = Training(os.path.join(folder, f"{name}-{number}"), examples, made, config)
                if training.start().wait():
                    raise SystemExit(f"the training with {name} failed")
                figures[name].append(training.figures())
    rich.console.Console().print(_table(figures))


def _table(figures: Mapping[str, Sequence[model_run.TrainingFigures]]) -> rich.table.Table:
    against = "times the first (least to most)"
    table = rich.table.Table("", "examples/s", against, "seconds", against, "best dev accuracy, by seed")
    first = next(iter(figures.values()))
    for name, runs in figures.items():
        cells = []
        for figure in ("examples_per_s", "seconds"):
            values, bases = ([getattr(run, figure) for run in of] for of in (runs, first))
            ratios = [value / base for value, base in zip(values, bases, strict=True)]
            spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            cells += [f"{statistics.median(values):.0f}", spread]
        best = [max(row["dev_accuracy"] for row in run.history) for run in runs]
        table.add_row(name, *cells, "  ".join(f"{accuracy:.4f}" for accuracy in best))
    return table


if __name__ == "__main__":
    main()
