"""Changes a serving folder with one writer at a time; every change that a reader can observe is one rename.

<serving.dir>/
  .push.lock            locked by the writer
  .push.state.json      a `State`: facts about versions that may have been removed
  .push-*/              a model being added or removed; model servers ignore names that are not numbers
  1763827200/           a version: the SavedModel and the files that a push adds (`model_files`)
"""

import contextlib
import dataclasses
import json
import os
import shutil
import tempfile
import time
from typing import Iterator, Mapping, Optional, Sequence

import filelock
import pydantic

from artifacts import model_files
from components.pusher import record as push_record
from components.pusher.record import PushRecord, Rollback
from core.errors import UserError

_LOCK_FILE = ".push.lock"
_STATE_FILE = ".push.state.json"
_HIDDEN = ".push-"


@dataclasses.dataclass(frozen=True)
class State:
    """Facts about versions that may have been removed.

    Attributes:
      highest_version: the largest number ever used; 0 before the first push.
      rolled_back: digest of a model that a run must not push again -> the rollback from it.
    """

    highest_version: int = 0
    rolled_back: Mapping[str, Rollback] = dataclasses.field(default_factory=dict)

    def after(self, version: int, record: PushRecord) -> "State":
        """Returns the state after a version was published, whose model is then no longer rolled back."""
        rolled_back = dict(self.rolled_back)
        if record.rollback is not None:
            rolled_back[record.rollback.from_sha256] = record.rollback
        rolled_back.pop(record.model_sha256, None)
        return State(version, rolled_back)


@dataclasses.dataclass(frozen=True)
class Version:
    """A version in the serving folder; `record` is None if it was copied there by hand."""

    number: int
    path: str
    record: Optional[PushRecord]

    @property
    def model_sha256(self) -> str:
        """Digest of the model when it was pushed, or its current digest if there is no record."""
        return self.record.model_sha256 if self.record else model_files.model_sha256(self.path)


def versions(serving_dir: str) -> list[Version]:
    """Lists the versions, the newest last.

    Raises:
      UserError: the folder can't be read.
    """
    paths = model_files.served_versions(serving_dir)
    return [Version(int(os.path.basename(path)), path, push_record.read(path)) for path in paths]


def read_state(serving_dir: str) -> State:
    """Reads the folder's state, which is empty before the first push.

    Raises:
      UserError: the file is damaged.
    """
    path = os.path.join(serving_dir, _STATE_FILE)
    try:
        with open(path, "rb") as stream:
            return pydantic.TypeAdapter(State).validate_json(stream.read())
    except FileNotFoundError:
        return State()
    except ValueError as error:
        raise UserError(
            f"{path}: damaged; remove it and repeat the last rollback, otherwise its model may be pushed again"
        ) from error


def next_version(taken: Sequence[int], now_s: int) -> int:
    """Returns the next version: the time in seconds since 1970, or one after the largest version ever used.

    Raises:
      UserError: the number is too large for a model server.
    """
    version = max([now_s, *(number + 1 for number in taken)])
    if version > model_files.LARGEST_VERSION:
        raise UserError(f"serving.dir: version {version - 1} is the largest possible number; remove that folder")
    return version


@contextlib.contextmanager
def exclusive(serving_dir: str) -> Iterator[str]:
    """Locks a serving folder and creates a hidden folder in it to prepare a version in.

    The kernel releases the lock when its process ends, even by `kill -9`, so any hidden folder that exists once the
    lock is held is left over from a push that was killed.

    Yields:
      The hidden folder.

    Raises:
      UserError: the folder can't be written, on entry or in the body.
    """
    import tensorflow as tf  # Slow; who only reads the folder need not wait for it.

    try:
        os.makedirs(serving_dir, exist_ok=True)
        # Without a fallback: a lock that is only a file would outlive a killed process.
        with filelock.FileLock(os.path.join(serving_dir, _LOCK_FILE), fallback_to_soft=False):
            _remove_hidden(serving_dir)
            try:
                yield tempfile.mkdtemp(prefix=_HIDDEN, dir=serving_dir)
            finally:
                _remove_hidden(serving_dir)
    except (OSError, tf.errors.OpError) as error:
        raise UserError(f"serving.dir = {serving_dir!r}: should be a writable folder: {error}") from error


def publish(staged: str, serving_dir: str, record: PushRecord) -> str:
    """Makes a prepared model the newest version.

    The state is written first. If the process is killed before the model is in place, a version number is skipped and a
    rollback has not taken place.

    Args:
      staged: the model, in the hidden folder of `exclusive`.
      serving_dir: the serving folder.
      record: the record of this push.

    Returns:
      The version, which is the name of its folder.

    Raises:
      UserError: the copied files differ from the model's.
    """
    digest = model_files.model_sha256(staged)
    if digest != record.model_sha256:
        raise UserError(
            f"serving.dir = {serving_dir!r}: nothing was pushed: the copy's digest {digest} differs from the model's "
            f"{record.model_sha256}; the model was changed during the push, or the disk is faulty"
        )
    push_record.write(staged, record)
    _flush(staged)
    state = read_state(serving_dir)
    # All names, because a file with that name would be in the way too.
    taken = [int(name) for name in os.listdir(serving_dir) if model_files.is_version(name)]
    version = next_version([*taken, state.highest_version], int(time.time()))
    _write_state(serving_dir, state.after(version, record), os.path.dirname(staged))
    os.rename(staged, os.path.join(serving_dir, str(version)))
    _flush_entry(serving_dir)
    return str(version)


def newest_version_if(serving_dir: str, digest: str) -> Optional[str]:
    """Returns the name of the newest version if it is the model with that digest, else None."""
    paths = model_files.served_versions(serving_dir)
    if paths and model_files.model_sha256(paths[-1]) == digest:
        return os.path.basename(paths[-1])
    return None


def retire(serving_dir: str, keep: Optional[int], hidden: str) -> None:
    """Removes all but the newest versions; links and versions without a record are never removed.

    Args:
      serving_dir: the serving folder.
      keep: number of versions to keep; None keeps all.
      hidden: the hidden folder of `exclusive`: a version is moved there in one step, and removed with it.
    """
    for version in versions(serving_dir)[:-keep] if keep else ():
        if version.record is not None and not os.path.islink(version.path):
            os.rename(version.path, os.path.join(hidden, f"retired-{version.number}"))


def _write_state(serving_dir: str, state: State, hidden: str) -> None:
    """Replaces the state atomically, by a file in the hidden folder that is flushed to disk first."""
    new = os.path.join(hidden, _STATE_FILE)
    with open(new, "w", encoding="utf-8") as stream:
        json.dump(dataclasses.asdict(state), stream, indent=2)
    _flush_entry(new)
    os.replace(new, os.path.join(serving_dir, _STATE_FILE))
    _flush_entry(serving_dir)


def _remove_hidden(serving_dir: str) -> None:
    with os.scandir(serving_dir) as entries:
        for entry in entries:
            if entry.name.startswith(_HIDDEN) and entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)


def _flush(folder: str) -> None:
    """Flushes a tree to disk, so that a version is complete even if the power fails after the rename."""
    for parent, _, names in os.walk(folder):
        for name in names:
            _flush_entry(os.path.join(parent, name))
        _flush_entry(parent)


def _flush_entry(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
