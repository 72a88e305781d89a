"""How a serving folder changes: one writer at a time, and every change a reader sees is one rename.

<serving.dir>/
  .push.lock            held by whoever changes the folder
  .push-*/              a model on its way in or out; no model server looks at a name that is no number
  1763827200/           a version: the SavedModel, and `assets.extra/push.json`, the record of its push
"""

import contextlib
import dataclasses
import datetime
import fcntl
import json
import os
import shutil
import tempfile
import time
from typing import Any, Iterator, Mapping, Optional, Sequence

import tensorflow as tf
from tfx.proto import pusher_pb2
from tfx.types import standard_component_specs
from tfx.utils import json_utils, proto_utils

from components import model_files
from pipeline.errors import UserError

KEEP = "keep"
PUSH_ID = "push_id"
RECORD_FILE = model_files.PUSH_RECORD
_LOCK_FILE = ".push.lock"
_HIDDEN = ".push-"


@dataclasses.dataclass(frozen=True)
class PushRecord:
    """What a pushed version says of its push.

    Attributes:
      push_id: 32 hexadecimal digits, the push's own.
      model_sha256: `model_files.model_sha256` of the model.
      time: when it was pushed, ISO 8601, UTC.
    """

    push_id: str
    model_sha256: str
    time: str = dataclasses.field(
        default_factory=lambda: datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    )


def parse_custom_config(exec_properties: Mapping[str, Any]) -> dict[str, Any]:
    """Reads the `custom_config` property; absent stands for an empty one."""
    return json_utils.loads(exec_properties.get(standard_component_specs.CUSTOM_CONFIG_KEY) or "null") or {}


def base_directory(exec_properties: Mapping[str, Any]) -> str:
    """Reads the serving folder from the `push_destination` property.

    Raises:
      UserError: it is no folder on a file system.
    """
    destination = pusher_pb2.PushDestination()
    proto_utils.json_to_proto(exec_properties[standard_component_specs.PUSH_DESTINATION_KEY], destination)
    model_files.check_local(destination.filesystem.base_directory)
    return destination.filesystem.base_directory


def read_record(version_path: str) -> Optional[PushRecord]:
    """Reads a version's record; None where it has none, as a version that someone put there by hand."""
    try:
        with open(os.path.join(version_path, RECORD_FILE), encoding="utf-8") as stream:
            return PushRecord(**json.load(stream))
    except (OSError, ValueError, TypeError):
        return None


def next_version(existing: Sequence[int], now_s: int) -> int:
    """The version after the existing ones: the time in seconds since 1970, or more where that is taken."""
    return max([now_s, *(version + 1 for version in existing)])


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


def version_of(serving_dir: str, digest: str) -> Optional[str]:
    """Name of the newest version if it is the model with that digest, else None."""
    versions = model_files.served_versions(serving_dir)
    if versions and model_files.model_sha256(versions[-1]) == digest:
        return os.path.basename(versions[-1])
    return None


def publish(staging: str, serving_dir: str, record: PushRecord) -> str:
    """Turns the one model in the hidden folder into the newest version.

    Returns:
      The version, the name of its folder.
    """
    (staged,) = model_files.served_versions(staging)
    record_file = os.path.join(staged, RECORD_FILE)
    os.makedirs(os.path.dirname(record_file), exist_ok=True)
    with open(record_file, "w", encoding="utf-8") as stream:
        json.dump(dataclasses.asdict(record), stream, indent=2)
    _flush(staged)
    existing = [int(os.path.basename(path)) for path in model_files.served_versions(serving_dir)]
    version = str(next_version(existing, int(time.time())))
    os.rename(staged, os.path.join(serving_dir, version))
    _flush_entry(serving_dir)
    return version


def retire(serving_dir: str, keep: Optional[int]) -> None:
    """Removes all but the newest `keep` versions (None: keeps all); one without our record always stays."""
    versions = model_files.served_versions(serving_dir)
    for path in versions[:-keep] if keep else ():
        if read_record(path) is not None:
            # The version goes out of sight in one step; the hidden folder is removed after it.
            os.rename(path, tempfile.mkdtemp(prefix=_HIDDEN, dir=serving_dir))


def _remove_hidden(serving_dir: str) -> None:
    for name in os.listdir(serving_dir):
        if name.startswith(_HIDDEN):
            shutil.rmtree(os.path.join(serving_dir, name))


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
