"""Model folders: the versions in a serving folder, and the digest of a model's files."""

import hashlib
import os
from typing import Collection, Optional

from core.errors import UserError

# Files that the Pusher adds: the record of the push, the profile of the model's data, requests for TensorFlow Serving
# to warm up with, and a page for people. TensorFlow Serving ignores all but the requests; `model_card.CARD_FILE` is in
# `assets.extra` too, and is part of the model.
PUSH_RECORD = "assets.extra/push.json"
DATA_PROFILE = "assets.extra/data_profile.json"
WARM_UP_REQUESTS = "assets.extra/tf_serving_warmup_requests"
MODEL_PAGE = "README.md"

# As `tf.saved_model.SAVED_MODEL_FILENAME_PB`; a program that only lists versions need not wait seconds for TensorFlow.
_SAVED_MODEL = "saved_model.pb"

# TensorFlow Serving parses a version as a signed 64-bit number and ignores larger ones.
LARGEST_VERSION = 2**63 - 1


def tree_sha256(folder: str, exclude: Collection[str] = ()) -> str:
    """Digests the names and contents of all files under a folder.

    Args:
      folder: a local folder or an address that `tf.io.gfile` reads.
      exclude: relative names of files to leave out.

    Returns:
      64 hexadecimal digits; equal for equal relative names and contents, regardless of the folder's path.
    """
    digest = hashlib.sha256()
    for name in sorted(_relative_names(folder)):
        if name not in exclude:
            # Names can't contain NUL and digests have a fixed length, so different trees hash different bytes.
            digest.update(name.encode("utf-8", "surrogateescape") + b"\0" + _file_sha256(os.path.join(folder, name)))
    return digest.hexdigest()


def file_sha256(path: str) -> str:
    """Digests the content of one file; returns 64 hexadecimal digits."""
    return _file_sha256(path).hex()


def model_sha256(folder: str) -> str:
    """Digests a model without the files that a push adds, so that a pushed model has its candidate's digest."""
    return tree_sha256(folder, exclude=(PUSH_RECORD, DATA_PROFILE, WARM_UP_REQUESTS, MODEL_PAGE))


def check_local(serving_dir: str) -> None:
    """Rejects an address, because object stores can't rename a folder atomically.

    Raises:
      UserError: `serving_dir` is an address.
    """
    if "://" in serving_dir:
        raise UserError(f"serving.dir = {serving_dir!r}: should be a folder on a file system, not an address")


def is_version(name: str) -> bool:
    """Returns whether a model server would load a folder with that name as a version."""
    return name.isascii() and name.isdecimal() and int(name) <= LARGEST_VERSION


def served_versions(serving_dir: str) -> list[str]:
    """Lists the version folders that a model server would see.

    Args:
      serving_dir: the folder that the server watches; it may not exist.

    Returns:
      Paths of the folders with a numeric name, the newest (largest number) last.

    Raises:
      UserError: `serving_dir` is an address, is not a folder, or can't be read.
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
    """Returns the folder of the model in serving, or None if there is none.

    Raises:
      UserError: the newest version has no SavedModel, or `serving_dir` can't be read.
    """
    versions = served_versions(serving_dir)
    if not versions:
        return None
    if not has_model(versions[-1]):
        raise UserError(
            f"serving.dir: {_SAVED_MODEL} is missing in the newest version {versions[-1]}, "
            "so no server can load it; repair or remove that folder"
        )
    return versions[-1]


def has_model(version_path: str) -> bool:
    """Returns whether a version's folder has a SavedModel."""
    return os.path.isfile(os.path.join(version_path, _SAVED_MODEL))


def _relative_names(folder: str) -> list[str]:
    import tensorflow as tf

    return [
        os.path.relpath(os.path.join(parent, name), folder).replace(os.sep, "/")
        for parent, _, names in tf.io.gfile.walk(folder)
        for name in names
    ]


def _file_sha256(path: str) -> bytes:
    import tensorflow as tf

    digest = hashlib.sha256()
    with tf.io.gfile.GFile(path, "rb") as stream:
        # In blocks of 1 MiB, because weights can take gigabytes.
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.digest()
