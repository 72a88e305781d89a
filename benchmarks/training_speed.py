"""How fast training is: against the notebook's pipeline, against PyTorch, and against the arithmetic.

    python -m benchmarks.training_speed speed --shape 4x256 --python torch=TORCH_ENV/bin/python
    python -m benchmarks.training_speed floor --shape 4x256
    python -m benchmarks.training_speed accuracy --shape 4x256 --seeds 0 1 2

`speed`: examples a second in steady state. Every contender is a separate process that trains on the same rows with an
encoder of the same size. They train in turns of some seconds, so that all see the same noise of the machine, and are
compared round by round. First the rates at which the machine multiplies matrices are shown. Contenders: `notebook`,
`ours`, `pytorch-padded`, `pytorch-dynamic`, `pytorch-grouped`. `ours-classes` (ten), `ours-ordinal` and `ours-score`
train other tasks on the same rows. With `--table-rows 119547` the embedding table is as large as multilingual BERT's:
`ours-whole` trains all of it, `ours` the rows of the pieces that occur. The suffix `-bfloat16` selects that precision
(not for the notebook), the suffix `@LABEL` the interpreter of `--python LABEL=COMMAND`; PyTorch's contenders run under
the label `torch`. A contender whose interpreter lacks the packages is left out, with the reason. Both sets of versions:

    python -m benchmarks.training_speed speed --contenders ours ours@current --python current="COMMAND .venv/bin/python"

`floor`: the speed that the matrix products of the real tokens would allow at the measured rates, our share of it, and
a step's time by kind of operation.

`accuracy`: seconds of training until all reach the same dev accuracy, for each seed, from a pre-trained encoder; with
`--contenders ours ours-bfloat16` also what the precision costs in accuracy.

All need NSMC's training file (`--train`) and keep encoders in `--cache`. They need a quiet machine: turns cancel slow
noise, but other work on the same cores slows PyTorch's threads, which wait for each other after every operation, far
more than TensorFlow's.
"""

import argparse
import dataclasses
import os
import statistics
import sys
from typing import Any, Callable, Optional, Sequence

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np  # noqa: E402
import rich.console  # noqa: E402
import tensorflow as tf  # noqa: E402

from artifacts import encoder as encoder_artifact  # noqa: E402
from benchmarks.training import accuracy, contenders, data, encoder, floor, rates, speed, turns  # noqa: E402
from benchmarks.training.shapes import Shape, parse_shape, step_matmuls  # noqa: E402
from trainer import tokens  # noqa: E402

# Beside the repository.
DEFAULT_TRAIN = os.path.join("..", "shared", "nsmc", "ratings_train.txt")
DEFAULT_CACHE = os.path.join("build", "benchmarks")
# A turn is some ten batches of those that pad little; BERT-base does one or two a second.
TURN_S, LARGE_TURN_S = 10.0, 30.0
LARGE_HIDDEN = 512


def main(words: Optional[Sequence[str]] = None) -> int:
    """Runs a subcommand; returns the exit status, 0 also if the training file is missing."""
    arguments = _parser().parse_args(words)
    if not os.path.exists(arguments.train):
        print(f"skipped: {arguments.train}: no such file (--train takes NSMC's training file)")
        return 0
    try:
        # A file has no width; 80 columns would break the tables' lines.
        arguments.run(arguments, rich.console.Console(width=None if sys.stdout.isatty() else 120))
    except turns.ContenderError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="SUBCOMMAND")
    for add in (_add_speed, _add_floor, _add_accuracy):
        _add_common(add(commands))
    return parser


