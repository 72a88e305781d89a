"""How a serving folder changes: one writer at a time, and every change a reader sees is one rename.

<serving.dir>/
  .push.lock            held by whoever changes the folder
  .push.state.json      a `State`: what has to outlive the versions
  .push-*/              a model on its way in or out; no model server looks at a name that is no number
  1763827200/           a version: the SavedModel, and what a push adds (`model_files`)
"""

import contextlib
import dataclasses
import fcntl
import json
import os
import shutil
import tempfile
import time
from typing import Iterator, Mapping, Optional, Sequence

import pydantic
import tensorflow as tf

from artifacts import model_files
from components.pusher import record as push_record
from components.pusher.record import PushRecord, Rollback
from core.errors import UserError

_LOCK_FILE = ".push.lock"
_STATE_FILE = ".push.state.json"
_HIDDEN = ".push-"


@dataclasses.dataclass(frozen=True)
class State:
    """What a serving folder remembers of versions that may be gone.

    Attributes:
      highest_version: the largest number ever given; 0 before the first.
      rolled_back: digest of a model that a run does not push again -> the rollback that took it out of serving.
    """

    highest_version: int = 0
    rolled_back: Mapping[str, Rollback] = dataclasses.field(default_factory=dict)

    def after(self, version: int, record: PushRecord) -> "State":
        """Returns the state with one more version: whoever publishes a model means it to serve again."""
        rolled_back = dict(self.rolled_back)
        if record.rollback is not None:
            rolled_back[record.rollback.from_sha256] = record.rollback
        rolled_back.pop(record.model_sha256, None)
        return State(version, rolled_back)


@dataclasses.dataclass(frozen=True)
class Version:
    """A version in serving; `record` is None for one that someone put there by hand."""

    number: int
    path: str
    record: Optional[PushRecord]

    @property
    def model_sha256(self) -> str:
        """Digest of the model as it was pushed; of a version without a record, as it is."""
        return self.record.model_sha256 if self.record else model_files.model_sha256(self.path)


def versions(serving_dir: str) -> list[Version]:
    """Lists the versions, the newest last.

    Raises:
      UserError: the folder can't be read.
    """
    paths = model_files.served_versions(serving_dir)
    return [Version(int(os.path.basename(path)), path, push_record.read(path)) for path in paths]


def read_state(serving_dir: str) -> State:
    """Reads what the folder remembers; nothing where no push has been yet.

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
            f"{path}: can't be read as the list of models that were rolled back; remove it, "
            "and roll back again where a model that you took out of serving would come back"
        ) from error


def next_version(taken: Sequence[int], now_s: int) -> int:
    """Returns the version after those that are or ever were: the time in seconds since 1970, or more if need be.

    Raises:
      UserError: there is none that a model server would read.
    """
    version = max([now_s, *(number + 1 for number in taken)])
    if version > model_files.LARGEST_VERSION:
        raise UserError(f"serving.dir: no version comes after {version - 1}; remove the one with that number")
    return version


@contextlib.contextmanager
def exclusive(serving_dir: str) -> Iterator[str]:
    """Locks a serving folder and gives a hidden folder in it to prepare a version in.

    The lock makes whatever hidden folder is there on entry the rest of a push that was killed.

    Raises:
      UserError: the folder can't be written, be it on entry or in the body.
    """
    try:
        os.makedirs(serving_dir, exist_ok=True)
        with open(os.path.join(serving_dir, _LOCK_FILE), "a", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            _remove_hidden(serving_dir)
            try:
                yield tempfile.mkdtemp(prefix=_HIDDEN, dir=serving_dir)
            finally:
                _remove_hidden(serving_dir)
    except (OSError, tf.errors.OpError) as error:
        raise UserError(f"serving.dir = {serving_dir!r}: should be a folder that can be written: {error}") from error


def publish(staged: str, serving_dir: str, record: PushRecord) -> str:
    """Turns a prepared model into the newest version.

    The state is written first: killed between the two, a number is left out, and a model that is being rolled
    back stays where it is until the rollback is asked for again.

    Args:
      staged: the model, in a folder of `exclusive`'s.
      serving_dir: the serving folder.
      record: of this push.

    Returns:
      The version, the name of its folder.

    Raises:
      UserError: the files are not those of the record.
    """
    digest = model_files.model_sha256(staged)
    if digest != record.model_sha256:
        raise UserError(
            f"serving.dir = {serving_dir!r}: nothing was pushed: the copy's files have the digest {digest}, "
            f"the model's had {record.model_sha256}; was it changed meanwhile, or is the disk faulty?"
        )
    push_record.write(staged, record)
    _flush(staged)
    state = read_state(serving_dir)
    # A file with such a name is in a version's way, too.
    taken = [int(name) for name in os.listdir(serving_dir) if model_files.is_version(name)]
    version = next_version([*taken, state.highest_version], int(time.time()))
    _write_state(serving_dir, state.after(version, record), os.path.dirname(staged))
    os.rename(staged, os.path.join(serving_dir, str(version)))
    _flush_entry(serving_dir)
    return str(version)


def newest_if(serving_dir: str, digest: str) -> Optional[str]:
    """Returns the name of the newest version if it is the model with that digest, else None."""
    paths = model_files.served_versions(serving_dir)
    if paths and model_files.model_sha256(paths[-1]) == digest:
        return os.path.basename(paths[-1])
    return None


def retire(serving_dir: str, keep: Optional[int], hidden: str) -> None:
    """Removes all but the newest versions; one that no push of ours made always stays, a link too.

    Args:
      serving_dir: the serving folder.
      keep: how many stay; None keeps all.
      hidden: `exclusive`'s folder: a version goes there in one step, and away with it.
    """
    for version in versions(serving_dir)[:-keep] if keep else ():
        if version.record is not None and not os.path.islink(version.path):
            os.rename(version.path, os.path.join(hidden, f"retired-{version.number}"))


def _write_state(serving_dir: str, state: State, hidden: str) -> None:
    """Replaces the state in one step, on disk before the version that it speaks of is."""
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
    """Makes the disk hold the tree, so that no version is torn by a power cut after the rename."""
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
