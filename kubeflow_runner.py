#!/usr/bin/env python3
"""Compile the pipeline for Kubeflow Pipelines v2, replay it on this machine, submit and schedule it.

Exit status: 0 success; 1 failure; 2 error in the usage, the configuration or the input;
3 the candidate was not blessed and nothing was pushed; 130 interrupted.
"""

import argparse
import contextlib
import os
import sys
from typing import Iterator, Optional, Sequence

# Before the first TensorFlow import anywhere in this process: TFX, TFMA and Hub need Keras 2.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

import rich.console  # noqa: E402

from cluster import compatibility  # noqa: E402
from cluster.replay import layouts  # noqa: E402
from core import command_line, config, installation, kubeflow_config, streams  # noqa: E402
from core.errors import UserError  # noqa: E402

DEFAULT_CONFIG = os.path.join(installation.CONFIGS, "kubeflow.yaml")


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Runs one command; returns the exit status."""
    return command_line.call(_parser(), arguments, "interrupted")


def compile_file(options: argparse.Namespace) -> int:
    """`compile`: writes the configured pipeline as YAML."""
    settings = _settings(options)
    output = options.output or f"{settings.name}.yaml"
    compatibility.check_config(settings)
    with _console(options) as console:
        # Imports take seconds, so the user's errors come first.
        with streams.show_spinner(console, "loading TensorFlow and TFX"):
            from cluster import compiler
        compiler.compile_pipeline(settings, output)
        console.print(f"wrote {output}", markup=False, highlight=False, soft_wrap=True)
    return 0


def replay(options: argparse.Namespace) -> int:
    """`replay`: runs a compiled file on this machine, without a cluster."""
    with _console(options) as console:
        from cluster.replay import pipeline_run

        return pipeline_run.run(options.file, options.root, _parameters(options), options.layout, console)


def submit(options: argparse.Namespace) -> int:
    """`submit`: starts a run on the cluster."""
    with _console(options) as console:
        from cluster import client

        client.submit(
            _cluster(options),
            options.file,
            parameters=_parameters(options),
            version=options.version,
            name=options.name,
            console=console,
        )
    return 0


def schedule(options: argparse.Namespace) -> int:
    """`schedule`: runs a compiled file regularly."""
    with _console(options) as console:
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
            console=console,
        )
    return 0


def unschedule(options: argparse.Namespace) -> int:
    """`unschedule`: removes a schedule."""
    with _console(options) as console:
        from cluster import client

        client.unschedule(_cluster(options), name=options.name or _settings(options).name, console=console)
    return 0


def runs(options: argparse.Namespace) -> int:
    """`runs`: lists runs and schedules."""
    with _console(options) as console:
        from cluster import client

        client.runs(_cluster(options), limit=options.limit, as_json=options.json, console=console)
    return 0


@contextlib.contextmanager
def _console(options: argparse.Namespace) -> Iterator[rich.console.Console]:
    """Yields the user's console, where nothing of the libraries is printed without `--verbose`."""
    with streams.discard_output(options.verbose) as (out, _):
        yield rich.console.Console(file=out, force_interactive=False if options.verbose else None)


def _settings(options: argparse.Namespace) -> config.Config:
    return config.load_config(options.config, options.set)


def _cluster(options: argparse.Namespace) -> kubeflow_config.KubeflowConfig:
    return compatibility.kubeflow_section(_settings(options))


def _parameters(options: argparse.Namespace) -> dict[str, str]:
    parameters = {}
    for text in options.param:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise UserError(f"--param {text}: should be KEY=VALUE, such as epochs=3")
        parameters[key] = value
    return parameters


def _parser() -> argparse.ArgumentParser:
    parser = command_line.make_parser(installation.program("kubeflow_runner.py"), __doc__)
    commands = parser.add_subparsers(required=True, metavar="compile|replay|submit|schedule|unschedule|runs")
    settings, parameters, version, verbose = _shared_options()
    _add_compile(commands, settings, verbose)
    _add_replay(commands, parameters, verbose)
    _add_submit(commands, settings, parameters, version, verbose)
    _add_schedule(commands, settings, parameters, version, verbose)
    _add_unschedule(commands, settings, verbose)
    _add_runs(commands, settings, verbose)
    return parser