def _argument(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """Lets argparse show what is wrong with a value."""

    def parse_argument(text: str) -> Any:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return parse_argument


def _add_common(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--shape", type=_argument(parse_shape), default=Shape(4, 256), help="layers x width (default: 4x256)"
    )
    command.add_argument("--train", default=DEFAULT_TRAIN, help=f"rows to train on (default: {DEFAULT_TRAIN})")
    command.add_argument("--rows", type=int, help="take the first rows only")
    command.add_argument("--cache", default=DEFAULT_CACHE, help=f"where encoders stay (default: {DEFAULT_CACHE})")


def _add_turns(command: argparse.ArgumentParser) -> None:
    command.add_argument("--rounds", type=int, default=5, help="turns of each contender (default: 5)")
    command.add_argument("--turn-seconds", type=float, help="default: 10, or 30 where the width is above 512")


def _add_speed(commands: argparse._SubParsersAction) -> argparse.ArgumentParser:
    command = commands.add_parser("speed", help="examples a second of all contenders")
    _add_turns(command)
    _add_contenders(command, contenders.DEFAULT)
    command.add_argument(
        "--table-rows", type=int, help="rows of the embedding table, more than the vocabulary's (default: as many)"
    )
    command.set_defaults(run=_speed)
    return command


def _add_floor(commands: argparse._SubParsersAction) -> argparse.ArgumentParser:
    command = commands.add_parser("floor", help="our share of what the arithmetic allows, and what takes the rest")
    _add_turns(command)
    command.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    command.set_defaults(run=_floor)
    return command


def _add_accuracy(commands: argparse._SubParsersAction) -> argparse.ArgumentParser:
    command = commands.add_parser("accuracy", help="seconds to the same dev accuracy")
    _add_contenders(command, ("notebook", "ours"))
    command.add_argument("--dev", default="", help="rows to evaluate on (default: a tenth of the others)")
    command.add_argument("--dev-rows", type=int, help="take the first rows only")
    command.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    command.add_argument("--epochs", type=int, default=turns.Workload.epochs)
    command.add_argument("--learning-rate", type=float, default=turns.Workload.learning_rate)
    command.add_argument("--encoder", help="folder of a pre-trained encoder (default: one is made)")
    command.add_argument("--pretrain-steps", type=int, default=1000, help="of the encoder that is made")
    command.set_defaults(run=_accuracy)
    return command


def _add_contenders(command: argparse.ArgumentParser, default: Sequence[str]) -> None:
    entries = [contenders.parse_name(name) for name in default]
    command.add_argument(
        "--contenders", type=_argument(contenders.parse_name), nargs="+", default=entries, metavar="NAME"
    )
    command.add_argument(
        "--python",
        dest="pythons",
        type=_argument(_parse_python),
        action="append",
        default=[],
        metavar="LABEL=COMMAND",
        help="interpreter of the contenders with that label; torch: of PyTorch's (default: this one)",
    )


def _parse_python(text: str) -> tuple[str, str]:
    label, separator, command = text.partition("=")
    if not (label and separator and command):
        raise ValueError(f"{text!r}: should be LABEL=COMMAND, such as torch=ENV/bin/python")
    return label, command


def _speed(arguments: argparse.Namespace, console: rich.console.Console) -> None:
    entries, reasons = contenders.runnable(arguments.contenders, dict(arguments.pythons))
    for reason in reasons:
        console.print(f"left out: {reason}", markup=False)
    if not entries:
        return
    workload, lengths = _prepare(arguments, console)
    workload = dataclasses.replace(workload, table_rows=arguments.table_rows)
    _step_rates(arguments.shape, lengths, workload, console)
    measured = _measure(entries, workload, arguments, console)
    console.print(speed.table(entries, measured))


def _floor(arguments: argparse.Namespace, console: rich.console.Console) -> None:
    entry = dataclasses.replace(contenders.parse_name("ours"), precision=arguments.precision)
    workload, lengths = _prepare(arguments, console)
    rates_of_step = _step_rates(arguments.shape, lengths, workload, console)[arguments.precision]
    measured = _measure([entry], workload, arguments, console)
    floors = floor.floors(lengths, arguments.shape, rates_of_step)
    console.print(floor.floor_table(floors, statistics.median(measured[entry.name])))
    console.print(floor.trace_table(floor.trace(dataclasses.replace(workload, precision=arguments.precision))))


def _accuracy(arguments: argparse.Namespace, console: rich.console.Console) -> None:
    train, _ = data.train_and_dev(arguments.train, arguments.rows, arguments.dev, arguments.dev_rows)
    folder = arguments.encoder or encoder.prepare(
        train.texts, arguments.shape, arguments.pretrain_steps, arguments.cache
    )
    workload = turns.Workload(
        encoder=os.path.abspath(folder),
        train=os.path.abspath(arguments.train),
        rows=arguments.rows,
        dev=arguments.dev and os.path.abspath(arguments.dev),
        dev_rows=arguments.dev_rows,
        epochs=arguments.epochs,
        learning_rate=arguments.learning_rate,
    )
    trained = {
        seed: accuracy.train(
            arguments.contenders, dataclasses.replace(workload, seed=seed), dict(arguments.pythons), console
        )
        for seed in arguments.seeds
    }
    console.print(accuracy.table(trained))


def _prepare(arguments: argparse.Namespace, console: rich.console.Console) -> tuple[turns.Workload, np.ndarray]:
    """Reads the rows, makes the encoder, tokenises; returns the workload and int64[n], the rows' tokens."""
    rows = data.read_rows(arguments.train, arguments.rows)
    console.print(f"{len(rows.texts):,} rows; making an encoder {arguments.shape} where {arguments.cache} has none ...")
    # Random weights train as fast as learned ones.
    folder = os.path.abspath(encoder.prepare(rows.texts, arguments.shape, 0, arguments.cache))
    file = os.path.join(folder, "tokens.npz")
    workload = turns.Workload(encoder=folder, train=os.path.abspath(arguments.train), tokens=file, rows=arguments.rows)
    preprocess = tf.saved_model.load(encoder_artifact.preprocess_dir(folder))
    tokenised = tokens.tokenise(preprocess, rows.texts, workload.max_length)
    data.write_tokens(file, tokenised, rows.labels)
    return workload, tokenised.lengths


def _step_rates(
    shape: Shape, lengths: np.ndarray, workload: turns.Workload, console: rich.console.Console
) -> dict[str, dict[str, float]]:
    """Shows the machine's rates; returns those of big matrices and of a step's, GFLOP/s, by precision."""
    products = step_matmuls(round(float(lengths.mean()) * workload.batch_size), shape)
    measured = rates.measure([rates.BIG, *products])
    console.print(rates.table([rates.BIG, *products], measured))
    return {
        name: {"big matrices": big, "a step's own matrices": rates.step_rate(products, own)}
        for name, (big, *own) in measured.items()
    }


def _measure(
    entries: Sequence[contenders.Entry],
    workload: turns.Workload,
    arguments: argparse.Namespace,
    console: rich.console.Console,
) -> dict[str, list[float]]:
    turn_s = arguments.turn_seconds or (LARGE_TURN_S if arguments.shape.hidden > LARGE_HIDDEN else TURN_S)
    return speed.measure(entries, workload, dict(getattr(arguments, "pythons", ())), turn_s, arguments.rounds, console)


if __name__ == "__main__":
    sys.exit(main())
