"""The history of a pipeline: a folder for each run, which no other run changes.

<folder of the pipeline>/history/
  20261126T163105Z/    summary.json, report.html, run.log, config.yaml and run.json of a run
  latest               link to the newest run that reached a verdict

A run reaches a verdict if its model was pushed or not blessed, or if the data gate stopped it. Any other run has its
folder too, but `latest` does not point to it.
"""

import contextlib
import dataclasses
import datetime
import fcntl
import functools
import itertools
import json
import os
import shutil
from typing import Any, Iterator, Mapping, Optional

import yaml

from components.run_report.summary import SUMMARY_FILE
from core import config
from core.errors import UserError, did_you_mean
from core.files import atomic_write
from local import run_record

HISTORY = "history"
LATEST = "latest"
RUN_FILE = "run.json"
CONFIG_FILE = "config.yaml"

# Of the runs that a message about an unknown one lists.
_LISTED_RUNS = 5


@dataclasses.dataclass(frozen=True)
class Run:
    """A run of the history; files are read when they are needed."""

    folder: str

    @property
    def id(self) -> str:
        """The name of its folder."""
        return os.path.basename(self.folder)

    @functools.cached_property
    def summary(self) -> Optional[Mapping[str, Any]]:
        """The content of `summary.json`; None if the run ended without one."""
        return _read_json(self.path(SUMMARY_FILE))

    @functools.cached_property
    def record(self) -> Mapping[str, Any]:
        """The content of `run.json`; empty if it is missing."""
        return _read_json(self.path(RUN_FILE)) or {}

    @functools.cached_property
    def settings(self) -> Optional[Mapping[str, Any]]:
        """Key such as `trainer.epochs` -> value in `config.yaml`; None if the run ended before it was written."""
        try:
            with open(self.path(CONFIG_FILE), encoding="utf-8") as stream:
                tree = yaml.safe_load(stream)
        except (OSError, ValueError, yaml.YAMLError):
            return None
        return dict(_flatten(tree, "")) if isinstance(tree, Mapping) else None

    @property
    def status(self) -> str:
        """The status of the summary, else `running` or `interrupted`."""
        if self.summary is not None:
            return self.summary["status"]
        return "running" if _is_locked(self.path(RUN_FILE)) else "interrupted"

    def path(self, name: str) -> str:
        """Returns the path of a file of the run."""
        return os.path.join(self.folder, name)


@contextlib.contextmanager
def record_run(folder: str, settings: config.Config) -> Iterator[str]:
    """Creates the folder of a run, with its `run.json`, which stays locked inside the context.

    Args:
      folder: folder of the pipeline.
      settings: configuration of the run.

    Yields:
      The run's folder. It is removed if the block raises a `UserError`: then nothing was started.

    Raises:
      UserError: the folder can't be written.
    """
    try:
        run_folder = _make_folder(os.path.join(folder, HISTORY))
    except OSError as error:
        raise _not_writable(folder, error) from error
    try:
        run_file = _write_record(run_folder, settings)
        # Open for writing, because NFS has no exclusive lock of a file that is open for reading.
        with open(run_file, "r+b") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield run_folder
    except UserError:
        shutil.rmtree(run_folder)
        raise


def _write_record(run_folder: str, settings: config.Config) -> str:
    """Writes `run.json`; returns its path."""
    run_file = os.path.join(run_folder, RUN_FILE)
    try:
        with atomic_write(run_file) as stream:
            json.dump(run_record.describe(os.path.basename(run_folder), settings), stream, ensure_ascii=False, indent=2)
    except OSError as error:
        raise _not_writable(run_folder, error) from error
    return run_file


def _not_writable(folder: str, error: OSError) -> UserError:
    return UserError(f"--root: can't write to {folder}: {error.strerror}; should be a writable folder")


def set_latest(run_folder: str) -> None:
    """Makes `latest` a relative link to a run; a reader sees the old link or the new one.

    Raises:
      OSError: the link can't be written.
    """
    parent, run = os.path.split(run_folder)
    temporary = os.path.join(parent, f".{LATEST}.{os.getpid()}.tmp")
    with contextlib.suppress(FileNotFoundError):
        os.remove(temporary)
    os.symlink(run, temporary)
    os.replace(temporary, os.path.join(parent, LATEST))


