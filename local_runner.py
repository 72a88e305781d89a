#!/usr/bin/env python3
"""Runs the pipeline on this machine, prepares and compares runs, predicts with their models, rolls back.

Exit status: 0 success; 1 failure; 2 wrong usage, configuration or input; 3 candidate not blessed, nothing pushed, or
(`drift`) the requests have moved; 130 interrupted (run the same command to resume).
"""

import argparse
import contextlib
import dataclasses
import os
import sys
import warnings
from typing import Any, Optional, Sequence, TextIO

# Before the first TensorFlow import anywhere in this process: TFX, TFMA and Hub need Keras 2.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

import rich.console  # noqa: E402
import rich.markup  # noqa: E402

from components.tsv_example_gen import file_head  # noqa: E402
from core import command_line, config, escape, gpu, installation, streams  # noqa: E402
from core.errors import UserError  # noqa: E402
from local import (  # noqa: E402
    comparison,
    comparison_view,
    early_stop,
    engines,
    history,
    history_view,
    output_file,
    session,
)
from local.server import listener  # noqa: E402
from local.server.settings import Settings  # noqa: E402
from pipeline.engine import session as engine_session  # noqa: E402
from pipeline.engine.flags import make_flags  # noqa: E402
from schema import features  # noqa: E402

DEFAULT_CONFIG = os.path.join(installation.CONFIGS, "sample.yaml")
CONFIG_HELP = "YAML, or the name of a bundled configuration (default: sample)"
WITHOUT_COMMAND = ("-h", "--help", "--version", "--print-completion")
COMMANDS = (
    "run",
    "predict",
    "serve",
    "drift",
    "shadow",
    "history",
    "compare",
    "open",
    "init",
    "inspect",
    "doctor",
    "encoders",
    "import-encoder",
    "rollback",
)


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Runs one command; returns the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or (words[0].startswith("-") and words[0] not in WITHOUT_COMMAND):
        words.insert(0, "run")
    return command_line.call(_parser(), words, "interrupted; run the same command to resume")


def run(options: argparse.Namespace) -> int:
    """`run`: trains a model, checks it and pushes it to serving."""
    workers = [] if options.workers is None else [f"trainer.workers={options.workers}"]
    settings = config.load_config(options.config, [*options.set, *workers])
    folder = os.path.join(os.path.abspath(options.root), settings.name)
    with (
        session.lock(folder),
        history.record_run(folder, settings) as run_folder,
        session.redirect_output(run_folder, options.verbose) as screen,
    ):
        # Among the output of libraries, a bar would be drawn over it.
        console = rich.console.Console(file=screen, force_interactive=False if options.verbose else None)
        if not options.verbose:
            console.print(
                f"[bold]{settings.name}[/] log: {rich.markup.escape(escape.line(run_folder))}/{session.LOG_FILE}",
                soft_wrap=True,
            )
        try:
            # These take no time, unlike the imports below.
            file_head.check_local(settings.data, settings.task)
            engine_session.check(make_flags(settings.beam))
        except UserError as error:
            return early_stop.stop(settings, run_folder, error, console)
        with streams.show_spinner(console, "loading TensorFlow and TFX"):
            # Before the import of TensorFlow, which looks for CUDA's libraries only then.
            gpu.load_libraries()
            from local import run as local  # Slow, so after usage errors; its output goes to the log.
        return local.run(settings, folder, run_folder, console)


def predict(options: argparse.Namespace) -> int:
    """`predict`: labels sentences or the rows of a TSV."""
    if options.file is None and options.out is not None:
        raise UserError("--out: has no effect without --file; redirect standard output instead")
    if options.file is not None:
        output_file.check(options.file, options.out)
    with streams.discard_output(options.verbose) as (out, error):
        from local import answers, prediction, sentences, served_model  # Slow.

        model = served_model.load(options.model, options.root, options.engine)
        form = answers.Format(options.json, options.scores)
        # Loggers that libraries have created keep the streams from before.
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error), warnings.catch_warnings():
            if not options.verbose:
                warnings.simplefilter("ignore")
            if options.file is None:
                return sentences.predict(model, options.sentences, form, options.encoding or "utf-8")
            return prediction.predict_file(model, options.file, options.out, form, _layout(options))


