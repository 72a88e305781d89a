#!/usr/bin/env python3
"""Runs the pipeline on this machine, and helps before and after: init, inspect, doctor, predict, rollback, encoders.

Exit status: 0 success; 1 failure; 2 wrong usage, configuration or input; 3 candidate not blessed, nothing pushed;
130 interrupted (run the same command to resume).
"""

import argparse
import contextlib
import io
import os
import sys
import warnings
from typing import Any, Optional, Sequence

# Before the first TensorFlow import anywhere in this process: TFX, TFMA and Hub need Keras 2.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

import rich.console  # noqa: E402
import rich.markup  # noqa: E402

from core import command_line, config, escape, gpu, installation  # noqa: E402
from core.errors import UserError  # noqa: E402
from local import output_file, session  # noqa: E402

DEFAULT_CONFIG = os.path.join(installation.CONFIGS, "sample.yaml")
CONFIG_HELP = "YAML, or the name of a bundled configuration (default: sample)"
COMMANDS = ("run", "predict", "init", "inspect", "doctor", "encoders", "rollback")


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Runs one command; returns the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or (words[0].startswith("-") and words[0] not in ("-h", "--help")):
        words.insert(0, "run")
    return command_line.call(_parser().parse_args(words), "interrupted; run the same command to resume")


def run(options: argparse.Namespace) -> int:
    """`run`: trains a model, checks it and pushes it to serving."""
    workers = [] if options.workers is None else [f"trainer.workers={options.workers}"]
    settings = config.load_config(options.config, [*options.set, *workers])
    folder = os.path.join(os.path.abspath(options.root), settings.name)
    with session.lock(folder), session.redirect_output(folder, options.verbose) as screen:
        console = rich.console.Console(file=screen)
        if not options.verbose:
            console.print(
                f"[bold]{settings.name}[/] log: {rich.markup.escape(escape.line(folder))}/{session.LOG_FILE}",
                soft_wrap=True,
            )
        with console.status("loading TensorFlow and TFX"):
            # Before the import of TensorFlow, which looks for CUDA's libraries only then.
            gpu.load_libraries()
            from local import run as local  # Slow, so after usage errors; its output goes to the log.
        return local.run(settings, folder, console)


def predict(options: argparse.Namespace) -> int:
    """`predict`: labels sentences or the rows of a TSV."""
    _suppress_warnings()
    if options.file is None and options.out is not None:
        raise UserError("--out: has no effect without --file; redirect the standard output instead")
    if options.file is not None:
        output_file.check(options.file, options.out)
    from local import answers, prediction, sentences, served_model  # Slow.

    model = served_model.load(options.model, options.root)
    form = answers.Format(options.json, options.scores)
    if options.file is None:
        return sentences.predict(model, options.sentences, form, options.encoding or "utf-8")
    given = {name: value for name in answers.OPTIONS if (value := getattr(options, name)) is not None}
    return prediction.predict_file(model, options.file, options.out, form, given)


def init(options: argparse.Namespace) -> int:
    """`init`: writes a configuration for a table."""
    from local import starter

    return starter.init(options.file, options.out, rich.console.Console())


def inspect(options: argparse.Namespace) -> int:
    """`inspect`: shows the tokens of a sentence, or the rows of a configuration's files."""
    _suppress_warnings()
    # With an encoder, `data` is a sentence like any other.
    if options.what != "data" or options.encoder is not None:
        inspection = _import_inspection()
        return inspection.inspect_sentence(
            options.what, options.encoder, options.root, rich.console.Console(), options.json
        )
    settings = config.load_config(options.config, options.set)
    return _import_inspection().inspect_data(settings, rich.console.Console())


def _import_inspection() -> Any:
    """Imports the module without the complaint that TFMA prints if TFX imports it; slow, so after usage errors."""
    with contextlib.redirect_stderr(io.StringIO()):
        from local import inspection
    return inspection


def doctor(options: argparse.Namespace) -> int:
    """`doctor`: checks this machine."""
    _suppress_warnings()
    from local import doctor as checks

    return checks.run(options.root, rich.console.Console(), options.json)


def encoders(options: argparse.Namespace) -> int:
    """`encoders`: prints the catalogue."""
    _suppress_warnings()
    from components.hub_encoder import catalogue

    rich.console.Console().print(catalogue.table())
    return 0


