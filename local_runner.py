#!/usr/bin/env python3
"""Runs the pipeline on this machine, asks its models, returns to an earlier one, lists encoders.

Exit status: 0 did what was asked; 1 failed; 2 usage, configuration or input that the user must mend;
3 the candidate was not blessed, nothing pushed; 130 interrupted (the same command goes on).
"""

import argparse
import os
import sys
import warnings
from typing import Optional, Sequence

# Before the first TensorFlow import anywhere in this process: TFX, TFMA and Hub want Keras 2.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

import rich.console  # noqa: E402
import rich.markup  # noqa: E402

from core import command_line, config, escape, gpu, installation  # noqa: E402
from local import session  # noqa: E402

DEFAULT_CONFIG = os.path.join(installation.CONFIGS, "sample.yaml")
CONFIG_HELP = "YAML, or the name of a bundled configuration (default: sample)"
COMMANDS = ("run", "predict", "encoders", "rollback")


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Runs one command; returns the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or (words[0].startswith("-") and words[0] not in ("-h", "--help")):
        words.insert(0, "run")
    return command_line.call(_parser().parse_args(words), "interrupted; the same command goes on from what is complete")


def run(options: argparse.Namespace) -> int:
    """`run`: TSV in, gated model in serving out."""
    workers = [] if options.workers is None else [f"trainer.workers={options.workers}"]
    settings = config.load_config(options.config, [*options.set, *workers])
    folder = os.path.join(os.path.abspath(options.root), settings.name)
    with session.locked(folder), session.output(folder, options.verbose) as screen:
        console = rich.console.Console(file=screen)
        if not options.verbose:
            console.print(
                f"[bold]{settings.name}[/] log: {rich.markup.escape(escape.line(folder))}/{session.LOG_FILE}",
                soft_wrap=True,
            )
        with console.status("loading TensorFlow and TFX"):
            # TensorFlow looks for CUDA's libraries when it is imported, and never again.
            gpu.load_libraries()
            from local import run as local  # Seconds of imports: after usage errors, and into the log.
        return local.run(settings, folder, console)


def predict(options: argparse.Namespace) -> int:
    """`predict`: sentences or a TSV in, labels and probabilities out."""
    _hush_libraries()
    from local import prediction

    model = prediction.load_model(options.model, options.root)
    if options.file:
        return prediction.predict_file(model, options.file, options.out, options.json)
    return prediction.predict_sentences(model, options.sentences, options.json)


def encoders(options: argparse.Namespace) -> int:
    """`encoders`: the catalogue."""
    _hush_libraries()
    from components.hub_encoder import catalogue

    rich.console.Console().print(catalogue.table())
    return 0


def rollback(options: argparse.Namespace) -> int:
    """`rollback`: an earlier model in serving again, or a table of the versions there are."""
    _hush_libraries()
    from local import serving

    serving_dir = options.serving or serving.find(options.root, options.config)
    console = rich.console.Console()
    if options.list:
        serving.show(serving_dir, console)
    else:
        serving.roll_back(serving_dir, options.to, console)
    return 0


def _hush_libraries() -> None:
    """What libraries say at import of missing GPUs and of their own future is no answer."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.simplefilter("ignore")


def _parser() -> argparse.ArgumentParser:
    parser = command_line.make_parser(installation.program("local_runner.py"), __doc__)
    commands = parser.add_subparsers(required=True, metavar="|".join(COMMANDS))
    root = argparse.ArgumentParser(add_help=False)
    root.add_argument("--root", metavar="DIR", default="runs", help="the run root (default: runs)")

    command = commands.add_parser("run", parents=[root], help="run the pipeline (the default command)")
    command.add_argument(
        "--config", metavar="FILE", type=installation.find_config, default=DEFAULT_CONFIG, help=CONFIG_HELP
    )
    command.add_argument(
        "--set",
        metavar="KEY=VALUE",
        nargs="+",
        action="extend",
        default=[],
        help="change a value of the configuration, such as trainer.epochs=3",
    )
    command.add_argument("--workers", metavar="N", help="processes that train together: trainer.workers")
    command.add_argument("--verbose", action="store_true", help="show what TensorFlow, Beam and TFX say")
    command.set_defaults(command=run)

    command = commands.add_parser("predict", parents=[root], help="ask a model")
    command.add_argument("sentences", metavar="SENTENCE", nargs="*", help="default: lines of the standard input")
    command.add_argument("--file", metavar="TSV", help="score the rows of a file instead")
    command.add_argument("--out", metavar="TSV", help="where to write them (default: the standard output)")
    command.add_argument("--model", metavar="DIR", help="a model's folder (default: the newest pushed one)")
    command.add_argument("--json", action="store_true", help="one JSON object a line")
    command.set_defaults(command=predict)

    command = commands.add_parser("encoders", help="list the encoders that have a name")
    command.set_defaults(command=encoders)

    command = commands.add_parser("rollback", parents=[root], help="put an earlier model in serving again")
    where = command.add_mutually_exclusive_group()
    where.add_argument(
        "--config",
        metavar="FILE",
        type=installation.find_config,
        help="the job whose model it is (default: the one under --root)",
    )
    where.add_argument("--serving", metavar="DIR", help="the serving folder itself")
    what = command.add_mutually_exclusive_group()
    what.add_argument("--to", metavar="VERSION", type=int, help="default: the last that was not rolled back itself")
    what.add_argument("--list", action="store_true", help="show the versions there are, and change nothing")
    command.set_defaults(command=rollback)
    return parser


if __name__ == "__main__":
    sys.exit(main())
