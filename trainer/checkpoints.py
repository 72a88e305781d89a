"""Checkpoints of a training: weights, optimizer and position in the data, from which a killed run continues.

| in a training's folder | content                                                                  |
|------------------------|--------------------------------------------------------------------------|
| `state-<step>.*`       | the whole state of the training; the newest two are kept                 |
| `best-<step>.*`        | the weights after the best epoch; those that a kept state names are kept |

A state of the step with the best weights has only the rest; the weights are in `best-<step>`. The files are TensorFlow
checkpoints of numbered variables. A thread writes them from a copy of the values, while the training goes on. One
worker writes, all workers read. If a state is incomplete (a killed writer, a full disk), the previous one is used.
"""

import concurrent.futures
import glob
import hashlib
import json
import logging
import os
import re
import shutil
import time
from typing import Any, Mapping, Optional, Sequence

import tensorflow as tf
import tf_keras
from google.protobuf import message

KEPT_STATES = 2

# Part of every key; another number makes earlier checkpoints unusable.
_FORMAT = 2

# The progress in a checkpoint, as JSON.
_PROGRESS = "progress"

# TensorFlow's errors for a file that is truncated, corrupt or missing, or contains other variables. For some of its
# status codes, the reader raises Python's exceptions.
_UNREADABLE = (tf.errors.OpError, ValueError, LookupError, RuntimeError, AssertionError, message.DecodeError)

# Another training's folder is abandoned if nothing was written to it for this long.
ABANDONED_AFTER_S = 7 * 24 * 3600


def training_key(*parts: Any) -> str:
    """Returns a key for all JSON values that a training's result depends on."""
    return hashlib.sha256(json.dumps([_FORMAT, *parts], sort_keys=True).encode()).hexdigest()[:16]


class Checkpoints:
    """The checkpoints of one training."""

    def __init__(self, folder: str, trackables: "dict[str, Any]", weights: Sequence[tf.Variable], writes: bool):
        """Creates the folder.

        Args:
          folder: the folder of this training only, which all workers share.
          trackables: name -> variables or an optimizer; all variables have to exist.
          weights: the variables whose best values are kept; they are among the trackables.
          writes: whether this worker is the one that writes.
        """
        self.folder = folder
        variables = _variables(trackables)
        names = {variable.ref(): str(number) for number, variable in enumerate(variables)}
        self._variables = dict(zip(names.values(), variables, strict=True))
        self._weights = [names[weight.ref()] for weight in weights]
        self._best: dict[str, dict[str, tf.Tensor]] = {}
        self._writes = writes
        # One thread, so that only one state is being written.
        self._writer = concurrent.futures.ThreadPoolExecutor(1)
        self._pending: Optional[concurrent.futures.Future[None]] = None
        if writes:
            tf.io.gfile.makedirs(folder)
            # Left by a writer that was killed.
            for unfinished in tf.io.gfile.glob(os.path.join(folder, "*.tempstate*")):
                tf.io.gfile.remove(unfinished)

    def save(self, step: int, progress: Any) -> None:
        """Starts to write a state, when the previous one is complete.

        Args:
          step: number of training steps done.
          progress: JSON value; its `best_step` names the weights that `save_best` took, or is None.

        Raises:
          tf.errors.OpError: the previous state could not be written.
        """
        if not self._writes:
            return
        self.wait()
        saved = set(self._weights) if progress["best_step"] == step else set()
        state = self._values([name for name in self._variables if name not in saved])
        files = {**self._best, self._path("state", step): {**state, _PROGRESS: tf.constant(json.dumps(progress))}}
        self._best = {}
        self._pending = self._writer.submit(self._write, files, step, progress["best_step"])

    def save_best(self, step: int) -> None:
        """Takes the weights after a step; they are written with the next state, before it."""
        if self._writes:
            self._best = {self._path("best", step): self._values(self._weights)}

    def wait(self) -> None:
        """Waits until the last state is complete.

        Raises:
          tf.errors.OpError: it could not be written.
        """
        if self._pending is not None:
            pending, self._pending = self._pending, None
            pending.result()

    def restore(self) -> Optional[Any]:
        """Restores the newest complete state.

        Returns:
          Its progress; None if there is no such state, and the variables are unchanged.
        """
        for step in sorted(self._steps("state"), reverse=True):
            try:
                # All checks come first, since a failing read may already have assigned some variables.
                readers = [_verify(self._path("state", step))]
                progress = json.loads(readers[0].get_tensor(_PROGRESS))
                if progress["best_step"] is not None:
                    readers.append(_verify(self._path("best", progress["best_step"])))
                found = {name: _find(name, variable, readers) for name, variable in self._variables.items()}
            except _UNREADABLE as error:
                first_line = (str(error).splitlines() or [""])[0]
                logging.warning(
                    "%s: cannot be read, trying the previous checkpoint: %s", self._path("state", step), first_line
                )
                continue
            for name, variable in self._variables.items():
                variable.assign(found[name].get_tensor(name))
            return progress
        return None

    def restore_best(self, step: int, weights: Sequence[tf.Variable]) -> None:
        """Restores the weights that `save_best` took to these variables, which may belong to another model."""
        self.wait()
        reader = tf.train.load_checkpoint(self._path("best", step))
        for name, weight in zip(self._weights, weights, strict=True):
            weight.assign(reader.get_tensor(name))

    def remove(self) -> None:
        """Removes the folder, when the training's result has been written elsewhere."""
        if self._writes:
            self.wait()
            tf.io.gfile.rmtree(self.folder)

    def _values(self, names: Sequence[str]) -> dict[str, tf.Tensor]:
        """Returns the values of variables, which later training steps don't change."""
        # On a CPU this copies nothing: the next step that changes a variable does.
        with tf.device("CPU:0"):
            return {name: tf.identity(self._variables[name]) for name in names}

    def _write(self, files: Mapping[str, Mapping[str, tf.Tensor]], step: int, best_step: Optional[int]) -> None:
        for path, values in files.items():
            # The index is written last: without it the other files do not count as a checkpoint.
            tf.raw_ops.SaveV2(
                prefix=path,
                tensor_names=list(values),
                shape_and_slices=[""] * len(values),
                tensors=list(values.values()),
            )
        self._clean_up(step, best_step)

    def _clean_up(self, step: int, best_step: Optional[int]) -> None:
        """Removes all but the newest states, and the best weights that no state can name any more."""
        # Later states could not be read.
        states = sorted(self._steps("state"), key=lambda other: (other <= step, other))
        for old in states[:-KEPT_STATES]:
            self._delete("state", old)
        # The previous state may name the previous best.
        best = [other for other in sorted(self._steps("best")) if other <= (best_step or 0)]
        for old in best[:-KEPT_STATES]:
            self._delete("best", old)

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


