"""Binds this machine to the pipeline: metadata store, serving folder, observer, summary and exit status."""

import dataclasses
import datetime
import errno
import hashlib
import logging
import os
import shutil
import time
from typing import Any, Optional, Sequence

import absl.logging
import rich.console

from components.data_gate.quality import DataGateStopped
from components.model_gate import invariance
from components.run_report import report, summary
from components.serving_validator import executor as serving_validator
from core import escape, gpu
from core.config import Config
from core.errors import UserError
from local import dag, serving, session, store, terminal
from local.outcome import NodeOutcome
from pipeline import graph

# Where the graph's nodes leave what a summary is made from: field -> (node id, output).
_SOURCES = {
    "examples": ("TsvExampleGen", "examples"),
    "data_verdict": ("DataGate", "verdict"),
    "model_run": ("Trainer", "model_run"),
    "model_blessing": ("ModelGate", "blessing"),
    "serving_blessing": ("ServingValidator", "blessing"),
    "pushed_model": ("Pusher", "pushed_model"),
}


def run(config: Config, folder: str, console: rich.console.Console) -> int:
    """Runs the pipeline, shows how it goes, writes `summary.json` and `report.html`.

    Args:
      config: the run.
      folder: this pipeline's folder, locked by the caller.
      console: where a person reads.

    Returns:
      The exit status, as `components.run_report.summary.EXIT_STATUS` has it.

    Raises:
      UserError: a GPU is asked for and none can be used.
      KeyboardInterrupt: the run was interrupted; the same command goes on from what is complete.
    """
    absl.logging.set_verbosity(absl.logging.INFO)
    if config.trainer.device == "gpu":
        gpu.visible_gpus("gpu")  # Raises now what the Trainer would raise in half an hour.
    config = _bound(config, folder)
    screen = terminal.Terminal(console)
    runner = dag.ObservedDagRunner(screen, folder)
    started, clock = datetime.datetime.now(datetime.timezone.utc), time.monotonic()
    error: Optional[Exception] = None
    try:
        for sentence in store.make_sound(folder):
            _say(console, sentence)
        # Seconds and memory are those of this machine at that moment: a refusal is no reason not to ask again.
        store.forget(folder, os.path.join("ServingValidator", "blessing", "*", serving_validator.NOT_BLESSED_FILE))
        root, connection = os.path.join(folder, store.ARTIFACTS), store.connection(folder)
        with screen.watching():
            checkpoints = os.path.join(root, "Trainer", "checkpoints")
            runner.run(graph.create_pipeline(config, root, checkpoints, connection))
    except Exception as failure:  # Whatever it was, the run gets its summary.
        logging.exception("the run failed")
        error = failure
    content = _summarise(config, runner.outcomes, error, folder)
    content.update(started=started.isoformat(timespec="seconds"), seconds=round(time.monotonic() - clock, 1))
    unwritten = _write(folder, content, runner.outcomes)
    terminal.show_outcome(console, content)
    if unwritten:
        _say(console, unwritten)
    if config.data.schema_file is None:
        path = _schema_path(runner.outcomes)
        _say(console, f"the schema was inferred; review it and name it as data.schema_file: {path}")
    return content["exit_status"]


def _say(console: rich.console.Console, sentence: str) -> None:
    console.print(escape.line(sentence), markup=False, highlight=False, soft_wrap=True)


def _bound(config: Config, folder: str) -> Config:
    """Fills in what depends on this machine: the serving folder, and files by their content."""
    serving_dir = config.serving.dir or serving.default_dir(folder)
    files = os.path.join(folder, "files")
    schema_file = _by_content("data.schema_file", config.data.schema_file, files)
    pairs = _by_content("gates.invariance.pairs", config.gates.invariance.pairs, files)
    if pairs is not None:
        # Raises now what ModelGate would raise after the training.
        invariance.read_pairs(config.gates.invariance.pairs)
    asked = config.gates.invariance.model_copy(update={"pairs": pairs})
    return config.model_copy(
        update={
            "serving": config.serving.model_copy(update={"dir": serving_dir}),
            "data": config.data.model_copy(update={"schema_file": schema_file}),
            "gates": config.gates.model_copy(update={"invariance": asked}),
        }
    )


