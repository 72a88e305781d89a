"""The folder of a job on the shared volume: what its workers read, and what they have written."""

import glob
import logging
import os
import shutil
import time
from typing import Sequence, Union

from tfx.dsl.io import fileio
from tfx.utils import io_utils

from launchers import local_processes, worker

# A job's folder whose launcher has given no sign of life for so long was abandoned.
_ABANDONED_AFTER_S = 24 * 3600

Value = Union[str, Sequence[str]]


class Stage:
    """A job's own folder; its inputs, outputs and messages have places in it.

    Attributes:
      folder: where it is, the same path here and in the workers.
    """

    def __init__(self, folder: str, job: local_processes.Job):
        self.folder = folder
        self._job = job
        self._outputs = {name: os.path.join(folder, "outputs", name) for name in job.outputs}

    def fill(self) -> str:
        """Makes the folder, in place of what an earlier attempt has left.

        Returns:
          The job's file, whose arguments name the folder's inputs and outputs.
        """
        self.remove()
        os.makedirs(self.folder)
        self.sign()
        _remove_abandoned(os.path.dirname(self.folder))
        inputs = {name: self._staged(name, self._job.arguments[name]) for name in self._job.inputs}
        return self._job.write(self.folder, {**self._job.arguments, **inputs, **self._outputs})

    def sign(self) -> None:
        """Gives the workers a sign of life; without one for `worker.LAUNCHER_SILENCE_S` they end."""
        with open(os.path.join(self.folder, worker.LAUNCHER_FILE), "w", encoding="utf-8") as stream:
            stream.write(str(time.time_ns()))

    def missing(self) -> list[str]:
        """Returns the names of the outputs that the workers have not written."""
        return [name for name, staged in self._outputs.items() if not os.path.isdir(staged)]

    def deliver(self) -> None:
        """Copies each output to where it belongs, whole or not at all."""
        places = {staged: self._job.arguments[name].rstrip("/") for name, staged in self._outputs.items()}
        for staged, place in places.items():
            # Beside its place: the volume is another file system.
            io_utils.copy_dir(staged, place + ".part")
        for place in places.values():
            if fileio.exists(place):
                fileio.rmtree(place)
            fileio.rename(place + ".part", place)

    def remove(self) -> None:
        """Removes the folder, if it is there."""
        # A worker that is just being ended may write to it once more.
        shutil.rmtree(self.folder, ignore_errors=True)

    def _staged(self, name: str, value: Value) -> Value:
        """Copies what an argument names; returns what it is called then."""
        if isinstance(value, str):
            return _copied(value, os.path.join(self.folder, "inputs", name))
        return [_copied(one, os.path.join(self.folder, "inputs", name, str(i))) for i, one in enumerate(value)]


def _copied(pattern: str, folder: str) -> str:
    """Copies what a pattern matches, files or folders; returns a pattern that matches the copies."""
    root = _fixed_part(pattern)
    for path in fileio.glob(pattern.rstrip("/")):
        copy = io_utils.copy_dir if fileio.isdir(path) else io_utils.copy_file
        copy(path, os.path.join(folder, os.path.relpath(path, root)))
    return os.path.join(folder, os.path.relpath(pattern, root))


def _fixed_part(pattern: str) -> str:
    """Returns the innermost folder that holds all that a pattern may match."""
    root = os.path.dirname(pattern.rstrip("/"))
    while glob.has_magic(root):
        root = os.path.dirname(root)
    return root


def _remove_abandoned(jobs: str) -> None:
    for file in glob.glob(os.path.join(jobs, "*", worker.LAUNCHER_FILE)):
        if time.time() - os.path.getmtime(file) > _ABANDONED_AFTER_S:
            logging.info("removing the abandoned job in %s", os.path.dirname(file))
            shutil.rmtree(os.path.dirname(file), ignore_errors=True)
