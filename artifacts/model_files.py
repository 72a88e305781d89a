"""Folders of models: the versions that a serving folder holds, and the digest of a model's files."""

import hashlib
import os
from typing import Collection, Optional

import tensorflow as tf

from core.errors import UserError

# What the Pusher adds: its record of the push, and the profile of the data behind the model. `assets.extra` is
# TensorFlow's name for files that a server does not read; the model's card lies there too, and is part of the model.
PUSH_RECORD = "assets.extra/push.json"
DATA_PROFILE = "assets.extra/data_profile.json"

# TensorFlow Serving reads a version into a signed 64-bit number and passes over a folder that does not fit.
LARGEST_VERSION = 2**63 - 1


def tree_sha256(folder: str, exclude: Collection[str] = ()) -> str:
    """Digests the names and contents of all files under a folder.

    Args:
      folder: a local folder or an address that `tf.io.gfile` reads.
      exclude: relative names of files that are left out.

    Returns:
      64 hexadecimal digits; the same for the same relative names and contents, wherever the folder lies.
    """
    digest = hashlib.sha256()
    for name in sorted(_relative_names(folder)):
        if name not in exclude:
            # A name can't hold a NUL and a content's digest has a fixed length, so no two trees read the same.
            digest.update(name.encode("utf-8", "surrogateescape") + b"\0" + _file_sha256(os.path.join(folder, name)))
    return digest.hexdigest()


def model_sha256(folder: str) -> str:
    """Digests a model without what a push adds to it, so that a pushed model and its candidate agree."""
    return tree_sha256(folder, exclude=(PUSH_RECORD, DATA_PROFILE))


def check_local(serving_dir: str) -> None:
    """Refuses a serving folder where a version can't appear in one step, as in an object store.

    Raises:
      UserError: it is an address.
    """
    if "://" in serving_dir:
        raise UserError(f"serving.dir = {serving_dir!r}: should be a folder on a file system, not an address")


def is_version(name: str) -> bool:
    """Returns whether a model server takes a folder of that name for a version."""
    return name.isascii() and name.isdecimal() and int(name) <= LARGEST_VERSION


def served_versions(serving_dir: str) -> list[str]:
    """Lists the version folders that a model server would see.

    Args:
      serving_dir: the folder that the server watches; it need not exist.

    Returns:
      Paths of the folders with a numeric name, the newest (largest number) last.

    Raises:
      UserError: the folder is an address, is no folder, or can't be read.
    """
    check_local(serving_dir)
    try:
        with os.scandir(serving_dir) as entries:
            names = [entry.name for entry in entries if is_version(entry.name) and entry.is_dir()]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"serving.dir = {serving_dir!r}: should be a readable folder: {error.strerror}") from error
    return [os.path.join(serving_dir, name) for name in sorted(names, key=int)]


def newest_served(serving_dir: str) -> Optional[str]:
    """Returns the folder of the model now in serving, or None where there is none.

    Raises:
      UserError: the newest version holds no SavedModel, or `serving_dir` can't be read.
    """
    versions = served_versions(serving_dir)
    if not versions:
        return None
    if not holds_model(versions[-1]):
        raise UserError(
            f"serving.dir: its newest version {versions[-1]} lacks {tf.saved_model.SAVED_MODEL_FILENAME_PB}, "
            "so no server can load it; mend or remove that folder"
        )
    return versions[-1]


def holds_model(version_path: str) -> bool:
    """Returns whether a version's folder holds what makes it a SavedModel."""
    return os.path.isfile(os.path.join(version_path, tf.saved_model.SAVED_MODEL_FILENAME_PB))


def _relative_names(folder: str) -> list[str]:
    return [
        os.path.relpath(os.path.join(parent, name), folder).replace(os.sep, "/")
        for parent, _, names in tf.io.gfile.walk(folder)
        for name in names
    ]


def _file_sha256(path: str) -> bytes:
    digest = hashlib.sha256()
    with tf.io.gfile.GFile(path, "rb") as stream:
        # Weights run to gigabytes; 1 MiB at a time keeps memory flat.
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.digest()
