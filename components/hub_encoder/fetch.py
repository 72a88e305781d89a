"""Copies an encoder's two SavedModels from where they are into a folder."""

import http.client
import os
import posixpath
import socket
import tarfile
import zlib

import tensorflow as tf
import tensorflow_hub as hub

from components import encoder_artifact
from components.hub_encoder import handles
from pipeline import progress
from pipeline.errors import UserError

# Seconds without a byte after which a server counts as out of reach; Hub itself would wait for ever.
_SILENCE_TIMEOUT_S = 30.0

# What Hub's download lets through: no network, a refusing server, a broken archive, an unwritable cache.
_DOWNLOAD_ERRORS = (
    OSError,
    ValueError,
    EOFError,
    http.client.HTTPException,
    tarfile.TarError,
    zlib.error,
    tf.errors.OpError,
)


def materialise(sources: handles.Sources, folder: str) -> None:
    """Copies both models to `preprocess/` and `encoder/` under a folder; links are followed, none is made.

    Args:
      sources: where they are.
      folder: where to; it exists.

    Raises:
      UserError: a location can't be read; the text says how to do without a network.
    """
    targets = (
        (sources.preprocess, encoder_artifact.preprocess_dir(folder)),
        (sources.encoder, encoder_artifact.encoder_dir(folder)),
    )
    for done, (location, target) in enumerate(targets):
        progress.report("fetching the encoder", done, len(targets), location=location)
        try:
            _copy_tree(_download(location) if handles.is_archive(location) else location, target)
        except _DOWNLOAD_ERRORS as error:
            raise UserError(_failure(location, error)) from error
    progress.report("fetching the encoder", len(targets), len(targets))


def _download(url: str) -> str:
    """Fetches and unpacks an archive through TF Hub's cache; returns the local folder."""
    os.environ.setdefault("TFHUB_CACHE_DIR", _default_cache())
    timeout_s = socket.getdefaulttimeout()
    # Hub passes no time-out on, so the process's own default is the one way to set it.
    socket.setdefaulttimeout(_SILENCE_TIMEOUT_S)
    try:
        return hub.resolve(url)
    finally:
        socket.setdefaulttimeout(timeout_s)


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
    # urllib shows its errors in angle brackets; TensorFlow's have its insides from the second line on.
    reason = (str(error).strip("<> \n") or type(error).__name__).splitlines()[0][:300]
    if handles.is_local(location):
        return f"encoder.handle: {location} could not be copied ({reason})"
    return (
        f"encoder.handle: {location} could not be fetched ({reason}); without a network, give a local copy: "
        "set encoder.handle to a folder that holds preprocess/ and encoder/"
    )