def list_runs(folder: str) -> list[Run]:
    """Returns the runs of a pipeline's folder, oldest first.

    Raises:
      UserError: there is no run.
    """
    runs = _runs(folder)
    if not runs:
        if os.path.exists(os.path.join(folder, SUMMARY_FILE)):
            raise UserError(f"{folder}: its last run is of a version that kept no history; run the pipeline again")
        raise UserError(f"{folder}: there are no runs yet; run the pipeline")
    return runs


def find_pipeline(root: str, config_file: Optional[str], name: Optional[str]) -> str:
    """Returns the folder of a pipeline.

    Args:
      root: the run root.
      config_file: configuration of the pipeline.
      name: its name; with neither, the only pipeline under the root.

    Raises:
      UserError: the configuration is wrong, or there is not exactly one such pipeline.
    """
    names = _pipelines(root)
    if config_file is not None:
        name = config.load_config(config_file).name
    if name is None:
        if len(names) > 1:
            raise UserError(f"--root {root}: has several pipelines; name one of {', '.join(names)}")
        if not names:
            raise UserError(f"--root {root}: there are no runs yet; run the pipeline, or set --root")
        name = names[0]
    if name not in names:
        hint = did_you_mean(name, names) if names else "; run the pipeline, or set --root"
        raise UserError(f"--root {root}: there are no runs of {name!r}{hint}")
    return os.path.join(root, name)


def find_run(word: str, root: str, config_file: Optional[str]) -> Run:
    """Finds a run.

    Args:
      word: a run's id, `latest`, either of them after a pipeline's name and a slash, or the path of a run's folder.
      root: the run root.
      config_file: configuration of the pipeline; None searches all pipelines under the root.

    Raises:
      UserError: there is not exactly one such run.
    """
    if os.path.isfile(os.path.join(word, RUN_FILE)):
        return Run(os.path.realpath(word))
    if word.count("/") > 1 or ("/" in word and os.path.isdir(word)):
        raise UserError(f"{word}: not the folder of a run: it has no {RUN_FILE}, which earlier versions did not write")
    pipeline, _, run = word.rpartition("/")
    if pipeline or config_file is not None:
        folders = [find_pipeline(root, config_file, pipeline)]
    else:
        folders = [os.path.join(root, name) for name in _pipelines(root)] or [find_pipeline(root, None, None)]
    paths = [path for folder in folders if os.path.isdir(path := os.path.join(folder, HISTORY, run))]
    if len(paths) > 1:
        choices = ", ".join(f"{os.path.basename(folder)}/{run}" for folder in folders)
        raise UserError(f"{word}: several pipelines have such a run; choose one of {choices}, or set --config")
    if not paths:
        raise _no_such_run(word, run, folders)
    return Run(os.path.realpath(paths[0]))


def _no_such_run(word: str, run: str, folders: list[str]) -> UserError:
    runs = [each for folder in folders for each in _runs(folder)] or list_runs(folders[0])
    if run == LATEST:
        return UserError(f"{word}: no run has reached a verdict yet; the newest is {runs[-1].id} ({runs[-1].status})")
    newest = ", ".join(each.id for each in runs[: -_LISTED_RUNS - 1 : -1])
    return UserError(f"{word}: no such run; the newest are {newest}")


def _make_folder(parent: str) -> str:
    """Creates a folder named by the time, UTC, with a number if another run started in the same second."""
    second = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    os.makedirs(parent, exist_ok=True)
    for number in itertools.count(1):
        path = os.path.join(parent, second if number == 1 else f"{second}-{number:02}")
        with contextlib.suppress(FileExistsError):
            os.mkdir(path)
            break
    return path


def _pipelines(root: str) -> list[str]:
    """Returns the names of the folders under a run root in which a pipeline has run."""
    try:
        names = sorted(os.listdir(root))
    except OSError:
        return []
    kept = (HISTORY, SUMMARY_FILE)
    return [name for name in names if any(os.path.exists(os.path.join(root, name, each)) for each in kept)]


def _runs(folder: str) -> list[Run]:
    try:
        with os.scandir(os.path.join(folder, HISTORY)) as entries:
            folders = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []
    return [Run(path) for path in sorted(folders)]


def _is_locked(file: str) -> bool:
    """Returns whether the run that wrote a `run.json` is still running."""
    try:
        with open(file, "rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _read_json(file: str) -> Optional[Any]:
    """Returns the content of a file; None if it is missing or damaged, as after a power failure."""
    try:
        with open(file, encoding="utf-8") as stream:
            return json.load(stream)
    except (OSError, ValueError):
        return None


def _flatten(tree: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """`{"a": {"b": 1}}` -> `("a.b", 1)`."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
