"""Checkpoints of a training: weights, optimizer and position in the data, from which a killed run continues.

| in a training's folder | content                                                                  |
|------------------------|--------------------------------------------------------------------------|
| `state-<step>.*`       | the whole state of the training; the newest two are kept                 |
| `best-<step>.*`        | the weights after the best epoch; those that a kept state names are kept |

One worker writes, all workers read. If a state is incomplete (a killed writer, a full disk), the previous one is used.
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

# The key of `Checkpoint(progress=<PythonState>)` in a checkpoint.
_PROGRESS = "progress/.ATTRIBUTES/py_state"

# TensorFlow's errors for a file that is truncated, corrupt or missing, or contains other variables. For some of its
# status codes, the reader raises Python's exceptions.
_UNREADABLE = (tf.errors.OpError, ValueError, LookupError, RuntimeError, AssertionError, message.DecodeError)

# Another training's folder is abandoned if nothing was written to it for this long.
ABANDONED_AFTER_S = 7 * 24 * 3600


def training_key(*parts: Any) -> str:
    """Returns a key for all JSON values that a training's result depends on."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


class Checkpoints:
    """The checkpoints of one training."""

    def __init__(self, folder: str, trackables: "dict[str, Any]", weights: Sequence[tf.Variable], writes: bool):
        """Creates the folder.

        Args:
          folder: the folder of this training only, which all workers share.
          trackables: name -> part of the state that TensorFlow can save; its variables have to exist.
          weights: the variables whose best values are kept.
          writes: whether this worker is the one that writes.
        """
        self.folder = folder
        self._progress = _JsonState()
        self._state = tf.train.Checkpoint(progress=self._progress, **trackables)
        self._best = tf.train.Checkpoint(weights=list(weights))
        self._writes = writes
        if writes:
            tf.io.gfile.makedirs(folder)
            # Left by a writer that was killed.
            for unfinished in tf.io.gfile.glob(os.path.join(folder, "*_temp")):
                tf.io.gfile.rmtree(unfinished)

    def save(self, step: int, progress: Any) -> None:
        """Writes a state.

        Args:
          step: number of training steps done.
          progress: JSON value; its `best_step` names the weights that `save_best` wrote, or is None.
        """
        if not self._writes:
            return
        self._progress.content = progress
        self._state.write(self._path("state", step))
        self._clean_up()

    def save_best(self, step: int) -> None:
        """Writes the weights after a step; they are used once a state names the step."""
        if self._writes:
            self._best.write(self._path("best", step))

    def restore(self) -> Optional[Any]:
        """Restores the newest complete state.

        Returns:
          Its progress; None if there is no such state, and the variables are unchanged.
        """
        for step in sorted(self._steps("state"), reverse=True):
            try:
                # All checks come first, since a failing read may already have assigned some variables.
                progress = json.loads(_verify(self._path("state", step)).get_tensor(_PROGRESS))
                if progress["best_step"] is not None:
                    _verify(self._path("best", progress["best_step"]))
                self._state.read(self._path("state", step)).assert_existing_objects_matched()
                return progress
            except _UNREADABLE as error:
                first_line = (str(error).splitlines() or [""])[0]
                logging.warning(
                    "%s: cannot be read, trying the previous checkpoint: %s", self._path("state", step), first_line
                )
        return None

    def restore_best(self, step: int, weights: Sequence[tf.Variable]) -> None:
        """Restores the weights that `save_best` wrote to these variables, which may belong to another model."""
        tf.train.Checkpoint(weights=list(weights)).read(self._path("best", step)).assert_consumed()

    def remove(self) -> None:
        """Removes the folder, when the training's result has been written elsewhere."""
        if self._writes:
            tf.io.gfile.rmtree(self.folder)

    def _clean_up(self) -> None:
        """Removes all but the newest states, and the best weights that no state can name any more."""
        for step in sorted(self._steps("state"))[:-KEPT_STATES]:
            self._delete("state", step)
        named = self._progress.content["best_step"]
        # The previous state may name the previous best.
        best = [step for step in sorted(self._steps("best")) if step <= (named or 0)]
        for step in best[:-KEPT_STATES]:
            self._delete("best", step)

    def _delete(self, kind: str, step: int) -> None:
        # The index first: without it the other files do not count as a checkpoint.
        for file in sorted(tf.io.gfile.glob(self._path(kind, step) + ".*"), key=lambda f: not f.endswith(".index")):
            tf.io.gfile.remove(file)

    def _steps(self, kind: str) -> list[int]:
        files = tf.io.gfile.glob(self._path(kind, "*") + ".index")
        matches = (re.search(rf"{kind}-(\d+)\.index$", file) for file in files)
        return [int(match[1]) for match in matches if match]

    def _path(self, kind: str, step: "int | str") -> str:
        return os.path.join(self.folder, f"{kind}-{step}")


def _verify(path: str) -> Any:
    """Reads every tensor of a checkpoint, so that TensorFlow verifies the checksums; returns the reader."""
    reader = tf.train.load_checkpoint(path)
    for name in reader.get_variable_to_shape_map():
        reader.get_tensor(name)
    return reader


def remove_abandoned(root: str, key: str) -> None:
    """Removes the folders of other trainings that were abandoned.

    Args:
      root: the folder of all trainings' folders; nothing is removed from a remote one.
      key: the current training's key.
    """
    for folder in glob.glob(os.path.join(root, "*", "")):
        files = glob.glob(os.path.join(folder, "*"))
        touched = max(map(os.path.getmtime, [folder, *files]))
        if os.path.basename(os.path.dirname(folder)) != key and time.time() - touched > ABANDONED_AFTER_S:
            logging.info("removing the checkpoints of an abandoned training: %s", folder)
            shutil.rmtree(folder, ignore_errors=True)


class _JsonState(tf.train.experimental.PythonState):
    """A JSON value inside a checkpoint."""

    def __init__(self) -> None:
        self.content: Any = None

    def serialize(self) -> str:
        return json.dumps(self.content)

    def deserialize(self, string_value: bytes) -> None:
        self.content = json.loads(string_value)
