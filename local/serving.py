"""The serving folders of this machine: finds them, lists their versions, rolls back."""

import glob
import os
from typing import Any, Collection, Iterator, Mapping, Optional

import rich.box
import rich.console
import rich.table
import rich.text

from artifacts import model_files
from components.pusher import publication, rollback
from components.pusher.publication import Version
from core import config, escape
from core.errors import UserError


def default_dir(folder: str) -> str:
    """Returns the default of `serving.dir` for a pipeline's folder."""
    return os.path.join(folder, "serving")


def find(root: str, config_file: Optional[str]) -> str:
    """Finds the serving folder of a pipeline.

    Args:
      root: the run root.
      config_file: configuration of the pipeline; None selects the only pipeline under the root.

    Raises:
      UserError: the configuration is wrong, or the root does not have exactly one serving folder.
    """
    if config_file is not None:
        settings = config.load_config(config_file)
        return settings.serving.dir or default_dir(os.path.join(root, settings.name))
    folders = _folders(root)
    if not folders:
        raise UserError(f"--root {root}: no model was pushed there yet; set --serving or --config")
    if len(folders) > 1:
        raise UserError(f"--root {root}: has several serving folders; set --serving to one of {', '.join(folders)}")
    return folders[0]


def newest_model(root: str) -> str:
    """Returns the newest model pushed by any pipeline under the run root.

    Raises:
      UserError: no model was pushed.
    """
    newest = [versions[-1] for folder in _folders(root) if (versions := model_files.served_versions(folder))]
    if not newest:
        raise UserError(f"--root {root}: no model was pushed there yet; run the pipeline, or set --model")
    return max(newest, key=lambda path: int(os.path.basename(path)))


def show(serving_dir: str, console: rich.console.Console) -> None:
    """Prints a table of the versions, newest first.

    Raises:
      UserError: the folder has no versions or can't be read.
    """
    versions = rollback.list_versions(serving_dir)
    rolled_back = publication.read_state(serving_dir).rolled_back
    table = rich.table.Table(box=rich.box.SIMPLE_HEAD)
    for heading in ("version", "pushed at (UTC)", "accuracy"):
        table.add_column(heading, no_wrap=True)
    table.add_column("run and notes", overflow="fold")
    for version in reversed(versions):
        time, accuracy, run_id = _pushed(version)
        notes = filter(None, [run_id, *_notes(version, versions[-1], rolled_back)])
        table.add_row(str(version.number), _plain(time), accuracy, _plain(*notes))
    console.print(table)


def records(serving_dir: str) -> list[dict[str, Any]]:
    """Returns the versions for programs, newest first; what is unknown is null.

    Raises:
      UserError: the folder has no versions or can't be read.
    """
    versions = rollback.list_versions(serving_dir)
    rolled_back = publication.read_state(serving_dir).rolled_back
    return [
        {
            "version": version.number,
            "path": version.path,
            "pushed_at": version.record.time if version.record else None,
            "accuracy": _accuracy(version),
            "run_id": version.record.origin.run_id if version.record and version.record.origin else None,
            "in_serving": version is versions[-1],
            "rolled_back": version.model_sha256 in rolled_back,
            "notes": list(_notes(version, versions[-1], rolled_back)),
        }
        for version in reversed(versions)
    ]


def roll_back(serving_dir: str, to: Optional[int]) -> dict[str, Any]:
    """Rolls back to an earlier version.

    Returns:
      `version`, the number of the new version; `path`, its folder; `restored`, the number of the version that is in
      serving again; `replaced`, that of the version that was in serving.

    Raises:
      UserError: as in `rollback.roll_back`.
    """
    version = rollback.roll_back(serving_dir, to)
    done = version.record.rollback if version.record else None
    return {
        "version": version.number,
        "path": version.path,
        "restored": done.to_version if done else None,
        "replaced": done.from_version if done else None,
    }


def show_rollback(outcome: Mapping[str, Any], console: rich.console.Console) -> None:
    """Prints what `roll_back` returned."""
    text = _plain(
        f"version {outcome['restored']} is in serving again, as {outcome['path']}",
        f"the model of version {outcome['replaced']} will not be pushed again unless serving.allow_rolled_back=true",
    )
    console.print(text, soft_wrap=True)


def _folders(root: str) -> list[str]:
    return sorted(glob.glob(default_dir(os.path.join(glob.escape(root), "*"))))


def _pushed(version: Version) -> tuple[str, str, str]:
    """Returns the time, the accuracy and the run id of a push; unknown values are empty."""
    if version.record is None:
        return "", "", ""
    origin = version.record.origin
    run_id = (origin.run_id if origin else None) or ""
    accuracy = _accuracy(version)
    time = version.record.time.removesuffix("+00:00").replace("T", " ")
    return time, "" if accuracy is None else f"{accuracy:.4f}", run_id


def _accuracy(version: Version) -> Optional[float]:
    origin = version.record.origin if version.record else None
    metrics = (origin.metrics if origin else None) or {}
    return (metrics.get("candidate") or {}).get("accuracy")


def _notes(version: Version, newest: Version, rolled_back: Collection[str]) -> Iterator[str]:
    if version is newest:
        yield "in serving"
    if version.record is None:
        yield "added by hand"
    elif version.record.rollback is not None:
        yield f"rollback to {version.record.rollback.to_version}, replaces {version.record.rollback.from_version}"
    if version.model_sha256 in rolled_back:
        yield "rolled back"


def _plain(*lines: str) -> rich.text.Text:
    """Returns lines as text without markup or control characters, because a record is untrusted."""
    return rich.text.Text("\n".join(map(escape.line, lines)))
