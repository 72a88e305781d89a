"""The versions of a model: one that appears in the serving folder is loaded beside the one in use, and replaces it.

The newest version that can be loaded is in use. Requests that started with the one before still end with it.
"""

import asyncio
import contextlib
import dataclasses
import os
import time
from typing import Any, Callable, Iterator, Optional

from artifacts import model_files
from core.errors import UserError
from local import serving
from local.server.pool import Pool
from local.server.worker import Loaded

# How often the folder is listed, which takes microseconds; TensorFlow Serving does it as often.
_INTERVAL_S = 1.0

LOADING, AVAILABLE, END = "LOADING", "AVAILABLE", "END"


class Version:
    """A loaded version.

    Attributes:
      number: its number.
      loaded: its description.
      pool: its workers.
    """

    def __init__(self, number: int, loaded: Loaded, pool: Pool) -> None:
        self.number, self.loaded, self.pool = number, loaded, pool
        self._users, self._replaced = 0, False

    @contextlib.contextmanager
    def use(self) -> Iterator[None]:
        """Keeps the workers inside the context, even if another version replaces this one meanwhile."""
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            self._close_unused()

    def replace(self) -> None:
        """Ends the workers once no request uses them any more."""
        self._replaced = True
        self._close_unused()

    def _close_unused(self) -> None:
        if self._replaced and not self._users:
            self.pool.close()


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

    def __init__(self, source: Source, make_pool: Callable[[str], Pool], report: Callable[[str], None]) -> None:
        """Initialises without loading; see `refresh`.

        Args:
          source: where versions come from.
          make_pool: makes the workers of the version in a folder.
          report: called with a sentence about each change.
        """
        self.source, self._make_pool = source, make_pool
        self.current: Optional[Version] = None
        # Number of a version -> state and error, as TensorFlow Serving reports them.
        self.states: dict[int, tuple[str, str]] = {}
        self.failures = 0
        self._report = report
        # Folder of a version that can't be loaded -> the state of its files then.
        self._failed: dict[str, Any] = {}
        # The same -> the state of its files when it was looked at last.
        self._seen: dict[str, Any] = {}
        self._problem = ""

    async def refresh(self) -> None:
        """Loads the newest version that can be loaded, unless it is in use already; a second call may not overlap."""
        try:
            listed = await asyncio.to_thread(self.source.list)
        except UserError as error:
            self._warn(str(error))
            return
        self.states = {number: state for number, state in self.states.items() if number in listed}
        for number, path in listed.items():
            if self.current is not None and self.current.number == number:
                self.states[number] = (AVAILABLE, "")
                self._problem = ""
                return
            if await self._may_load(path) and await self._load(number, path):
                self._problem = ""
                return
        if self.current is not None:
            self.states[self.current.number] = (AVAILABLE, "")
        if not listed:
            self._warn(f"{self.source.folder}: has no versions any more")

    async def load_first(self) -> None:
        """Loads the newest version that can be loaded.

        Raises:
          UserError: none can be; about the newest.
        """
        await self.refresh()
        if self.current is None:
            errors = [error for _, (_, error) in sorted(self.states.items(), reverse=True)]
            raise UserError(errors[0] if errors else self._problem)

    async def watch(self) -> None:
        """Refreshes until cancelled."""
        while not self.source.fixed:
            await asyncio.sleep(_INTERVAL_S)
            await self.refresh()

    def close(self) -> None:
        """Ends the workers."""
        if self.current is not None:
            self.current.pool.close()

    async def _may_load(self, path: str) -> bool:
        """Returns whether a version has not failed yet, or its files have changed since and no longer do."""
        if path not in self._failed:
            return True
        files, before = await asyncio.to_thread(_fingerprint, path), self._seen.get(path)
        self._seen[path] = files
        return files == before and files != self._failed[path]

    async def _load(self, number: int, path: str) -> bool:
        before, started = self.current, time.monotonic()
        # Taken first, so that files that are copied meanwhile are noticed.
        files = await asyncio.to_thread(_fingerprint, path)
        self.states[number] = (LOADING, "")
        pool = self._make_pool(path)
        try:
            version = Version(number, await pool.load(), pool)
        except BaseException as error:
            pool.close()
            if not isinstance(error, UserError):
                raise
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
            before.replace()
        return True

    def _warn(self, problem: str) -> None:
        """Reports a problem once."""
        if problem != self._problem and self.current is not None:
            self._report(f"{problem}{self._describe_current()}")
        self._problem = problem

    def _describe_current(self) -> str:
        return "" if self.current is None else f"; version {self.current.number} stays in use"


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
