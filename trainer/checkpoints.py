"""Checkpoints of a training: weights, optimizer and where in the data it is, so that a killed run goes on.

| in a training's folder | what                                                                               |
|------------------------|------------------------------------------------------------------------------------|
| `state-<step>.*`       | all that the training goes on from; the newest two are kept                        |
| `best-<step>.*`        | the weights after the best epoch; those that a kept state names are kept           |

One worker writes, all read. A state that was torn (a killed writer, a full disk) is passed over for the one before.
"""

import glob
import hashlib
import json
import logging
import os
import re
import shutil
import time
from typing import Any, Optional, Sequence

import tensorflow as tf
from google.protobuf import message

KEPT_STATES = 2

# Where TensorFlow puts the value of `Checkpoint(progress=<PythonState>)`.
_PROGRESS = "progress/.ATTRIBUTES/py_state"

# What TensorFlow raises for a file that is cut, changed or gone, or holds other variables: its checkpoint reader has
# Python's errors for some of TensorFlow's codes.
_UNREADABLE = (tf.errors.OpError, ValueError, LookupError, RuntimeError, AssertionError, message.DecodeError)

# A folder of another training that nobody has written to for so long was abandoned.
ABANDONED_AFTER_S = 7 * 24 * 3600


def training_key(*parts: Any) -> str:
    """Names a training by all that its result depends on, JSON values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


class Checkpoints:
    """The checkpoints of one training."""

    def __init__(self, folder: str, trackables: "dict[str, Any]", weights: Sequence[tf.Variable], writes: bool):
        """Makes the folder.

        Args:
          folder: this training's own; workers on several hosts share it.
          trackables: name -> what TensorFlow can save of the state; its variables exist already.
          weights: the variables of which the best are kept.
          writes: whether this worker is the one that writes.
        """
        self.folder = folder
        self._progress = _JsonState()
        self._state = tf.train.Checkpoint(progress=self._progress, **trackables)
        self._best = tf.train.Checkpoint(weights=list(weights))
        self._writes = writes
        if writes:
            tf.io.gfile.makedirs(folder)
            # What a writer left that was killed before it was done.
            for unfinished in tf.io.gfile.glob(os.path.join(folder, "*_temp")):
                tf.io.gfile.rmtree(unfinished)

    def save(self, step: int, progress: Any) -> None:
        """Writes a state.

        Args:
          step: training steps done.
          progress: JSON; `best_step` in it names the weights that `save_best` wrote, or is None.
        """
        if not self._writes:
            return
        self._progress.content = progress
        self._state.write(self._path("state", step))
        self._clean_up()

    def save_best(self, step: int) -> None:
        """Writes the weights as they are after a step; a state that names the step makes them count."""
        if self._writes:
            self._best.write(self._path("best", step))

    def restore(self) -> Optional[Any]:
        """Restores the newest state that is whole.

        Returns:
          Its progress; None where there is none, and the variables are what they were.
        """
        for step in sorted(self._steps("state"), reverse=True):
            try:
                # All checks first: what is read half is assigned half.
                progress = json.loads(_checked(self._path("state", step)).get_tensor(_PROGRESS))
                if progress["best_step"] is not None:
                    _checked(self._path("best", progress["best_step"]))
                self._state.read(self._path("state", step)).assert_existing_objects_matched()
                return progress
            except _UNREADABLE as error:
                first_line = (str(error).splitlines() or [""])[0]
                logging.warning("%s can't be read, the one before is tried: %s", self._path("state", step), first_line)
        return None

    def restore_best(self, step: int, weights: Sequence[tf.Variable]) -> None:
        """Reads the weights that `save_best` wrote into variables, which may be another model's."""
        tf.train.Checkpoint(weights=list(weights)).read(self._path("best", step)).assert_consumed()

    def remove(self) -> None:
        """Removes all of this training, whose result is safe elsewhere."""
        if self._writes:
            tf.io.gfile.rmtree(self.folder)

    def _clean_up(self) -> None:
        """Keeps the newest states, and the best weights that they or a state to come may name."""
        for step in sorted(self._steps("state"))[:-KEPT_STATES]:
            self._delete("state", step)
        named = self._progress.content["best_step"]
        # The state before this one may name the best before this one.
        best = [step for step in sorted(self._steps("best")) if step <= (named or 0)]
        for step in best[:-KEPT_STATES]:
            self._delete("best", step)

    def _delete(self, kind: str, step: int) -> None:
        # The index first: without it the rest counts as no checkpoint.
        for file in sorted(tf.io.gfile.glob(self._path(kind, step) + ".*"), key=lambda f: not f.endswith(".index")):
            tf.io.gfile.remove(file)

    def _steps(self, kind: str) -> list[int]:
        files = tf.io.gfile.glob(self._path(kind, "*") + ".index")
        found = (re.search(rf"{kind}-(\d+)\.index$", file) for file in files)
        return [int(match[1]) for match in found if match]

    def _path(self, kind: str, step: "int | str") -> str:
        return os.path.join(self.folder, f"{kind}-{step}")


def _checked(path: str) -> Any:
    """Reads every tensor of a checkpoint, whose checksums TensorFlow then compares; returns its reader."""
    reader = tf.train.load_checkpoint(path)
    for name in reader.get_variable_to_shape_map():
        reader.get_tensor(name)
    return reader


def remove_abandoned(root: str, key: str) -> None:
    """Removes the folders of other trainings that were never finished.

    Args:
      root: holds a folder a training; an address is left alone.
      key: the present training's.
    """
    for folder in glob.glob(os.path.join(root, "*", "")):
        files = glob.glob(os.path.join(folder, "*"))
        touched = max(map(os.path.getmtime, [folder, *files]))
        if os.path.basename(os.path.dirname(folder)) != key and time.time() - touched > ABANDONED_AFTER_S:
            logging.info("removing the abandoned training in %s", folder)
            shutil.rmtree(folder, ignore_errors=True)


class _JsonState(tf.train.experimental.PythonState):
    """A JSON value inside a checkpoint."""

    def __init__(self) -> None:
        self.content: Any = None

    def serialize(self) -> str:
        return json.dumps(self.content)

    def deserialize(self, string_value: bytes) -> None:
        self.content = json.loads(string_value)