def _by_content(key: str, file: Optional[str], folder: str) -> Optional[str]:
    """Copies a file to `<folder>/<sha256>/<name>`: the cache knows it by its path, so new content needs a new one."""
    if file is None:
        return None
    try:
        with open(file, "rb") as stream:
            digest = hashlib.sha256(stream.read()).hexdigest()
    except OSError as error:
        raise UserError(f"{key} = {file}: {error.strerror}; give a file that can be read, or null for none") from error
    copy = os.path.join(folder, digest, os.path.basename(file))
    os.makedirs(os.path.dirname(copy), exist_ok=True)
    shutil.copyfile(file, copy)
    return copy


def _artifacts(outcomes: Sequence[NodeOutcome]) -> summary.RunArtifacts:
    outputs = {outcome.id: outcome.outputs for outcome in outcomes}
    found = {field: outputs.get(node, {}).get(name) for field, (node, name) in _SOURCES.items()}
    encoder = outputs.get("HubEncoder", outputs.get("EncoderPretrainer", {})).get("encoder")
    return summary.RunArtifacts(encoder=encoder, **found)


def _summarise(
    config: Config, outcomes: Sequence[NodeOutcome], error: Optional[Exception], folder: str
) -> dict[str, Any]:
    content = {"pipeline": config.name, **summary.summarise(_artifacts(outcomes)), "error": None}
    if error is not None:
        content["status"] = "stopped" if isinstance(error, UserError) else "failed"
        content["error"] = _told(error, outcomes, folder)
    if isinstance(error, DataGateStopped):
        content["gates"] = [dataclasses.asdict(check) for check in error.checks]
    content["exit_status"] = summary.EXIT_STATUS[content["status"]]
    content["components"] = [
        {"id": o.id, "status": o.status, "seconds": round(o.seconds, 2), "cached": o.cached} for o in outcomes
    ]
    return content


def _told(error: Exception, outcomes: Sequence[NodeOutcome], folder: str) -> str:
    """A user's mistake speaks for itself; anything else names the component and where to read on."""
    if isinstance(error, UserError):
        return str(error)
    if _is_disk_full(error):
        free = shutil.disk_usage(folder).free >> 20
        return (
            f"no space is left on a disk ({free:,} MiB free under {folder}); make room or give another --root: "
            "the same command goes on from what is complete"
        )
    failed = next((outcome.id for outcome in outcomes if outcome.status == "failed"), "the run")
    first_line = (str(error).strip() or "no message").splitlines()[0]
    return f"{failed}: {type(error).__name__}: {first_line}; the rest is in {os.path.join(folder, session.LOG_FILE)}"


def _is_disk_full(error: Optional[BaseException]) -> bool:
    """Libraries wrap the system's error in their own: what is left of it everywhere is its text."""
    while error is not None:
        if any(text in str(error) for text in (os.strerror(errno.ENOSPC), "database or disk is full")):
            return True
        error = error.__cause__ or error.__context__
    return False


def _write(folder: str, content: dict[str, Any], outcomes: Sequence[NodeOutcome]) -> Optional[str]:
    """Writes the summary and the report; returns why it could not, for a full disk hides nothing of the run itself."""
    content["report_path"] = os.path.join(folder, report.REPORT_FILE)
    try:
        report.write(folder, content, _artifacts(outcomes).model_run)
        summary.write(folder, content)
    except OSError as error:
        content["report_path"] = None
        return f"{folder}: {summary.SUMMARY_FILE} and {report.REPORT_FILE} were not written: {error.strerror}"
    return None


def _schema_path(outcomes: Sequence[NodeOutcome]) -> str:
    schema = next((o.outputs["schema"] for o in outcomes if "schema" in o.outputs), None)
    return os.path.join(schema.uri, "schema.pbtxt") if schema else "(not made)"