def serve(options: argparse.Namespace) -> int:
    """`serve`: answers HTTP requests with a model until it is stopped."""
    if options.log_texts and options.log is None:
        raise UserError("--log-texts: has no effect without --log FILE")
    with listener.listen(options.host, options.port) as port, streams.discard_output(options.verbose) as (out, _):
        console = rich.console.Console(file=out)
        with streams.show_spinner(console, "loading the server"):
            from local.server import run as server  # Slow.

        names = [field.name for field in dataclasses.fields(Settings)]
        return server.serve(Settings(**{name: getattr(options, name) for name in names}), port, console)


def drift(options: argparse.Namespace) -> int:
    """`drift`: compares the requests of a log with the training data of the model that was asked."""
    if options.set and options.config is None:
        raise UserError("--set: has no effect without --config FILE")
    settings = config.load_config(options.config, options.set) if options.config else None
    with streams.discard_output(options.verbose) as (out, error):
        with streams.show_spinner(rich.console.Console(file=error), f"comparing {escape.line(options.log)}"):
            from local import served_model  # Slow.
            from local.monitoring import drift as monitoring
            from local.monitoring import logs, page, view

            bounds = monitoring.Bounds()
            if settings is not None:
                bounds = monitoring.Bounds(settings.gates.data, settings.data.max_rejected_fraction)
            model = served_model.load(options.model, options.root)
            with logs.open_log(options.log, model.card, _layout(options)) as log:
                result = monitoring.measure(log, model, bounds)
            if options.html:
                page.write_drift(result, options.html)
        if options.json:
            command_line.print_json([monitoring.to_json(result)], out)
        else:
            view.show_drift(result, _make_console(out))
    return 3 if result.failed else 0


def shadow(options: argparse.Namespace) -> int:
    """`shadow`: asks a candidate and the served model the requests of a log."""
    if options.rows is not None and options.rows < 1:
        raise UserError(f"--rows {options.rows}: should be at least 1")
    with streams.discard_output(options.verbose) as (out, error):
        with streams.show_spinner(rich.console.Console(file=error), f"asking {escape.line(options.log)} twice"):
            from local import served_model  # Slow.
            from local.monitoring import logs, page, view
            from local.monitoring import shadow as monitoring

            folder, name = monitoring.find_model(options.model, options.root)
            served_folder, served_name = monitoring.find_served(folder, options.served, options.root)
            served, candidate = (served_model.load(each, options.root) for each in (served_folder, folder))
            with logs.open_log(options.log, served.card, _layout(options)) as log:
                result = monitoring.compare(log, served, candidate, (served_name, name), options.rows)
            if options.html:
                page.write_shadow(result, options.html)
        if options.json:
            command_line.print_json([monitoring.to_json(result)], out)
        else:
            view.show_shadow(result, _make_console(out))
    return 0


def _layout(options: argparse.Namespace) -> dict[str, Any]:
    """Returns the options that say how to read a table, if they were given."""
    from local import answers  # Slow.

    return {name: value for name in answers.OPTIONS if (value := getattr(options, name, None)) is not None}


def init(options: argparse.Namespace) -> int:
    """`init`: writes a configuration for a table."""
    from local import starter

    return starter.init(options.file, options.out, rich.console.Console())