def rollback(options: argparse.Namespace) -> int:
    """`rollback`: puts an earlier model back in serving, or lists the versions."""
    _suppress_warnings()
    from local import serving

    serving_dir = options.serving or serving.find(options.root, options.config)
    console = rich.console.Console()
    if options.list:
        serving.show(serving_dir, console)
    else:
        serving.roll_back(serving_dir, options.to, console)
    return 0


def _suppress_warnings() -> None:
    """Hides the warnings of libraries about missing GPUs and deprecations."""
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
        help="override a value of the configuration, such as trainer.epochs=3",
    )
    command.add_argument("--workers", metavar="N", help="number of training processes (trainer.workers)")
    command.add_argument("--verbose", action="store_true", help="print the output of TensorFlow, Beam and TFX")
    command.set_defaults(command=run)

    _add_predict(commands, root)
    _add_init(commands)
    _add_inspect(commands, root)
    _add_doctor(commands, root)

    command = commands.add_parser("encoders", help="list the encoders of the catalogue")
    command.set_defaults(command=encoders)

    command = commands.add_parser("rollback", parents=[root], help="put an earlier model back in serving")
    where = command.add_mutually_exclusive_group()
    where.add_argument(
        "--config",
        metavar="FILE",
        type=installation.find_config,
        help="configuration of the pipeline (default: the one under --root)",
    )
    where.add_argument("--serving", metavar="DIR", help="the serving folder")
    what = command.add_mutually_exclusive_group()
    what.add_argument("--to", metavar="VERSION", type=int, help="(default: the newest that was not rolled back)")
    what.add_argument("--list", action="store_true", help="list the versions")
    command.set_defaults(command=rollback)
    return parser


def _add_predict(commands: Any, root: argparse.ArgumentParser) -> None:
    command = commands.add_parser("predict", parents=[root], help="label sentences with a model")
    command.add_argument("sentences", metavar="SENTENCE", nargs="*", help="(default: the lines of standard input)")
    command.add_argument("--file", metavar="TSV", help="label the rows of a file")
    command.add_argument("--out", metavar="TSV", help="output file (default: standard output)")
    command.add_argument("--model", metavar="DIR", help="folder of a model (default: the newest pushed model)")
    command.add_argument("--json", action="store_true", help="print one JSON object per line")
    command.add_argument("--scores", action="store_true", help="add the probability of every class")
    layout = command.add_argument_group("layout of the file (default: that of the model's training data)")
    layout.add_argument("--text", metavar="COLUMN", help="column with the text")
    layout.add_argument("--label", metavar="COLUMN", help="column with the label, for the accuracy")
    layout.add_argument("--quoting", choices=["minimal", "none"], help="how fields are quoted")
    layout.add_argument("--encoding", metavar="CODEC", help="codec, also of standard input (there, default: utf-8)")
    command.set_defaults(command=predict)


def _add_init(commands: Any) -> None:
    command = commands.add_parser("init", help="write a configuration for a table of reviews")
    command.add_argument("file", metavar="FILE", help="the table")
    command.add_argument("--out", metavar="YAML", help="file to write (default: named after the table)")
    command.set_defaults(command=init)


def _add_inspect(commands: Any, root: argparse.ArgumentParser) -> None:
    command = commands.add_parser("inspect", parents=[root], help="show tokens of a sentence, or rows of the data")
    command.add_argument(
        "what", metavar="SENTENCE|data", help="a sentence; or the word data, for the files of a configuration"
    )
    command.add_argument("--encoder", metavar="DIR", help="folder of an encoder (default: the newest of a run)")
    command.add_argument("--json", action="store_true", help="print one JSON object (of a sentence)")
    command.add_argument(
        "--config", metavar="FILE", type=installation.find_config, default=DEFAULT_CONFIG, help=CONFIG_HELP
    )
    command.add_argument("--set", metavar="KEY=VALUE", nargs="+", action="extend", default=[], help="as for run")
    command.set_defaults(command=inspect)


def _add_doctor(commands: Any, root: argparse.ArgumentParser) -> None:
    command = commands.add_parser("doctor", parents=[root], help="check whether a run can work on this machine")
    command.add_argument("--json", action="store_true", help="print one JSON object per check")
    command.set_defaults(command=doctor)


if __name__ == "__main__":
    sys.exit(main())
