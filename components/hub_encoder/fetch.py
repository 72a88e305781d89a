"""Copies the two SavedModels of an encoder into a folder, or builds them from a compact encoder.

An archive is downloaded and unpacked into TF Hub's cache, under TF Hub's name for it, so that both share the cache. TF
Hub itself is not used: it strips the leading `/` of a name, does not limit the size of an unpacked archive, and after a
kill waits ten minutes for the lock of the dead process.
"""

import contextlib
import hashlib
import os
import posixpath
import shutil
import tarfile
import tempfile
from typing import Iterator

import filelock
import requests
import tensorflow as tf

from artifacts import encoder as encoder_artifact
from components.hub_encoder import archive, catalogue, compact, handles
from core import download, escape, progress
from core.errors import UserError, first_line

# Makes TF Hub return the archive and not a page.
_AS_ARCHIVE = {"tf-hub-format": "compressed"}


def copy_models(sources: handles.Sources, folder: str) -> None:
    """Copies both models to `preprocess/` and `encoder/` in a folder; links become files.

    Args:
      sources: the locations.
      folder: an existing folder.

    Raises:
      UserError: a location can't be read, or an archive is unsafe.
    """
    if sources.is_compact:
        progress.report("building the encoder", 0, 0)
        compact.unpack(sources.encoder, folder)
        return
    targets = (
        (sources.preprocess, encoder_artifact.preprocess_dir(folder)),
        (sources.encoder, encoder_artifact.encoder_dir(folder)),
    )
    for done, (location, target) in enumerate(targets):
        progress.report("copying the encoder", done, len(targets), location=location)
        try:
            with _folder_of(location) as source:
                part, is_pair = os.path.basename(target), sources.is_pair_archive
                _copy_tree(source if source == location else _find_model(source, location, part, is_pair), target)
        except archive.UnsafeArchiveError as error:
            kept = "" if catalogue.is_archive_file(location) else ", deleted"
            raise UserError(
                f"encoder.handle: unsafe archive {location}{kept}: {error}; the archive of an encoder should hold "
                "only plain files and folders"
            ) from error
        except (OSError, download.DownloadError, tarfile.ReadError, tf.errors.OpError) as error:
            raise UserError(_failure(location, error)) from error
    progress.report("copying the encoder", len(targets), len(targets))


@contextlib.contextmanager
def _folder_of(location: str) -> Iterator[str]:
    """Yields the location itself, or the folder into which its archive was unpacked."""
    if catalogue.is_archive(location):
        yield _download(location)
    elif catalogue.is_archive_file(location):
        # Not in /tmp, which may be a part of the memory.
        with tempfile.TemporaryDirectory(dir=_cache()) as folder:
            archive.unpack(location, folder)
            yield folder
    else:
        yield location


def _find_model(folder: str, location: str, part: str, is_pair: bool) -> str:
    """Returns the folder of a model in an unpacked archive, which may have one folder on top.

    Args:
      folder: the unpacked archive.
      location: the archive.
      part: `preprocess` or `encoder`.
      is_pair: whether the archive holds a folder for each part.

    Raises:
      UserError: the archive does not hold the model.
    """
    top = [name for name in os.listdir(folder) if not name.startswith(".")]
    found = os.path.join(folder, part) if is_pair else folder
    if os.path.isfile(os.path.join(found, tf.saved_model.SAVED_MODEL_FILENAME_PB)):
        return found
    if len(top) == 1 and os.path.isdir(os.path.join(folder, top[0])):
        return _find_model(os.path.join(folder, top[0]), location, part, is_pair)
    expected = os.path.join(part if is_pair else "", tf.saved_model.SAVED_MODEL_FILENAME_PB)
    hint = "; or set encoder.preprocess too, if it is the archive of an encoder only" if is_pair else ""
    raise UserError(
        f"encoder.handle: {location} does not hold {expected}, on top or in one folder on top (it holds "
        f"{', '.join(map(escape.line, sorted(top))) or 'nothing'}){hint}"
    )


def _cache() -> str:
    cache = os.environ.get("TFHUB_CACHE_DIR") or _default_cache()
    os.makedirs(cache, exist_ok=True)
    return cache


def _download(address: str) -> str:
    """Returns the folder of an unpacked archive in TF Hub's cache; downloads it if needed."""
    folder = os.path.join(_cache(), hashlib.sha1(address.encode(), usedforsecurity=False).hexdigest())
    # The operating system releases this lock if its holder is killed.
    with filelock.FileLock(folder + ".fetch"):
        if not (os.path.isdir(folder) and os.listdir(folder)):
            _download_into(address, folder)
    return folder


def _download_into(address: str, folder: str) -> None:
    """Downloads and unpacks an archive; the folder appears in one step."""
    staging = folder + ".partial"
    shutil.rmtree(staging, ignore_errors=True)  # From a killed process.
    try:
        compressed = requests.Request("GET", address, params=_AS_ARCHIVE).prepare().url or address
        file = download.fetch(compressed, os.path.join(staging, "archive"), max_bytes=archive.MAX_BYTES)
        unpacked = os.path.join(staging, "model")
        os.mkdir(unpacked)
        progress.report(f"unpacking {address}", 0, 0)
        archive.unpack(file, unpacked)
        os.rename(unpacked, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _default_cache() -> str:
    """Returns a folder of the user: TF Hub's own default in /tmp is shared with other users and lost at a restart."""
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(caches, "tfhub_modules")


def _copy_tree(source: str, target: str) -> None:
    # Walking an address that can't be read returns no files; stat raises an error.
    tf.io.gfile.stat(posixpath.join(source, tf.saved_model.SAVED_MODEL_FILENAME_PB))
    for parent, _, names in tf.io.gfile.walk(source):
        folder = os.path.join(target, os.path.relpath(parent, source))
        tf.io.gfile.makedirs(folder)
        for name in names:
            tf.io.gfile.copy(posixpath.join(parent, name), os.path.join(folder, name))


def _failure(location: str, error: BaseException) -> str:
    reason = first_line(error)
    if catalogue.is_local(location):
        return f"encoder.handle: can't copy {location} ({reason})"
    return (
        f"encoder.handle: can't download {location} ({reason}); without a network, set encoder.handle to a folder that "
        "holds preprocess/ and encoder/"
    )
