"""Returns to an earlier version by publishing its model again, because a model server loads the largest number.

A rollback means that the newest model is bad, although it passed the gates. Therefore

- no run pushes that model again, as a nightly job otherwise would. `serving.allow_rolled_back`, or a rollback to a
  version with that model, lifts the restriction. A model is identified by the digest of its files, so a newly trained
  model is a different one and is checked by the gates as usual;
- without `to`, the newest earlier version is chosen whose model is neither in serving nor rolled back. Repeated
  rollbacks go further back each time instead of alternating between two models.
"""

import contextlib
import os
import shutil
import uuid
from typing import Collection, Optional, Sequence

from artifacts import model_files
from components.pusher import publication
from components.pusher.publication import Version
from components.pusher.record import PushRecord, Rollback
from core.errors import UserError


def roll_back(serving_dir: str, to: Optional[int] = None) -> Version:
    """Publishes an earlier version's model as the newest version.

    Args:
      serving_dir: the folder that the model server watches.
      to: number of the earlier version; None for the default of `choose`.

    Returns:
      The new version; its record has a `rollback`.

    Raises:
      UserError: there is no such version, its files have changed since the push, or the folder can't be written.
    """
    list_versions(serving_dir)  # `exclusive` would create a missing folder.
    with publication.exclusive(serving_dir) as hidden:
        versions = list_versions(serving_dir)
        source = choose(versions, publication.read_state(serving_dir).rolled_back, to)
        _check(source)
        record = _record(source, versions[-1])
        staged = shutil.copytree(
            source.path, os.path.join(hidden, "model"), copy_function=_link_or_copy, ignore=_ignore_push_record
        )
        name = publication.publish(staged, serving_dir, record)
    return Version(int(name), os.path.join(serving_dir, name), record)


def list_versions(serving_dir: str) -> list[Version]:
    """Lists the versions, the newest last.

    Raises:
      UserError: there are none, or the folder can't be read.
    """
    versions = publication.versions(serving_dir)
    if not versions:
        raise UserError(f"{serving_dir}: no model was pushed there yet")
    return versions


def choose(versions: Sequence[Version], rolled_back: Collection[str], to: Optional[int]) -> Version:
    """Chooses the version to return to.

    Args:
      versions: all versions, the newest last; at least one.
      rolled_back: digests of models that were rolled back.
      to: number of the version; None for the newest whose model is neither in serving nor rolled back.

    Raises:
      UserError: there is no such version.
    """
    *earlier, newest = versions
    if not earlier:
        raise UserError(f"version {newest.number} is the only one; no earlier version to roll back to")
    numbers = ", ".join(str(version.number) for version in earlier)
    if to is None:
        excluded = {newest.model_sha256, *rolled_back}
        chosen = next((v for v in reversed(earlier) if v.model_sha256 not in excluded), None)
        fault = "every earlier version has the model in serving or was rolled back; choose one with --to"
    else:
        chosen = next((version for version in earlier if version.number == to), None)
        fault = f"--to {to}: already in serving" if to == newest.number else f"--to {to}: no such version"
    if chosen is None:
        raise UserError(f"{fault}; earlier versions: {numbers}")
    return chosen


def _check(source: Version) -> None:
    if not model_files.has_model(source.path):
        raise UserError(f"{source.path}: has no SavedModel; choose another version with --to")
    digest = model_files.model_sha256(source.path)
    if digest != source.model_sha256:
        raise UserError(
            f"{source.path}: the files have changed since the push (digest {digest}, recorded {source.model_sha256}); "
            "choose another version with --to"
        )


def _record(source: Version, newest: Version) -> PushRecord:
    rollback = Rollback(newest.number, newest.model_sha256, source.number)
    origin = source.record.origin if source.record else None
    return PushRecord(uuid.uuid4().hex, source.model_sha256, rollback.time, origin, rollback)


def _ignore_push_record(folder: str, names: list[str]) -> list[str]:
    """Excludes the record of the push from `copytree`, because the new version gets its own."""
    extra, name = os.path.split(model_files.PUSH_RECORD)
    return [name] if os.path.basename(folder) == extra and name in names else []


def _link_or_copy(source: str, target: str) -> str:
    """Creates a hard link if the file system supports it, else a copy; follows symbolic links."""
    if not os.path.islink(source):
        with contextlib.suppress(OSError):
            os.link(source, target)
            return target
    return shutil.copyfile(source, target)
