#!/usr/bin/env python3
"""Compiles the pipeline for Kubeflow Pipelines v2, tries it here, submits and schedules it.

Exit status: 0 did what was asked; 1 failed; 2 usage, configuration or input that the user must mend;
3 the candidate was not blessed, nothing pushed; 130 interrupted.
"""

import argparse
import contextlib
import io
import os
import sys
import warnings
from typing import Optional, Sequence

# Before the first TensorFlow import anywhere in this process: TFX, TFMA and Hub want Keras 2.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
# What libraries say at import of missing GPUs and of their own future is no answer.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
warnings.simplefilter("ignore")

import rich.console  # noqa: E402
import rich.markup  # noqa: E402

from cluster import checks  # noqa: E402
from pipeline import config, escape  # noqa: E402
from pipeline.arguments import Parser  # noqa: E402
from pipeline.errors import UserError  # noqa: E402

DEFAULT_CONFIG = os.path.join(os.path.dirname(os.path.abspath(__file__)), "configs", "kubeflow.yaml")
LAYOUTS = ("2.3", "2.5", "2.15")


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Runs one command; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        return options.command(options)
    except UserError as error:
        text = rich.markup.escape(escape.shown(str(error)))
        rich.console.Console(stderr=True).print(f"[red]error:[/] {text}", soft_wrap=True)
        return 2
    except KeyboardInterrupt:
        rich.console.Console(stderr=True).print("\ninterrupted")
        return 130


def compile_file(options: argparse.Namespace) -> int:
    """`compile`: configuration in, YAML out."""
    settings = config.load_config(options.config, options.set)
    output = options.output or f"{settings.name}.yaml"
    checks.check_config(settings)
    console = rich.console.Console()
    # Seconds of imports: after a user's errors. What TFMA says of its own imports is no answer.
    with console.status("loading TensorFlow and TFX"), contextlib.redirect_stderr(io.StringIO()):
        from cluster import compiler
    compiler.compile_pipeline(settings, output)
    console.print(f"wrote {output}", markup=False, highlight=False, soft_wrap=True)
    return 0


def replay(options: argparse.Namespace) -> int:
    """`replay`: a compiled file on this machine, without a cluster."""
    from cluster import replay as player

    parameters = dict(_key_and_value("--param", text) for text in options.param)
    return player.run(options.file, options.root, parameters, options.layout, rich.console.Console())


def _key_and_value(option: str, text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise UserError(f"{option} {text}: should be KEY=VALUE, such as epochs=3")
    return key, value


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="kubeflow_runner.py", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True, metavar="compile|replay|submit|schedule|unschedule|runs")

    command = commands.add_parser("compile", help="write the pipeline as a file that Kubeflow Pipelines takes")
    command.add_argument(
        "--config", metavar="FILE", default=DEFAULT_CONFIG, help="YAML (default: configs/kubeflow.yaml)"
    )
    command.add_argument("--set", metavar="KEY=VALUE", nargs="+", action="extend", default=[], help="change a value")
    command.add_argument("--output", metavar="FILE.yaml", help="default: <name>.yaml")
    command.set_defaults(command=compile_file)

    parameters = argparse.ArgumentParser(add_help=False)
    parameters.add_argument("file", metavar="FILE.yaml", help="what `compile` wrote")
    parameters.add_argument(
        "--param", metavar="KEY=VALUE", nargs="+", action="extend", default=[], help="a run parameter, such as epochs=3"
    )

    command = commands.add_parser("replay", parents=[parameters], help="run a compiled file here, without a cluster")
    command.add_argument("--root", metavar="DIR", default="runs/replay", help="in place of the cluster's storage")
    command.add_argument("--layout", choices=LAYOUTS, default="2.15", help="the oldest backend that sends tasks so")
    command.set_defaults(command=replay)
    return parser


if __name__ == "__main__":
    sys.exit(main())
