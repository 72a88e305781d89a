"""Resolves a handle to the locations of two SavedModels, without downloading them.

A local folder is untrusted and therefore checked: it may contain files, folders, and links to its own files. A link to
a file outside is an error, because its target, any file that the user can read, would be copied into the encoder and
pushed to serving. A model hub's cache, which links to content elsewhere, can be copied with `cp -rL`. The folder itself
may be a link.
"""

import dataclasses
import os
import stat
from typing import Mapping, Optional

import tensorflow as tf

from artifacts import encoder as encoder_artifact
from artifacts import model_files, saved_encoder
from components.hub_encoder import catalogue, compact
from components.hub_encoder.catalogue import is_archive_file, is_local
from core import escape
from core.errors import UserError


@dataclasses.dataclass(frozen=True)
class Sources:
    """Locations of the two SavedModels of an encoder.

    Attributes:
      preprocess: an `https://` address, another address that `tf.io.gfile` reads, or a local folder or archive. An
        archive that both fields name holds `preprocess/` and `encoder/`; a folder that both name, a compact encoder.
      encoder: the same.
      heads: attention heads of a layer, None if unknown.
      recorded: `preprocess` and `encoder` -> digest from the card in their folder; empty without a card.
    """

    preprocess: str
    encoder: str
    heads: Optional[int] = None
    recorded: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def is_pair_archive(self) -> bool:
        """Whether one archive holds both."""
        return self.preprocess == self.encoder and is_archive_file(self.encoder)

    @property
    def is_compact(self) -> bool:
        """Whether they are one compact encoder."""
        return self.preprocess == self.encoder and is_local(self.encoder) and compact.is_compact(self.encoder)


def resolve(handle: str, preprocess: str = "", setting: str = catalogue.HANDLE) -> Sources:
    """Resolves `encoder.handle` and `encoder.preprocess`.

    Args:
      handle: a catalogue name, the address of an encoder, a folder (local or `gs://`) or a local archive. Without
        `preprocess` the folder or archive holds `preprocess/` and `encoder/`; with it, it is the encoder's own.
      preprocess: address, folder or archive of the preprocess model, or the catalogue name of an encoder that has the
        same one; empty if `handle` has one.
      setting: the setting that `handle` is from, for errors.

    Returns:
      The locations of both; only local ones are checked.

    Raises:
      UserError: a name is not in the catalogue, the preprocess model is missing, or a local folder has no SavedModel
        or unsafe files.
    """
    catalogue.check_names(handle, preprocess, setting)
    entry = catalogue.find_entry(handle)
    if entry:
        sources = Sources(_preprocess_location(preprocess) or entry.preprocess, entry.encoder, entry.heads)
    elif preprocess:
        sources = Sources(_preprocess_location(preprocess), handle)
    else:
        sources = _pair(handle)
    for field, location in (
        ("encoder.preprocess" if preprocess else setting, sources.preprocess),
        (setting, sources.encoder),
    ):
        if is_archive_file(location):
            _require_archive(field, location)
        elif is_local(location):
            if not sources.is_compact:
                _require_saved_model(field, location)
            _require_safe_files(field, location)
    return sources


def fingerprint(sources: Sources) -> str:
    """Returns a string that changes with the sources: for each, the digest if it is local, or the address."""
    return " ".join(_fingerprint(location) for location in (sources.preprocess, sources.encoder))


def _fingerprint(location: str) -> str:
    if is_archive_file(location):
        return model_files.file_sha256(location)
    return model_files.tree_sha256(location) if is_local(location) else location


def check_use(sources: Sources, mode: str, max_length: int) -> None:
    """Checks that an encoder in a local folder can be trained as configured, before anything is copied.

    Args:
      sources: from `resolve`.
      mode: as in `saved_encoder.check_use`.
      max_length: as in `saved_encoder.check_use`.

    Raises:
      UserError: as in `saved_encoder.check_use`.
    """
    if is_local(sources.encoder) and not is_archive_file(sources.encoder) and not sources.is_compact:
        saved_encoder.check_use(sources.encoder, sources.encoder, mode, max_length)


def _preprocess_location(preprocess: str) -> str:
    return catalogue.CATALOGUE[preprocess].preprocess if preprocess in catalogue.CATALOGUE else preprocess


def _pair(folder: str) -> Sources:
    """Returns the sources in a folder or archive with both models or a compact encoder; this pipeline's have a card."""
    if is_archive_file(folder):
        return Sources(folder, folder)
    if is_local(folder) and compact.is_compact(folder):
        return Sources(folder, folder, compact.read_card(folder).heads)
    has_card = is_local(folder) and os.path.isfile(os.path.join(folder, encoder_artifact.CARD))
    locations = (encoder_artifact.preprocess_dir(folder), encoder_artifact.encoder_dir(folder))
    if not has_card:
        return Sources(*locations)
    card = encoder_artifact.read(folder)
    return Sources(*locations, card.heads, card.sha256)


def _require_archive(field: str, location: str) -> None:
    if not os.path.isfile(location):
        raise UserError(f"{field} = {location}: No such file; should be an archive of a SavedModel")


def _require_saved_model(field: str, location: str) -> None:
    file = os.path.join(location, tf.saved_model.SAVED_MODEL_FILENAME_PB)
    if not os.path.isfile(file):
        raise UserError(
            f"{field}: {file}: No such file or directory; should be a folder that holds preprocess/ and encoder/; for "
            "the folder of an encoder alone set encoder.preprocess too"
        )


def _require_safe_files(field: str, location: str) -> None:
    root = os.path.realpath(location)
    try:
        for parent, folders, files in os.walk(root, onerror=_raise):
            for path in (os.path.join(parent, name) for name in (*folders, *files)):
                if fault := _check_entry(path, root):
                    raise UserError(f"{field}: {path} {fault}")
    except OSError as error:
        raise UserError(f"{field}: {error.filename}: {error.strerror}") from error


def _raise(error: OSError) -> None:
    raise error


def _check_entry(path: str, root: str) -> Optional[str]:
    """Returns why an entry of a folder is unsafe, or None."""
    if escape.line(path) != path:
        return "has a control character in its name, or is not UTF-8; rename it"
    mode = os.lstat(path).st_mode
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return None
    if not stat.S_ISLNK(mode):
        return "is neither a file nor a folder; remove it"
    target = os.path.realpath(path)
    if os.path.isfile(target) and target.startswith(root + os.sep):
        return None
    return f"is a link to {target}, which is outside this folder; copy the folder with `cp -rL` and use the copy"
