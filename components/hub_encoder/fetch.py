"""Copies an encoder's two SavedModels from where they are into a folder.

An archive is fetched and unpacked into TF Hub's own cache, under TF Hub's own name for it, so that both use what the
other has fetched. It is not done by TF Hub: that drops the leading `/` of a name, has no bound on what an archive
unpacks to, and after a kill waits ten minutes for the dead process's lock.
"""

import hashlib
import os
import posixpath
import shutil
import tarfile

import filelock
import requests
import tensorflow as tf

from artifacts import encoder as encoder_artifact
from components.hub_encoder import archive, handles
from core import download, progress
from core.errors import UserError

# By this a Hub's address gives the archive, not its page.
_AS_ARCHIVE = {"tf-hub-format": "compressed"}


def materialise(sources: handles.Sources, folder: str) -> None:
    """Copies both models to `preprocess/` and `encoder/` under a folder; no link is made.

    Args:
      sources: where they are.
      folder: where to; it exists.

    Raises:
      UserError: a location can't be read, or an archive is refused; the text says how to do without a network.
    """
    targets = (
        (sources.preprocess, encoder_artifact.preprocess_dir(folder)),
        (sources.encoder, encoder_artifact.encoder_dir(folder)),
    )
    for done, (location, target) in enumerate(targets):
        progress.report("fetching the encoder", done, len(targets), location=location)
        try:
            _copy_tree(_unpacked(location) if handles.is_archive(location) else location, target)
        except archive.Refused as error:
            raise UserError(
                f"encoder.handle: the archive at {location} is refused, and nothing of it was kept: {error}; "
                "a published encoder is an archive of plain files and folders"
            ) from error
        except (OSError, download.DownloadError, tarfile.ReadError, tf.errors.OpError) as error:
            raise UserError(_failure(location, error)) from error
    progress.report("fetching the encoder", len(targets), len(targets))


def _unpacked(address: str) -> str:
    """Returns the folder in TF Hub's cache that holds what is at an address, whole; fetches it if need be."""
    cache = os.environ.get("TFHUB_CACHE_DIR") or _default_cache()
    os.makedirs(cache, exist_ok=True)
    folder = os.path.join(cache, hashlib.sha1(address.encode(), usedforsecurity=False).hexdigest())
    # The system frees this lock when its holder dies, however that happens.
    with filelock.FileLock(folder + ".fetch"):
        if not (os.path.isdir(folder) and os.listdir(folder)):
            _fetch(address, folder)
    return folder


def _fetch(address: str, folder: str) -> None:
    """Fetches and unpacks an archive; the folder appears in one step."""
    staging = folder + ".partial"
    shutil.rmtree(staging, ignore_errors=True)  # A killed process's.
    try:
        compressed = requests.Request("GET", address, params=_AS_ARCHIVE).prepare().url
        file = download.fetch(compressed, os.path.join(staging, "archive"), max_bytes=archive.MAX_BYTES)
        unpacked = os.path.join(staging, "model")
        os.mkdir(unpacked)
        progress.report(f"unpacking {address}", 0, 0)
        archive.unpack(file, unpacked)
        os.rename(unpacked, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _default_cache() -> str:
    """Hub's own default is under /tmp: shared with other users, and gone after a restart."""
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(caches, "tfhub_modules")


def _copy_tree(source: str, target: str) -> None:
    # Walking an address that can't be read gives no files and no error; a look at one file raises.
    tf.io.gfile.stat(posixpath.join(source, tf.saved_model.SAVED_MODEL_FILENAME_PB))
    for parent, _, names in tf.io.gfile.walk(source):
        folder = os.path.join(target, os.path.relpath(parent, source))
        tf.io.gfile.makedirs(folder)
        for name in names:
            tf.io.gfile.copy(posixpath.join(parent, name), os.path.join(folder, name))


def _failure(location: str, error: BaseException) -> str:
    # TensorFlow's errors have their insides from the second line on.
    reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
    if handles.is_local(location):
        return f"encoder.handle: {location} could not be copied ({reason})"
    return (
        f"encoder.handle: {location} could not be fetched ({reason}); without a network, give a local copy: "
        "set encoder.handle to a folder that holds preprocess/ and encoder/"
    )
