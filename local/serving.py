"""The serving folders of this machine: where they are, what is in them, and the way back to an earlier model."""

import glob
import os
from typing import Collection, Iterator, Optional

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
    """Returns what stands in for `serving.dir` in a pipeline's folder."""
    return os.path.join(folder, "serving")


def find(root: str, config_file: Optional[str]) -> str:
    """Finds a pipeline's serving folder.

    Args:
      root: the run root.
      config_file: the pipeline's configuration; None takes the only pipeline under the root.

    Raises:
      UserError: the configuration is wrong; or there is no serving folder under the root, or more than one.
    """
    if config_file is not None:
        settings = config.load_config(config_file)
        return settings.serving.dir or default_dir(os.path.join(root, settings.name))
    found = _folders(root)
    if not found:
        raise UserError(f"--root {root}: no model was pushed there yet; name the folder by --serving or --config")
    if len(found) > 1:
        raise UserError(f"--root {root}: name one of its serving folders by --serving: {', '.join(found)}")
    return found[0]


def newest_model(root: str) -> str:
    """Finds the newest model that any pipeline under the run root pushed.

    Raises:
      UserError: there is none.
    """
    newest = [versions[-1] for folder in _folders(root) if (versions := model_files.served_versions(folder))]
    if not newest:
        raise UserError(f"--root {root}: no model was pushed there yet; run the pipeline, or name one by --model")
    return max(newest, key=lambda path: int(os.path.basename(path)))


def show(serving_dir: str, console: rich.console.Console) -> None:
    """Prints a table of the versions, the newest first.

    Raises:
      UserError: there is none, or the folder can't be read.
    """
    versions = rollback.list_versions(serving_dir)
    rolled_back = publication.read_state(serving_dir).rolled_back
    table = rich.table.Table(box=rich.box.SIMPLE_HEAD)
    for heading in ("version", "pushed at (UTC)", "accuracy"):
        table.add_column(heading, no_wrap=True)
    table.add_column("by run; what became of it", overflow="fold")
    for version in reversed(versions):
        time, accuracy, run_id = _pushed(version)
        told = filter(None, [run_id, *_notes(version, versions[-1], rolled_back)])
        table.add_row(str(version.number), _plain(time), accuracy, _plain(*told))
    console.print(table)


def roll_back(serving_dir: str, to: Optional[int], console: rich.console.Console) -> None:
    """Returns to an earlier version and says what that did.

    Raises:
      UserError: as `rollback.roll_back` has it.
    """
    version = rollback.roll_back(serving_dir, to)
    done = version.record.rollback
    told = _plain(
        f"version {done.to_version} is in serving again, as {version.path}",
        f"the model of version {done.from_version} will not be pushed again by a run, unless "
        "serving.allow_rolled_back says so",
    )
    console.print(told, soft_wrap=True)


def _folders(root: str) -> list[str]:
    return sorted(glob.glob(default_dir(os.path.join(glob.escape(root), "*"))))


def _pushed(version: Version) -> tuple[str, str, str]:
    """When, with which accuracy, and by which run; empty where that is not known."""
    if version.record is None:
        return "", "", ""
    origin = version.record.origin
    run_id = (origin.run_id if origin else None) or ""
    metrics = (origin.metrics if origin else None) or {}
    accuracy = (metrics.get("candidate") or {}).get("accuracy")
    time = version.record.time.removesuffix("+00:00").replace("T", " ")
    return time, "" if accuracy is None else f"{accuracy:.4f}", run_id


def _notes(version: Version, newest: Version, rolled_back: Collection[str]) -> Iterator[str]:
    if version is newest:
        yield "in serving"
    if version.record is None:
        yield "put there by hand"
    elif version.record.rollback is not None:
        yield f"{version.record.rollback.to_version} again, instead of {version.record.rollback.from_version}"
    if version.model_sha256 in rolled_back:
        yield "rolled back"


def _plain(*lines: str) -> rich.text.Text:
    """A record is data: nothing in it is taken for markup, or obeyed by the terminal."""
    return rich.text.Text("\n".join(map(escape.line, lines)))
