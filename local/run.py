"""Runs the pipeline in a folder of this machine, and writes its summary and report into the history."""

import dataclasses
import datetime
import errno
import hashlib
import logging
import os
import shutil
import time
from typing import Optional, Sequence

import absl.logging
import rich.console

from artifacts import blessing
from components import text_tables
from components.data_gate.quality import DataGateStopped
from components.encoder_pretrainer import start, texts
from components.hub_encoder import handles
from components.model_gate import invariance
from components.run_report import gather, notification, report, tracking
from components.run_report.summary import REPORT_FILE, SUMMARY_FILE, ComponentSummary, Status, Summary
from components.teacher_labels import rows, teachers
from core import escape, gpu
from core.config import AUTO_PAIRS, BeamConfig, Config, dump_config
from core.errors import UserError
from core.files import atomic_write
from local import dag_runner, history, serving, session, store, terminal
from local.outcome import NodeOutcome
from pipeline import graph
from pipeline.engine import session as engine_session
from pipeline.engine.flags import make_flags
from schema import labels

# Field of `RunArtifacts` -> (node id, output).
_SOURCES = {
    "examples": ("TsvExampleGen", "examples"),
    "data_verdict": ("DataGate", "verdict"),
    "teacher_labels": ("TeacherLabels", "labels"),
    "model": ("Trainer", "model"),
    "model_run": ("Trainer", "model_run"),
    "model_blessing": ("ModelGate", "blessing"),
    "serving_blessing": ("ServingValidator", "blessing"),
    "pushed_model": ("Pusher", "pushed_model"),
}


def run(config: Config, folder: str, run_folder: str, console: rich.console.Console) -> int:
    """Runs the pipeline, shows its progress, and writes `config.yaml`, `summary.json` and `report.html`.

    Args:
      config: configuration of the run.
      folder: folder of the pipeline, locked by the caller.
      run_folder: the run's folder in the history.
      console: the user's console.

    Returns:
      The exit status, from `components.run_report.summary.EXIT_STATUS`.

    Raises:
      UserError: `trainer.device` is `gpu` and no GPU can be used, `notify` needs an environment variable that is not
        set, the encoder's name or folder is wrong or can't be trained as configured, or a teacher was not pushed.
      KeyboardInterrupt: the run was interrupted; running the same command resumes it.
    """
    absl.logging.set_verbosity(absl.logging.INFO)
    _check_settings(config)
    if warning := labels.describe_reversed(config.task.settings.get("labels", {})):
        _print(console, f"warning: {warning}")
    config = _copy_files(config, folder)
    screen = terminal.Terminal(console)
    runner = dag_runner.DagRunner(os.path.basename(run_folder), screen, folder)
    started, clock = datetime.datetime.now(datetime.timezone.utc), time.monotonic()
    error: Optional[Exception] = None
    try:
        with atomic_write(os.path.join(run_folder, history.CONFIG_FILE)) as stream:
            stream.write(dump_config(config))
        root = _prepare_artifacts(folder, console)
        with screen.show_progress(), engine_session.open_session(make_flags(config.beam), root, config.beam) as flags:
            runner.beam_flags = flags
            checkpoints = os.path.join(root, "Trainer", "checkpoints")
            settings = _set_serving_dir(config, folder).model_copy(update={"beam": BeamConfig()})
            runner.run(graph.create_pipeline(settings, root, checkpoints, store.connection(folder)))
    except Exception as failure:  # A failed run gets a summary too.
        logging.exception("the run failed")
        error = failure
    summary = dataclasses.replace(
        _summarise(config, runner.outcomes, error, run_folder),
        started=started.isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - clock, 1),
    )
    reached_verdict = error is None or isinstance(error, DataGateStopped)
    details = _read_details(config, run_folder, runner.outcomes)
    summary, write_error = _write_report(run_folder, summary, details, reached_verdict)
    terminal.show_outcome(console, summary)
    content = summary.to_json()
    not_sent = notification.notify(config.notify, content)
    not_logged = tracking.log_run(tracking.list_parameters(config), content)
    for message in filter(None, [write_error, *not_sent, *not_logged]):
        _print(console, message)
    if config.data.schema_file is None:
        path = _schema_path(runner.outcomes)
        _print(console, f"the schema was inferred: review {path} and set data.schema_file to it")
    return summary.exit_status


def _prepare_artifacts(folder: str, console: rich.console.Console) -> str:
    """Repairs what a killed run left; returns the folder of the artifacts."""
    for message in store.repair(folder):
        _print(console, message)
    # Latency and memory vary with the load of this machine, so a model that failed is validated again.
    store.remove_outputs(folder, os.path.join("ServingValidator", "blessing", "*", blessing.INFRA_NOT_BLESSED))
    root = os.path.join(folder, store.ARTIFACTS)
    os.makedirs(root, exist_ok=True)  # A worker checks that it sees it.
    return root


def _check_settings(config: Config) -> None:
    """Raises what components would raise half an hour later."""
    if config.trainer.device == "gpu":
        gpu.visible_gpus("gpu")
    notification.check(config.notify)
    if config.encoder.source == "hub":
        sources = handles.resolve(config.encoder.handle, config.encoder.preprocess or "")
        handles.check_use(sources, config.trainer.mode, config.trainer.max_length)
    else:
        text_tables.check(config.encoder.pretrain.texts, texts.SETTING)
        if config.encoder.pretrain.continue_from is not None:
            sources = handles.resolve(config.encoder.pretrain.continue_from, setting=start.SETTING)
            handles.check_use(sources, config.trainer.mode, config.trainer.max_length)
    if config.distill is not None:
        teachers.check(config.distill.teachers, config.task)
        text_tables.check(config.distill.texts, rows.SETTING)


