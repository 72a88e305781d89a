"""Returns to an earlier version, whose model is published once more: a model server loads the largest number.

A rollback is a person's judgement that the newest model is bad, so

- that model is not pushed again by a run that still thinks well of it, as the same job does the next night. Either
  `serving.allow_rolled_back` or a rollback to a version that holds it puts it back, and then it is a model like any
  other. It is known by the digest of its files: a model that is trained anew is another one, and the gates' to judge;
- without `to` it goes to the newest earlier version that is neither the model now in serving nor one that was rolled
  back. Rollback after rollback so walks back through the models, never to and fro.
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
      to: the earlier version; None chooses.

    Returns:
      The new version; its record's `rollback` says what became of what.

    Raises:
      UserError: there is no such version, its files are not those that were pushed, or the folder can't be written.
    """
    list_versions(serving_dir)  # A folder that is not there should not be made.
    with publication.exclusive(serving_dir) as hidden:
        versions = list_versions(serving_dir)
        source = choose(versions, publication.read_state(serving_dir).rolled_back, to)
        _check(source)
        record = _record(source, versions[-1])
        staged = shutil.copytree(
            source.path, os.path.join(hidden, "model"), copy_function=_link_or_copy, ignore=_push_record_only
        )
        name = publication.publish(staged, serving_dir, record)
    return Version(int(name), os.path.join(serving_dir, name), record)


def list_versions(serving_dir: str) -> list[Version]:
    """Lists the versions, the newest last.

    Raises:
      UserError: there is none, or the folder can't be read.
    """
    versions = publication.versions(serving_dir)
    if not versions:
        raise UserError(f"{serving_dir}: no model was pushed there yet")
    return versions


def choose(versions: Sequence[Version], rolled_back: Collection[str], to: Optional[int]) -> Version:
    """Chooses the version to return to.

    Args:
      versions: those there are, the newest last; at least one.
      rolled_back: digests of models that were rolled back.
      to: the number asked for; None takes the newest that is neither in serving nor rolled back.

    Raises:
      UserError: there is no such version.
    """
    *earlier, newest = versions
    if not earlier:
        raise UserError(f"version {newest.number} is the only one; there is none to return to")
    numbers = ", ".join(str(version.number) for version in earlier)
    if to is None:
        passed_over = {newest.model_sha256, *rolled_back}
        found = next((v for v in reversed(earlier) if v.model_sha256 not in passed_over), None)
        fault = "each earlier version is the model in serving or was rolled back itself; --to takes one all the same"
    else:
        found = next((version for version in earlier if version.number == to), None)
        fault = f"--to {to}: it is in serving" if to == newest.number else f"--to {to}: no such version"
    if found is None:
        raise UserError(f"{fault}; earlier versions: {numbers}")
    return found


def _check(source: Version) -> None:
    if not model_files.holds_model(source.path):
        raise UserError(f"{source.path} holds no SavedModel; choose another version by --to")
    digest = model_files.model_sha256(source.path)
    if digest != source.model_sha256:
        raise UserError(
            f"{source.path}: its files are no longer those that were pushed (digest {digest}, its record says "
            f"{source.model_sha256}); choose another version by --to"
        )


def _record(source: Version, newest: Version) -> PushRecord:
    rollback = Rollback(newest.number, newest.model_sha256, source.number)
    origin = source.record.origin if source.record else None
    return PushRecord(uuid.uuid4().hex, source.model_sha256, rollback.time, origin, rollback)


def _push_record_only(folder: str, names: list[str]) -> list[str]:
    """What `copytree` leaves out: the new version has a record of its own."""
    extra, name = os.path.split(model_files.PUSH_RECORD)
    return [name] if os.path.basename(folder) == extra and name in names else []


def _link_or_copy(source: str, target: str) -> str:
    """Shares the file's content with the earlier version where the file system can; never a symbolic link's target."""
    if not os.path.islink(source):
        with contextlib.suppress(OSError):
            os.link(source, target)
            return target
    return shutil.copyfile(source, target)
