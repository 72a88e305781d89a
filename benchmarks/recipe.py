"""Dev accuracy of the settings of `trainer`, over seeds.

    python -m benchmarks.recipe ENCODER --train TSV --base epochs=3,learning_rate=1e-4 --try dropout=0.2 --seeds 0 1 2

Each training is a process of its own, and one runs at a time. The first row of the table is the base alone; the
others are compared with it seed by seed. All have the Trainer's own split of the file into train and dev, unless
`--dev` names a file. The accuracy on `--test` is that of the exported model; choose on dev, and look at it once.
"""

import argparse
import dataclasses
import json
import multiprocessing
import os
import statistics
import tempfile
from typing import Any, Mapping, Optional, Sequence

import numpy as np
import rich.console
import rich.table
import tensorflow as tf
import tensorflow_text  # noqa: F401  Registers the ops of exported models.

from benchmarks.training import data
from benchmarks.training.trainer_process import Training, write_examples
from core.config import TrainerConfig
from trainer import run

_TEST_BATCH = 64


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The result of one training.

    Attributes:
      accuracy: the best epoch's on dev.
      loss: the best epoch's on dev.
      epoch: the best epoch, from 1.
      seconds: of the whole training.
      test: accuracy on the test rows; None without them.
    """

    accuracy: float
    loss: float
    epoch: int
    seconds: float
    test: Optional[float] = None


def parse_settings(text: str) -> dict[str, Any]:
    """Parses settings of `trainer`: `epochs=3,learning_rate=1e-4` -> their values; an empty text is none.

    Raises:
      ValueError: a setting or its value is unknown.
    """
    pairs = dict(pair.partition("=")[::2] for pair in text.split(",") if pair)
    config = TrainerConfig.model_validate(pairs)
    return {name: getattr(config, name) for name in pairs}


def compare(values: Sequence[float], base: Sequence[float]) -> str:
    """Formats the mean difference of values of the same seeds in points, with its standard error if it has one."""
    differences = [100.0 * (value - other) for value, other in zip(values, base, strict=True)]
    mean = f"{statistics.mean(differences):+.2f}"
    return f"{mean} ± {statistics.stdev(differences) / len(differences) ** 0.5:.2f}" if len(differences) > 1 else mean


def make_table(outcomes: Mapping[str, Sequence[Outcome]]) -> rich.table.Table:
    """Makes the table of the outcomes of each setting by seed; the first setting, without a name, is the base."""
    table = rich.table.Table("settings", "dev accuracy of each seed", "mean", "spread", "against the base")
    for name in ("dev loss", "best epochs", "seconds", "test"):
        table.add_column(name)
    base = [one.accuracy for one in next(iter(outcomes.values()))]
    for settings, of_seeds in outcomes.items():
        accuracies = [one.accuracy for one in of_seeds]
        tests = [one.test for one in of_seeds if one.test is not None]
        table.add_row(
            settings or "base",
            " ".join(f"{100 * accuracy:.2f}" for accuracy in accuracies),
            _mean(accuracies),
            f"{100 * statistics.stdev(accuracies):.2f}" if len(accuracies) > 1 else "",
            compare(accuracies, base) if settings else "",
            f"{statistics.mean(one.loss for one in of_seeds):.4f}",
            " ".join(str(one.epoch) for one in of_seeds),
            f"{statistics.mean(one.seconds for one in of_seeds):.0f}",
            _mean(tests) if tests else "",
        )
    return table


def _mean(shares: Sequence[float]) -> str:
    return f"{100 * statistics.mean(shares):.2f}"


def train(encoder: str, examples: str, config: TrainerConfig, test: Optional[data.Rows]) -> Outcome:
    """Trains and returns the outcome.

    Args:
      encoder: its folder.
      examples: folder of the rows, from `write_examples`.
      config: how to train.
      test: rows to test the exported model on.
    """
    with tempfile.TemporaryDirectory() as folder:
        training = Training(folder, examples, encoder, config)
        run.run_fn(training.job)
        figures = training.figures()
        best = figures.history[figures.best_epoch - 1]
        tested = None if test is None else _accuracy(training.model, test)
        return Outcome(best["dev_accuracy"], best["dev_loss"], figures.best_epoch, figures.seconds, tested)


def _accuracy(model: str, rows: data.Rows) -> float:
    loaded = tf.saved_model.load(model)
    batches = [rows.texts[start : start + _TEST_BATCH] for start in range(0, len(rows.texts), _TEST_BATCH)]
    logits = np.concatenate([loaded(tf.constant(texts)).numpy()[:, 0] for texts in batches])
    return float(np.mean((logits > 0.0) == (rows.labels == 1)))


def main(arguments: Optional[Sequence[str]] = None) -> None:
    """Runs the trainings and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("encoder", help="folder with preprocess/, encoder/ and encoder.json")
    parser.add_argument("--train", required=True, help="TSV in NSMC's format")
    parser.add_argument("--dev", default="", help="TSV; default: a tenth of the training rows")
    parser.add_argument("--test", help="TSV")
    parser.add_argument("--base", default="", help="settings of all trainings")
    parser.add_argument("--try", dest="tried", nargs="*", default=[], help="settings to compare with the base")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--results", help="file of finished trainings of this encoder on these rows, which are not repeated"
    )
    options = parser.parse_args(arguments)
    base, test = parse_settings(options.base), data.read_rows(options.test) if options.test else None
    console, results = rich.console.Console(), _read_results(options.results)
    outcomes: dict[str, list[Outcome]] = {settings: [] for settings in ("", *options.tried)}
    # Each process starts with the imports done, which take as long as an epoch of a small encoder.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.recipe"])
    with tempfile.TemporaryDirectory() as folder, context.Pool(1, maxtasksperchild=1) as processes:
        examples = os.path.join(folder, "examples")
        write_examples(examples, *data.train_and_dev(options.train, None, options.dev, None))
        for seed in options.seeds:
            for settings in outcomes:
                config = TrainerConfig(**{**base, **parse_settings(settings), "seed": seed})
                key = config.model_dump_json()
                if key not in results:
                    results[key] = processes.apply(train, (options.encoder, examples, config, test))
                    _append_result(options.results, key, results[key])
                outcomes[settings].append(results[key])
                console.print(f"seed {seed}, {settings or 'base'}: {results[key]}")
    console.print(make_table(outcomes))


def _read_results(file: Optional[str]) -> dict[str, Outcome]:
    if not file or not os.path.exists(file):
        return {}
    with open(file, encoding="utf-8") as lines:
        return {key: Outcome(**outcome) for key, outcome in map(json.loads, lines)}


def _append_result(file: Optional[str], key: str, outcome: Outcome) -> None:
    if file:
        with open(file, "a", encoding="utf-8") as stream:
            stream.write(json.dumps([key, dataclasses.asdict(outcome)]) + "\n")


if __name__ == "__main__":
    main()
