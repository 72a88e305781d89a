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

from cluster import compatibility  # noqa: E402
from cluster.replay import layouts  # noqa: E402
from core import command_line, config, kubeflow_config  # noqa: E402
from core.errors import UserError  # noqa: E402

DEFAULT_CONFIG = os.path.join(os.path.dirname(os.path.abspath(__file__)), "configs", "kubeflow.yaml")


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Runs one command; returns the exit status."""
    return command_line.call(_parser().parse_args(arguments), "interrupted")


def compile_file(options: argparse.Namespace) -> int:
    """`compile`: configuration in, YAML out."""
    settings = _settings(options)
    output = options.output or f"{settings.name}.yaml"
    compatibility.check_config(settings)
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

    return player.run(options.file, options.root, _parameters(options), options.layout, rich.console.Console())


def submit(options: argparse.Namespace) -> int:
    """`submit`: one run on the cluster."""
    from cluster import client

    client.submit(
        _cluster(options),
        options.file,
        parameters=_parameters(options),
        version=options.version,
        name=options.name,
        console=rich.console.Console(),
    )
    return 0


def schedule(options: argparse.Namespace) -> int:
    """`schedule`: runs at set times, by name."""
    from cluster import client

    client.schedule(
        _cluster(options),
        options.file,
        name=options.name or _settings(options).name,
        parameters=_parameters(options),
        cron_expression=options.cron,
        every=options.every,
        catch_up=options.catch_up,
        max_concurrency=options.max_concurrency,
        version=options.version,
        console=rich.console.Console(),
    )
    return 0


def unschedule(options: argparse.Namespace) -> int:
    """`unschedule`: no more runs of a schedule."""
    from cluster import client

    client.unschedule(_cluster(options), name=options.name or _settings(options).name, console=rich.console.Console())
    return 0


def runs(options: argparse.Namespace) -> int:
    """`runs`: what has run and what will."""
    from cluster import client

    client.runs(_cluster(options), limit=options.limit, console=rich.console.Console())
    return 0


def _settings(options: argparse.Namespace) -> config.Config:
    return config.load_config(options.config, options.set)


def _cluster(options: argparse.Namespace) -> kubeflow_config.KubeflowConfig:
    settings = _settings(options).kubeflow
    if settings is None:
        raise UserError(f"{options.config}: kubeflow: missing; configs/kubeflow.yaml is an example of the section")
    return settings


def _parameters(options: argparse.Namespace) -> dict[str, str]:
    given = {}
    for text in options.param:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise UserError(f"--param {text}: should be KEY=VALUE, such as epochs=3")
        given[key] = value
    return given


def _parser() -> argparse.ArgumentParser:
    parser = command_line.make_parser("kubeflow_runner.py", __doc__)
    commands = parser.add_subparsers(required=True, metavar="compile|replay|submit|schedule|unschedule|runs")
    settings, parameters, version = _shared_options()

    command = commands.add_parser("compile", parents=[settings], help="write the file that Kubeflow Pipelines takes")
    command.add_argument("--output", metavar="FILE.yaml", help="default: <name>.yaml")
    command.set_defaults(command=compile_file)

    command = commands.add_parser("replay", parents=[parameters], help="run a compiled file here, without a cluster")
    command.add_argument("--root", metavar="DIR", default="runs/replay", help="in place of the cluster's storage")
    command.add_argument(
        "--layout", choices=list(layouts.LAYOUTS), default="2.15", help="send tasks as backends do from this one on"
    )
    command.set_defaults(command=replay)

    command = commands.add_parser("submit", parents=[settings, parameters, version], help="run a compiled file once")
    command.add_argument("--name", help="of the run")
    command.set_defaults(command=submit)

    command = commands.add_parser("schedule", parents=[settings, parameters, version], help="run it at set times")
    command.add_argument("--name", help="of the schedule; one that exists is replaced (default: the configuration's)")
    when = command.add_mutually_exclusive_group(required=True)
    when.add_argument("--cron", metavar="EXPRESSION", help="six fields, seconds first; five are translated; in UTC")
    when.add_argument("--every", metavar="INTERVAL", help="such as 90m, 6h or 1d")
    command.add_argument("--catch-up", action="store_true", help="make up for runs that were missed")
    command.add_argument("--max-concurrency", metavar="N", type=int, default=1, help="runs at a time (default: 1)")
    command.set_defaults(command=schedule)

    command = commands.add_parser("unschedule", parents=[settings], help="end a schedule")
    command.add_argument("name", nargs="?", help="default: the configuration's")
    command.set_defaults(command=unschedule)

    command = commands.add_parser("runs", parents=[settings], help="show the latest runs and all schedules")
    command.add_argument("--limit", metavar="N", type=int, default=10, help="runs that are shown (default: 10)")
    command.set_defaults(command=runs)
    return parser


def _shared_options() -> tuple[argparse.ArgumentParser, argparse.ArgumentParser, argparse.ArgumentParser]:
    """Options that several commands have: of the configuration, of a run's parameters, of an upload."""
    settings, parameters, version = (argparse.ArgumentParser(add_help=False) for _ in range(3))
    settings.add_argument(
        "--config", metavar="FILE", default=DEFAULT_CONFIG, help="YAML (default: configs/kubeflow.yaml)"
    )
    settings.add_argument("--set", metavar="KEY=VALUE", nargs="+", action="extend", default=[], help="change a value")
    parameters.add_argument("file", metavar="FILE.yaml", help="what `compile` wrote")
    parameters.add_argument(
        "--param", metavar="KEY=VALUE", nargs="+", action="extend", default=[], help="a run parameter, such as epochs=3"
    )
    version.add_argument("--version", help="name of the uploaded version (default: from the file's content)")
    return settings, parameters, version


if __name__ == "__main__":
    sys.exit(main())
