"""The versions of a model: one that appears in the serving folder is loaded beside the one in use, and replaces it.

The newest version that can be loaded is in use. Requests that started with the one before still end with it.
"""

import asyncio
import dataclasses
import gc
import os
import time
from typing import Any, Callable, Mapping, Optional

from artifacts import model_files
from core.errors import UserError
from local import engines, served_model, serving
from local.server import metadata

# How often the folder is listed, which takes microseconds; TensorFlow Serving does it as often.
_INTERVAL_S = 1.0

# Texts of a batch, of some sizes and lengths.
_WARM_UP = (["a"], ["a", "a b c"], ["a " * 64] * 32)

LOADING, AVAILABLE, END = "LOADING", "AVAILABLE", "END"


@dataclasses.dataclass(frozen=True, eq=False)
class Version:
    """A loaded version.

    Attributes:
      number: its number.
      model: the model.
      signatures: name of each signature -> names of its inputs.
      described: the signatures, for `metadata.describe`.
    """

    number: int
    model: served_model.Model
    signatures: Mapping[str, tuple[str, ...]]
    described: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Source:
    """Where versions come from.

    Attributes:
      name: name of the model.
      folder: a serving folder, or the folder of the only version.
      fixed: whether it is the latter.
    """

    name: str
    folder: str
    fixed: bool

    def list(self) -> dict[int, str]:
        """Returns number -> folder of each version, the newest first.

        Raises:
          UserError: the folder can't be read.
        """
        if self.fixed:
            name = os.path.basename(self.folder)
            return {int(name) if model_files.is_version(name) else 1: self.folder}
        return {int(os.path.basename(path)): path for path in reversed(model_files.served_versions(self.folder))}


def find_source(folder: Optional[str], root: str, name: Optional[str]) -> Source:
    """Finds the model to serve.

    Args:
      folder: a serving folder, or the folder of one version, which is then never replaced; None for the serving folder
        with the newest model under the run root.
      root: the run root.
      name: name of the model; None for that of its pipeline.

    Raises:
      UserError: no model was pushed.
    """
    path = os.path.abspath(os.path.dirname(serving.newest_model(root)) if folder is None else folder)
    # A version's folder has files only.
    fixed = not model_files.served_versions(path)
    served = os.path.dirname(path) if fixed else path
    # `<run root>/<pipeline>/serving`; any other folder is named after the model.
    parent, last = os.path.split(served)
    return Source(name or (os.path.basename(parent) if last == "serving" else last) or "model", path, fixed)


class Versions:
    """Loads versions and knows which one is in use."""

    def __init__(self, source: Source, report: Callable[[str], None], engine: str = engines.TENSORFLOW) -> None:
        """Initialises without loading; see `refresh`.

        Args:
          source: where versions come from.
          report: called with a sentence about each change.
          engine: what computes the answers, as in `served_model.load`.
        """
        self.source = source
        self.current: Optional[Version] = None
        # Number of a version -> state and error, as TensorFlow Serving reports them.
        self.states: dict[int, tuple[str, str]] = {}
        self.failures = 0
        self._report, self._engine = report, engine
        # Folder of a version that can't be loaded -> the state of its files then.
        self._failed: dict[str, Any] = {}
        # The same -> the state of its files when it was looked at last.
        self._seen: dict[str, Any] = {}
        self._problem = ""

    def refresh(self) -> None:
        """Loads the newest version that can be loaded, unless it is in use already; a second call may not overlap."""
        try:
            listed = self.source.list()
        except UserError as error:
            self._warn(str(error))
            return
        self.states = {number: state for number, state in self.states.items() if number in listed}
        for number, path in listed.items():
            if self.current is not None and self.current.number == number:
                self.states[number] = (AVAILABLE, "")
                self._problem = ""
                return
            if self._may_load(path) and self._load(number, path):
                self._problem = ""
                return
        if self.current is not None:
            self.states[self.current.number] = (AVAILABLE, "")
        if not listed:
            self._warn(f"{self.source.folder}: has no versions any more")

    def load_first(self) -> None:
        """Loads the newest version that can be loaded.

        Raises:
          UserError: none can be; about the newest.
        """
        self.refresh()
        if self.current is None:
            errors = [error for _, (_, error) in sorted(self.states.items(), reverse=True)]
            raise UserError(errors[0] if errors else self._problem)

    async def watch(self) -> None:
        """Refreshes until cancelled."""
        while not self.source.fixed:
            await asyncio.sleep(_INTERVAL_S)
            await asyncio.to_thread(self.refresh)

    def _may_load(self, path: str) -> bool:
        """Returns whether a version has not failed yet, or its files have changed since and no longer do."""
        if path not in self._failed:
            return True
        files, before = _fingerprint(path), self._seen.get(path)
        self._seen[path] = files
        return files == before and files != self._failed[path]

    def _load(self, number: int, path: str) -> bool:
        before, started = self.current, time.monotonic()
        # Taken first, so that files that are copied meanwhile are noticed.
        files = _fingerprint(path)
        self.states[number] = (LOADING, "")
        try:
            version = load(number, path, self._engine)
        except UserError as error:
            self._failed[path] = files
            self.failures += 1
            self.states[number] = (END, str(error))
            if before is not None:
                self._report(f"{error}{self._describe_current()}")
            return False
        self._failed.pop(path, None)
        self.current = version
        self.states[number] = (AVAILABLE, "")
        if before is not None:
            self.states[before.number] = (END, "")
            self._report(f"version {number} loaded in {time.monotonic() - started:.1f} s, replaces {before.number}")
            del before
            gc.collect()  # A model has cycles, and hundreds of megabytes.
        return True

    def _warn(self, problem: str) -> None:
        """Reports a problem once."""
        if problem != self._problem and self.current is not None:
            self._report(f"{problem}{self._describe_current()}")
        self._problem = problem

    def _describe_current(self) -> str:
        return "" if self.current is None else f"; version {self.current.number} stays in use"


def load(number: int, path: str, engine: str = engines.TENSORFLOW) -> Version:
    """Loads a version.

    Raises:
      UserError: it can't be loaded.
    """
    model = served_model.load(path, "", engine)
    # The first calls are slow; they should not be those of a client.
    for rows in _WARM_UP:
        batch = [(text,) * len(model.card.task.text_inputs) for text in rows]
        model.compute(batch)
        model.count_tokens(batch)
    try:
        described = metadata.read_signatures(path)
    except OSError as error:
        raise UserError(f"{path}: was removed while it was loaded") from error
    return Version(number, model, {name: model.inputs(name) for name in model.loaded.signatures}, described)


def _fingerprint(path: str) -> list[tuple[str, int, int]]:
    """Returns name, size and time of each file, which change while a folder is copied or repaired."""
    found = []
    for parent, _, names in os.walk(path):
        for file in (os.path.join(parent, name) for name in names):
            try:
                status = os.stat(file)
            except OSError:  # Removed meanwhile.
                continue
            found.append((file, status.st_size, status.st_mtime_ns))
    return sorted(found)