def inspect(options: argparse.Namespace) -> int:
    """`inspect`: shows the tokens of a sentence, or the rows of a configuration's files."""
    # With an encoder, `data` is a sentence like any other.
    of_data = options.what == ["data"] and options.encoder is None
    if len(options.what) > len(features.TEXTS):
        raise UserError(f"SENTENCE: {len(options.what)} sentences; should be one, or the two of a pair")
    settings = config.load_config(options.config, options.set) if of_data else None
    with streams.discard_output() as (out, _):
        from local import inspection  # Slow, so after usage errors.

        console = rich.console.Console(file=out)
        if settings is not None:
            return inspection.inspect_data(settings, console, options.json)
        with contextlib.redirect_stdout(out):
            return inspection.inspect_sentence(options.what, options.encoder, options.root, console, options.json)


def doctor(options: argparse.Namespace) -> int:
    """`doctor`: checks this machine."""
    with streams.discard_output() as (out, _):
        from local import doctor as checks

        with contextlib.redirect_stdout(out):
            return checks.run(options.root, rich.console.Console(), options.json)


def encoders(options: argparse.Namespace) -> int:
    """`encoders`: prints the catalogue, or the part of it that matches words."""
    from components.hub_encoder import catalogue

    entries = catalogue.find(options.words)
    if options.json:
        command_line.print_json(catalogue.records(entries), sys.stdout)
    else:
        console = _make_console(sys.stdout)
        console.print(catalogue.table(entries, console.width))
    return 0


def import_encoder(options: argparse.Namespace) -> int:
    """`import-encoder`: makes an encoder of TF Hub's format from one of transformers or a TensorFlow checkpoint."""
    with streams.discard_output(options.verbose) as (out, error):
        with streams.show_spinner(rich.console.Console(file=error), f"importing {escape.line(options.folder)}"):
            from local.encoder_import import run as imports  # Slow.

            lines = imports.import_encoder(options.folder, options.to)
        for line in lines:
            print(escape.line(line), file=out)
    return 0


def rollback(options: argparse.Namespace) -> int:
    """`rollback`: puts an earlier model back in serving, or lists the versions."""
    with streams.discard_output(options.verbose) as (out, _):
        from local import serving

        serving_dir = options.serving or serving.find(options.root, options.config)
        console = rich.console.Console(file=out)
        if options.list and options.json:
            command_line.print_json(serving.records(serving_dir), out)
        elif options.list:
            serving.show(serving_dir, console)
        elif options.json:
            command_line.print_json([serving.roll_back(serving_dir, options.to)], out)
        else:
            serving.show_rollback(serving.roll_back(serving_dir, options.to), console)
    return 0


def show_history(options: argparse.Namespace) -> int:
    """`history`: lists the runs of a pipeline, or writes a page about them."""
    folder = history.find_pipeline(options.root, options.config, options.name)
    runs = history.list_runs(folder)
    if options.html:
        from local import history_page  # matplotlib takes a second.

        history_page.write(os.path.basename(folder), runs, options.html)
    elif options.json:
        command_line.print_json(history_view.describe_runs(runs), sys.stdout)
    else:
        history_view.show(runs, _make_console(sys.stdout))
    return 0


def compare(options: argparse.Namespace) -> int:
    """`compare`: shows what differs between two runs."""
    with streams.discard_output(options.verbose) as (out, error):
        a, b = (history.find_run(word, options.root, options.config) for word in (options.a, options.b))
        rows, note = (None, "--no-rows") if options.no_rows else _compare_rows(a, b, options.root, error)
        result = {**comparison.compare(a, b), "rows": rows, "rows_note": note}
        if options.json:
            command_line.print_json([result], out)
        else:
            comparison_view.show(result, _make_console(out))
    return 0


def _compare_rows(
    a: history.Run, b: history.Run, root: str, error_stream: TextIO
) -> tuple[Optional[dict[str, Any]], Optional[str]]:
    """Returns the rows that only one model gets right, or None and the reason why they are unknown."""
    obstacle = comparison.describe_obstacle(a, b)
    if obstacle is not None:
        return None, obstacle
    console = rich.console.Console(file=error_stream)
    with streams.show_spinner(console, "predicting the test rows with both models"):
        from local import row_comparison  # Imports TensorFlow.

        try:
            return row_comparison.compare_rows(a, b, root), None
        except UserError as error:
            return None, str(error)