def _variables(trackables: "dict[str, Any]") -> list[tf.Variable]:
    """Returns all variables, always in the same order."""
    root = tf.train.Checkpoint(**trackables)  # The view does not keep it alive.
    found = tf.train.TrackableView(root).descendants()
    # An optimizer's moments are not among its descendants.
    for each in list(found):
        if isinstance(each, tf_keras.optimizers.legacy.Optimizer):
            found += each.variables()
    return list({each.ref(): each for each in found if isinstance(each, tf.Variable)}.values())


def _verify(path: str) -> Any:
    """Reads every tensor of a checkpoint, so that TensorFlow verifies the checksums; returns the reader."""
    reader = tf.train.load_checkpoint(path)
    for name in reader.get_variable_to_shape_map():
        reader.get_tensor(name)
    return reader


def _find(name: str, variable: tf.Variable, readers: Sequence[Any]) -> Any:
    """Returns the checkpoint that has a variable.

    Raises:
      ValueError: none has it, or it has another shape there.
    """
    for reader in readers:
        shapes = reader.get_variable_to_shape_map()
        if name in shapes:
            if shapes[name] != variable.shape.as_list():
                raise ValueError(f"variable {name} has shape {shapes[name]} instead of {variable.shape}")
            return reader
    raise ValueError(f"variable {name} ({variable.name}) is missing")


def remove_abandoned(root: str, key: str) -> None:
    """Removes the folders of other trainings that were abandoned.

    Args:
      root: the folder of all trainings' folders; nothing is removed from a remote one.
      key: the current training's key.
    """
    for folder in glob.glob(os.path.join(root, "*", "")):
        files = glob.glob(os.path.join(folder, "*"))
        touched = max(map(_modified_at, [folder, *files]))
        if os.path.basename(os.path.dirname(folder)) != key and time.time() - touched > ABANDONED_AFTER_S:
            logging.info("removing the checkpoints of an abandoned training: %s", folder)
            shutil.rmtree(folder, ignore_errors=True)


def _modified_at(path: str) -> float:
    try:
        return os.path.getmtime(path)
    except FileNotFoundError:
        return time.time()  # Another training has just renamed or removed it.
