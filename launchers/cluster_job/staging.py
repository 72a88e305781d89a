"""The folder of a job on the shared volume: its workers' inputs, outputs and messages."""

import glob
import logging
import os
import shutil
import time
from typing import Sequence, Union

from tfx.dsl.io import fileio
from tfx.utils import io_utils

from launchers import worker
from launchers.base import WorkerJob

# A job's folder is abandoned if its launcher has written no heartbeat for this long.
_ABANDONED_AFTER_S = 24 * 3600

Value = Union[str, Sequence[str]]


class Stage:
    """A job's folder, with places for its inputs, outputs and messages.

    Attributes:
      folder: its path, the same here and in the workers.
    """

    def __init__(self, folder: str, job: WorkerJob):
        self.folder = folder
        self._job = job
        self._outputs = {name: os.path.join(folder, "outputs", name) for name in job.outputs}

    def create(self) -> str:
        """Creates the folder, replacing that of an earlier attempt, and copies the inputs into it.

        Returns:
          The path of the job's file, whose arguments are the paths in this folder.
        """
        self.remove()
        os.makedirs(self.folder)
        self.write_heartbeat()
        _remove_abandoned(os.path.dirname(self.folder))
        inputs = {name: self._copy_in(name, self._job.arguments[name]) for name in self._job.inputs}
        return self._job.write(self.folder, {**self._job.arguments, **inputs, **self._outputs})

    def write_heartbeat(self) -> None:
        """Writes the launcher's heartbeat; the workers end after `worker.LAUNCHER_TIMEOUT_S` without one."""
        with open(os.path.join(self.folder, worker.LAUNCHER_FILE), "w", encoding="utf-8") as stream:
            stream.write(str(time.time_ns()))

    def missing(self) -> list[str]:
        """Returns the names of the outputs that the workers have not written."""
        return [name for name, staged in self._outputs.items() if not os.path.isdir(staged)]

    def deliver(self) -> None:
        """Copies each output to its destination, completely or not at all."""
        destinations = {staged: self._job.arguments[name].rstrip("/") for name, staged in self._outputs.items()}
        for staged, destination in destinations.items():
            # Next to the destination first, since the volume is another file system and a rename can't cross it.
            io_utils.copy_dir(staged, destination + ".part")
        for destination in destinations.values():
            if fileio.exists(destination):
                fileio.rmtree(destination)
            fileio.rename(destination + ".part", destination)

    def remove(self) -> None:
        """Removes the folder if it exists."""
        # A worker that is being stopped may still write to it.
        shutil.rmtree(self.folder, ignore_errors=True)

    def _copy_in(self, name: str, value: Value) -> Value:
        """Copies the paths of an argument; returns the paths of the copies."""
        if isinstance(value, str):
            return _copy(value, os.path.join(self.folder, "inputs", name))
        return [_copy(path, os.path.join(self.folder, "inputs", name, str(i))) for i, path in enumerate(value)]


def _copy(pattern: str, folder: str) -> str:
    """Copies the files and folders that match a pattern; returns the pattern of the copies."""
    root = _fixed_part(pattern)
    for path in fileio.glob(pattern.rstrip("/")):
        copy = io_utils.copy_dir if fileio.isdir(path) else io_utils.copy_file
        copy(path, os.path.join(folder, os.path.relpath(path, root)))
    return os.path.join(folder, os.path.relpath(pattern, root))


def _fixed_part(pattern: str) -> str:
    """Returns the innermost folder that contains everything a pattern may match."""
    root = os.path.dirname(pattern.rstrip("/"))
    while glob.has_magic(root):
        root = os.path.dirname(root)
    return root


def _remove_abandoned(jobs: str) -> None:
    for file in glob.glob(os.path.join(jobs, "*", worker.LAUNCHER_FILE)):
        if time.time() - os.path.getmtime(file) > _ABANDONED_AFTER_S:
            logging.info("removing the abandoned job in %s", os.path.dirname(file))
            shutil.rmtree(os.path.dirname(file), ignore_errors=True)