def open_report(options: argparse.Namespace) -> int:
    """`open`: opens the report of a run in the browser, or prints its path if there is none."""
    path = history_view.find_report(history.find_run(options.run, options.root, options.config))
    opened = history_view.open_in_browser(path)
    if options.json:
        command_line.print_json([{"report": path, "opened": opened}], sys.stdout)
    elif not opened:
        print(escape.line(path))
    return 0


def _make_console(stream: TextIO) -> rich.console.Console:
    """Makes a console for a table, which is not folded in a pipe."""
    return rich.console.Console(file=stream, width=None if stream.isatty() else 200)


def _parser() -> argparse.ArgumentParser:
    parser = command_line.make_parser(installation.program("local_runner.py"), __doc__)
    commands = parser.add_subparsers(required=True, metavar="|".join(COMMANDS))
    root = argparse.ArgumentParser(add_help=False)
    root.add_argument("--root", metavar="DIR", default="runs", help="the run root (default: runs)")
    verbose = argparse.ArgumentParser(add_help=False)
    verbose.add_argument("--verbose", action="store_true", help="print the output of TensorFlow, Beam and TFX")
    _add_run(commands, root, verbose)
    _add_predict(commands, root, verbose)
    _add_serve(commands, root, verbose)
    _add_monitoring(commands, root, verbose)
    _add_encoders(commands)
    _add_import_encoder(commands, verbose)
    _add_rollback(commands, root, verbose)
    _add_history(commands, root)
    _add_compare(commands, root, verbose)
    _add_open(commands, root)
    _add_init(commands)
    _add_inspect(commands, root)
    _add_doctor(commands, root)
    return parser


def _add_run(commands: "argparse._SubParsersAction", *parents: argparse.ArgumentParser) -> None:
    command = commands.add_parser("run", parents=parents, help="run the pipeline (the default command)")
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
    command.add_argument("--workers", metavar="N", type=int, help="number of training processes (trainer.workers)")
    command.set_defaults(command=run)


def _add_predict(commands: "argparse._SubParsersAction", *parents: argparse.ArgumentParser) -> None:
    command = commands.add_parser("predict", parents=parents, help="label sentences with a model")
    command.add_argument(
        "sentences",
        metavar="SENTENCE",
        nargs="*",
        help="(default: the lines of standard input); two for each pair, if the model takes pairs",
    )
    command.add_argument("--file", metavar="TSV", help="label the rows of a file")
    command.add_argument("--out", metavar="TSV", help="output file (default: standard output)")
    command.add_argument("--model", metavar="DIR", help="folder of a model (default: the newest pushed model)")
    _add_engine(command)
    command.add_argument("--json", action="store_true", help="print one JSON object per line")
    command.add_argument("--scores", action="store_true", help="add the probability of every class")
    layout = _add_layout(command, "layout of the file (default: that of the model's training data)")
    layout.add_argument("--label", metavar="COLUMN", help="column with the label, for the accuracy")
    layout.add_argument("--encoding", metavar="CODEC", help="codec, also of standard input (there, default: utf-8)")
    command.set_defaults(command=predict)


def _add_layout(command: argparse.ArgumentParser, title: str) -> "argparse._ArgumentGroup":
    layout = command.add_argument_group(title)
    layout.add_argument("--text", metavar="COLUMN", nargs="+", help="column with the text, or the two of a pair")
    layout.add_argument("--quoting", choices=["minimal", "none"], help="how fields are quoted")
    layout.add_argument(
        "--header", metavar="true|COLUMN,...", help="true, or the column names of a file without a header"
    )
    layout.add_argument("--delimiter", metavar="CHARACTER", help="between fields, also by name: tab, comma, ...")
    return layout