def _print(console: rich.console.Console, message: str) -> None:
    console.print(escape.line(message), markup=False, highlight=False, soft_wrap=True)


def _set_serving_dir(config: Config, folder: str) -> Config:
    """Fills in the serving folder. `config.yaml` leaves it out, so that it follows another `--root`."""
    serving_dir = config.serving.dir or serving.default_dir(folder)
    return config.model_copy(update={"serving": config.serving.model_copy(update={"dir": serving_dir})})


def _copy_files(config: Config, folder: str) -> Config:
    """Replaces files by copies in folders named by their digests."""
    files = os.path.join(folder, "files")
    schema_file = _copy_by_content("data.schema_file", config.data.schema_file, files)
    pairs = config.gates.invariance.pairs
    if pairs not in (None, AUTO_PAIRS):
        pairs = _copy_by_content("gates.invariance.pairs", pairs, files) or ""
        invariance.read_pairs(pairs)  # Raises now instead of in ModelGate, after the training.
    invariance_config = config.gates.invariance.model_copy(update={"pairs": pairs})
    return config.model_copy(
        update={
            "data": config.data.model_copy(update={"schema_file": schema_file}),
            "gates": config.gates.model_copy(update={"invariance": invariance_config}),
        }
    )


def _copy_by_content(key: str, file: Optional[str], folder: str) -> Optional[str]:
    """Copies a file to `<folder>/<sha256>/<name>`, because TFX's cache compares paths and not content."""
    if file is None:
        return None
    try:
        with open(file, "rb") as stream:
            content = stream.read()
    except OSError as error:
        raise UserError(f"{key} = {file}: {error.strerror}; set a readable file, or null") from error
    copy = os.path.join(folder, hashlib.sha256(content).hexdigest(), os.path.basename(file))
    os.makedirs(os.path.dirname(copy), exist_ok=True)
    with atomic_write(copy, "wb") as stream:  # The file may be the copy, named by the `config.yaml` of a run.
        stream.write(content)
    return copy


def _artifacts(outcomes: Sequence[NodeOutcome]) -> gather.RunArtifacts:
    outputs = {outcome.id: outcome.outputs for outcome in outcomes}
    artifacts = {field: outputs.get(node, {}).get(name) for field, (node, name) in _SOURCES.items()}
    encoder = outputs.get("HubEncoder", outputs.get("EncoderPretrainer", {})).get("encoder")
    return gather.RunArtifacts(encoder=encoder, **artifacts)


def _summarise(config: Config, outcomes: Sequence[NodeOutcome], error: Optional[Exception], run_folder: str) -> Summary:
    summary = dataclasses.replace(
        gather.summarise(config.name, _artifacts(outcomes)),
        components=[ComponentSummary(o.id, o.status, round(o.seconds, 2), o.cached) for o in outcomes],
        run=os.path.basename(run_folder),
        run_folder=run_folder,
    )
    # A push comes from the cache only while its version is the newest in serving.
    cached_push = any(outcome.id == "Pusher" and outcome.cached for outcome in outcomes)
    already = summary.pushed_path is not None and (summary.already_in_serving or cached_push)
    summary = dataclasses.replace(summary, already_in_serving=already)
    if error is None:
        return summary
    status: Status = "stopped" if isinstance(error, UserError) else "failed"
    gates = error.checks if isinstance(error, DataGateStopped) else summary.gates
    return dataclasses.replace(summary, status=status, error=_describe_error(error, outcomes, run_folder), gates=gates)


def _describe_error(error: Exception, outcomes: Sequence[NodeOutcome], run_folder: str) -> str:
    """Returns the message of a `UserError`; otherwise names the component and the log."""
    if isinstance(error, UserError):
        return str(error)
    if _is_disk_full(error):
        free = shutil.disk_usage(run_folder).free >> 20
        return (
            f"no space left on device ({free:,} MiB free under {run_folder}); free some or set another --root, then "
            "run the same command to resume"
        )
    failed = next((outcome.id for outcome in outcomes if outcome.status == "failed"), "the run")
    first_line = (str(error).strip() or "no message").splitlines()[0]
    return (
        f"{failed}: {type(error).__name__}: {first_line}; for details see {os.path.join(run_folder, session.LOG_FILE)}"
    )


def _is_disk_full(error: Optional[BaseException]) -> bool:
    """Compares texts, because libraries wrap the system's error in their own."""
    while error is not None:
        if any(text in str(error) for text in (os.strerror(errno.ENOSPC), "database or disk is full")):
            return True
        error = error.__cause__ or error.__context__
    return False


def _read_details(config: Config, run_folder: str, outcomes: Sequence[NodeOutcome]) -> gather.Details:
    return dataclasses.replace(
        gather.read_details(_artifacts(outcomes), config.task.label_names),
        log_path=os.path.join(run_folder, session.LOG_FILE),
        record=history.Run(run_folder).record,
    )


def _write_report(
    run_folder: str, summary: Summary, details: gather.Details, reached_verdict: bool
) -> tuple[Summary, Optional[str]]:
    """Writes the report; returns a message if that failed, so that the outcome is still shown."""
    try:
        summary = report.write(run_folder, summary, details)
    except OSError as error:
        return summary, f"{run_folder}: {SUMMARY_FILE} and {REPORT_FILE} were not written: {error.strerror}"
    try:
        if reached_verdict:
            history.set_latest(run_folder)
    except OSError as error:
        return summary, f"{history.LATEST} still links to an earlier run: {error.strerror}"
    return summary, None


def _schema_path(outcomes: Sequence[NodeOutcome]) -> str:
    schema = next((o.outputs["schema"] for o in outcomes if "schema" in o.outputs), None)
    return os.path.join(schema.uri, "schema.pbtxt") if schema else "(not created)"