def _add_compile(commands: "argparse._SubParsersAction", *parents: argparse.ArgumentParser) -> None:
    command = commands.add_parser(
        "compile", parents=parents, help="write the pipeline as a file for Kubeflow Pipelines"
    )
    command.add_argument("--output", metavar="FILE.yaml", help="file to write (default: <name>.yaml)")
    command.set_defaults(command=compile_file)


def _add_replay(commands: "argparse._SubParsersAction", *parents: argparse.ArgumentParser) -> None:
    command = commands.add_parser(
        "replay", parents=parents, help="run a compiled file on this machine, without a cluster"
    )
    command.add_argument(
        "--root",
        metavar="DIR",
        default="runs/replay",
        help="folder for artifacts, volumes and logs (default: runs/replay)",
    )
    command.add_argument(
        "--layout",
        choices=list(layouts.LAYOUTS),
        default="2.15",
        help="Kubeflow backend to emulate: this version or newer (default: 2.15)",
    )
    command.set_defaults(command=replay)


def _add_submit(commands: "argparse._SubParsersAction", *parents: argparse.ArgumentParser) -> None:
    command = commands.add_parser("submit", parents=parents, help="start a run of a compiled file on the cluster")
    command.add_argument("--name", help="name of the run (default: name of the pipeline and time)")
    command.set_defaults(command=submit)


def _add_schedule(commands: "argparse._SubParsersAction", *parents: argparse.ArgumentParser) -> None:
    command = commands.add_parser("schedule", parents=parents, help="run a compiled file regularly")
    command.add_argument(
        "--name", help="name of the schedule; replaces an existing one of this name (default: name of the pipeline)"
    )
    when = command.add_mutually_exclusive_group(required=True)
    when.add_argument(
        "--cron", metavar="EXPRESSION", help="times in UTC: six fields, seconds first; five fields are translated"
    )
    when.add_argument("--every", metavar="INTERVAL", help="interval between runs, such as 90m, 6h or 1d")
    command.add_argument("--catch-up", action="store_true", help="also start the runs of missed times")
    command.add_argument(
        "--max-concurrency", metavar="N", type=int, default=1, help="overlapping runs, 1 to 10 (default: 1)"
    )
    command.set_defaults(command=schedule)


def _add_unschedule(commands: "argparse._SubParsersAction", *parents: argparse.ArgumentParser) -> None:
    command = commands.add_parser("unschedule", parents=parents, help="remove a schedule")
    command.add_argument("name", nargs="?", help="name of the schedule (default: name of the pipeline)")
    command.set_defaults(command=unschedule)


def _add_runs(commands: "argparse._SubParsersAction", *parents: argparse.ArgumentParser) -> None:
    command = commands.add_parser("runs", parents=parents, help="list the latest runs and schedules")
    command.add_argument("--limit", metavar="N", type=int, default=10, help="runs and schedules to list (default: 10)")
    command.add_argument("--json", action="store_true", help="print one JSON object per line")
    command.set_defaults(command=runs)


def _shared_options() -> Sequence[argparse.ArgumentParser]:
    """Returns parsers of the options that commands share: configuration, run parameters, uploads and verbosity."""
    settings, parameters, version, verbose = (argparse.ArgumentParser(add_help=False) for _ in range(4))
    settings.add_argument(
        "--config",
        metavar="FILE",
        type=installation.find_config,
        default=DEFAULT_CONFIG,
        help="YAML, or the name of a bundled configuration (default: kubeflow)",
    )
    settings.add_argument(
        "--set",
        metavar="KEY=VALUE",
        nargs="+",
        action="extend",
        default=[],
        help="override values of the configuration",
    )
    parameters.add_argument("file", metavar="FILE.yaml", help="compiled file, written by `compile`")
    parameters.add_argument(
        "--param", metavar="KEY=VALUE", nargs="+", action="extend", default=[], help="run parameters, such as epochs=3"
    )
    version.add_argument("--version", help="name of the uploaded version (default: a digest of the file)")
    verbose.add_argument("--verbose", action="store_true", help="print the output of TensorFlow, TFX and kfp")
    return settings, parameters, version, verbose


if __name__ == "__main__":
    sys.exit(main())