def _add_monitoring(commands: "argparse._SubParsersAction", *parents: argparse.ArgumentParser) -> None:
    command = commands.add_parser("drift", parents=parents, help="compare requests with the model's training data")
    _add_log(command)
    command.add_argument("--model", metavar="DIR", help="folder of a pushed model (default: the newest)")
    command.add_argument(
        "--config",
        metavar="FILE",
        type=installation.find_config,
        help="configuration with the bounds, gates.data (default: the defaults)",
    )
    command.add_argument("--set", metavar="KEY=VALUE", nargs="+", action="extend", default=[], help="as for run")
    command.set_defaults(command=drift)
    command = commands.add_parser("shadow", parents=parents, help="ask two models the same requests")
    _add_log(command)
    model = "folder of a model, or a run of the history (NAME/latest, ...)"
    command.add_argument("--model", metavar="NEW", required=True, help=f"the candidate: {model}")
    command.add_argument("--served", metavar="OLD", help="the served model, likewise (default: the newest pushed)")
    command.add_argument("--rows", metavar="N", type=int, help="ask a sample of the texts (default: all)")
    command.set_defaults(command=shadow)


def _add_log(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "log",
        metavar="LOG",
        help="requests: TensorFlow Serving's log, that of serve with texts, or a table of texts",
    )
    command.add_argument("--html", metavar="FILE", help="write a page")
    command.add_argument("--json", action="store_true", help="print a JSON object")
    layout = _add_layout(command, "layout of a table (default: that of the model's training data)")
    layout.add_argument("--encoding", metavar="CODEC", help="codec of the table")


def _add_engine(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--engine",
        choices=engines.NAMES,
        default=engines.TENSORFLOW,
        help="what computes the answers (default: tensorflow); the others need the extra onnx",
    )


def _add_serve(commands: "argparse._SubParsersAction", *parents: argparse.ArgumentParser) -> None:
    command = commands.add_parser("serve", parents=parents, help="answer HTTP requests with a model, and show a page")
    command.add_argument(
        "--model",
        metavar="DIR",
        help="serving folder, or folder of one version, which is never replaced (default: where the newest was pushed)",
    )
    command.add_argument("--name", metavar="NAME", help="name of the model in addresses (default: its pipeline's)")
    _add_engine(command)
    command.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    command.add_argument("--port", metavar="PORT", type=int, default=8501, help="(default: 8501; 0 for any free port)")
    command.add_argument("--log", metavar="FILE", help="append a line of JSON for each text that was answered")
    command.add_argument("--log-texts", action="store_true", help="write the texts to the log too")
    limits = command.add_argument_group("limits")
    for option, kind, default, text in (
        ("--workers", int, Settings.workers, "processes that compute, which share the cores"),
        ("--max-batch", int, Settings.max_batch, "texts that are computed together"),
        ("--max-rows", int, Settings.max_rows, "texts of all unfinished requests; more are refused with 503"),
        ("--max-request-bytes", int, Settings.max_request_bytes, "size of a request; a larger one is refused with 413"),
        ("--timeout-s", float, Settings.timeout_s, "seconds for a request, after which it is refused with 504"),
    ):
        limits.add_argument(option, metavar="N", type=kind, default=default, help=f"{text} (default: {default})")
    command.set_defaults(command=serve)


def _add_encoders(commands: "argparse._SubParsersAction") -> None:
    command = commands.add_parser("encoders", help="list the encoders of the catalogue")
    command.add_argument("words", metavar="WORD", nargs="*", help="language or part of the name, such as ko or electra")
    command.add_argument("--json", action="store_true", help="print one JSON object per line")
    command.set_defaults(command=encoders)


def _add_import_encoder(commands: "argparse._SubParsersAction", *parents: argparse.ArgumentParser) -> None:
    command = commands.add_parser(
        "import-encoder", parents=parents, help="make an encoder from a folder of transformers or a TF checkpoint"
    )
    command.add_argument(
        "folder", metavar="DIR", help="holds config.json, or bert_config.json, with the weights and the tokenizer"
    )
    command.add_argument("--to", metavar="FOLDER", required=True, help="new folder, for encoder.handle")
    command.set_defaults(command=import_encoder)


def _add_rollback(commands: "argparse._SubParsersAction", *parents: argparse.ArgumentParser) -> None:
    command = commands.add_parser("rollback", parents=parents, help="put an earlier model back in serving")
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
    command.add_argument("--json", action="store_true", help="print a JSON object; with --list, one per line")
    command.set_defaults(command=rollback)


def _add_history(commands: "argparse._SubParsersAction", *parents: argparse.ArgumentParser) -> None:
    command = commands.add_parser("history", parents=parents, help="list the runs of a pipeline")
    which = command.add_mutually_exclusive_group()
    which.add_argument("name", metavar="NAME", nargs="?", help="name of the pipeline (default: the one under --root)")
    which.add_argument("--config", metavar="FILE", type=installation.find_config, help="its configuration instead")
    how = command.add_mutually_exclusive_group()
    how.add_argument("--html", metavar="FILE", help="write a page with charts of the metrics")
    how.add_argument("--json", action="store_true", help="print one JSON object per run")
    command.set_defaults(command=show_history)


def _add_compare(commands: "argparse._SubParsersAction", *parents: argparse.ArgumentParser) -> None:
    command = commands.add_parser("compare", parents=parents, help="show what differs between two runs")
    run_help = "a run's id in the history, latest, NAME/latest, or the path of its folder"
    command.add_argument("a", metavar="A", help=run_help)
    command.add_argument("b", metavar="B", help="the same")
    _add_config(command)
    command.add_argument("--no-rows", action="store_true", help="do not predict the test rows with both models")
    command.add_argument("--json", action="store_true", help="print a JSON object")
    command.set_defaults(command=compare)


def _add_open(commands: "argparse._SubParsersAction", *parents: argparse.ArgumentParser) -> None:
    command = commands.add_parser("open", parents=parents, help="open the report of a run in the browser")
    command.add_argument(
        "run", metavar="RUN", nargs="?", default=history.LATEST, help="as in compare (default: latest)"
    )
    _add_config(command)
    command.add_argument("--json", action="store_true", help="print a JSON object")
    command.set_defaults(command=open_report)


def _add_config(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--config",
        metavar="FILE",
        type=installation.find_config,
        help="configuration of the pipeline (default: search all pipelines under --root)",
    )


def _add_init(commands: "argparse._SubParsersAction") -> None:
    command = commands.add_parser("init", help="write a configuration for a table of reviews")
    command.add_argument("file", metavar="FILE", help="the table")
    command.add_argument("--out", metavar="YAML", help="file to write (default: named after the table)")
    command.set_defaults(command=init)


def _add_inspect(commands: "argparse._SubParsersAction", *parents: argparse.ArgumentParser) -> None:
    command = commands.add_parser("inspect", parents=parents, help="show tokens of a sentence, or rows of the data")
    command.add_argument(
        "what",
        metavar="SENTENCE|data",
        nargs="+",
        help="a sentence, or the two of a pair; or the word data, for the files of a configuration",
    )
    command.add_argument("--encoder", metavar="DIR", help="folder of an encoder (default: the newest of a run)")
    command.add_argument("--json", action="store_true", help="print a JSON object; of data, one per line")
    command.add_argument(
        "--config", metavar="FILE", type=installation.find_config, default=DEFAULT_CONFIG, help=CONFIG_HELP
    )
    command.add_argument("--set", metavar="KEY=VALUE", nargs="+", action="extend", default=[], help="as for run")
    command.set_defaults(command=inspect)


def _add_doctor(commands: "argparse._SubParsersAction", *parents: argparse.ArgumentParser) -> None:
    command = commands.add_parser("doctor", parents=parents, help="check whether a run can work on this machine")
    command.add_argument("--json", action="store_true", help="print one JSON object per check")
    command.set_defaults(command=doctor)


if __name__ == "__main__":
    sys.exit(main())
