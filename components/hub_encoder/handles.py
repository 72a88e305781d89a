"""What a handle stands for: from the configuration's words to two locations. Nothing is fetched here.

A folder of this machine is looked at first, for it may come from a stranger: a model's folder holds files and
folders, and links to files of its own. A link that leads out of it is refused and not followed: what it points to,
whatever the user can read, would be copied into the encoder and later be pushed to serving. Caches that keep
content elsewhere and link to it (as those of model hubs do) are copied once with `cp -rL`, by a user who means it.
The model's folder itself may be a link: that is where the user says it is.
"""

import dataclasses
import difflib
import os
import stat
from typing import Mapping, Optional

import tensorflow as tf

from artifacts import encoder as encoder_artifact
from artifacts import model_files
from components.hub_encoder.catalogue import CATALOGUE, Entry
from core import escape
from core.errors import UserError


@dataclasses.dataclass(frozen=True)
class Sources:
    """Where an encoder's two SavedModels are.

    Attributes:
      preprocess: an `https://` address, another address that `tf.io.gfile` reads, or a local folder.
      encoder: the same.
      heads: attention heads of a layer, None where nothing says.
      recorded: `preprocess` and `encoder` -> the digest that a card beside them records; empty without a card.
    """

    preprocess: str
    encoder: str
    heads: Optional[int] = None
    recorded: Mapping[str, str] = dataclasses.field(default_factory=dict)


def resolve(handle: str, preprocess: str = "") -> Sources:
    """Finds out what `encoder.handle` and `encoder.preprocess` stand for.

    Args:
      handle: a catalogue name, the address of an encoder, or a folder (local or `gs://`). Without `preprocess`
        the folder holds `preprocess/` and `encoder/`; with it, the folder is the encoder's own.
      preprocess: address or folder of the preprocess model, or the catalogue name of an encoder that has the
        same one; empty where `handle` says it all.

    Returns:
      The locations of both. Local ones hold a SavedModel; others are not looked at.

    Raises:
      UserError: a name is not in the catalogue, the preprocess model is missing, or a local folder holds no
        SavedModel or what a model's folder should not hold.
    """
    entry = _entry(handle)
    if entry:
        sources = Sources(_preprocess_location(preprocess) or entry.preprocess, entry.encoder, entry.heads)
    elif not _is_location(handle):
        raise _unknown_name("encoder.handle", handle)
    elif preprocess:
        sources = Sources(_preprocess_location(preprocess), handle)
    elif is_archive(handle):
        raise UserError(
            f"encoder.preprocess: missing; {handle} is not in the catalogue, so the address or folder of its "
            "preprocess model should be given too"
        )
    else:
        sources = _pair(handle)
    for field, location in (
        ("encoder.preprocess" if preprocess else "encoder.handle", sources.preprocess),
        ("encoder.handle", sources.encoder),
    ):
        if is_local(location):
            _require_saved_model(field, location)
            _require_own_files(field, location)
    return sources


def is_archive(location: str) -> bool:
    """Tells whether a location is a web address, which TF Hub downloads as an archive."""
    return location.startswith(("https://", "http://"))


def is_local(location: str) -> bool:
    """Tells whether a location is a folder of this machine."""
    return "://" not in location


def fingerprint(sources: Sources) -> str:
    """Returns what changes when the sources do: a local folder's digest, any other location itself."""
    locations = (sources.preprocess, sources.encoder)
    return " ".join(model_files.tree_sha256(at) if is_local(at) else at for at in locations)


def _entry(handle: str) -> Optional[Entry]:
    by_address = {entry.encoder: entry for entry in CATALOGUE.values()}
    return CATALOGUE.get(handle) or by_address.get(handle)


def _is_location(handle: str) -> bool:
    return not is_local(handle) or os.sep in handle or handle.startswith(".")


def _preprocess_location(preprocess: str) -> str:
    if preprocess in CATALOGUE:
        return CATALOGUE[preprocess].preprocess
    if preprocess and not _is_location(preprocess):
        raise _unknown_name("encoder.preprocess", preprocess)
    return preprocess


def _pair(folder: str) -> Sources:
    """A folder with both models; one that this pipeline made says how many heads there are."""
    has_card = is_local(folder) and os.path.isfile(os.path.join(folder, encoder_artifact.CARD))
    locations = (encoder_artifact.preprocess_dir(folder), encoder_artifact.encoder_dir(folder))
    if not has_card:
        return Sources(*locations)
    card = encoder_artifact.read(folder)
    return Sources(*locations, card.heads, card.sha256)


def _unknown_name(field: str, name: str) -> UserError:
    close = difflib.get_close_matches(name, CATALOGUE, cutoff=0.5)
    hint = f"; did you mean {' or '.join(close)}" if close else ""
    return UserError(
        f"{field} = {name!r}: not in the catalogue{hint}? `local_runner.py encoders` lists it; an https:// or "
        "gs:// address or the path of a folder will do too"
    )


def _require_saved_model(field: str, location: str) -> None:
    file = os.path.join(location, tf.saved_model.SAVED_MODEL_FILENAME_PB)
    if not os.path.isfile(file):
        raise UserError(
            f"{field}: {file} does not exist; encoder.handle should be a folder that holds preprocess/ and "
            "encoder/, or an encoder's own folder with encoder.preprocess beside it"
        )


def _require_own_files(field: str, location: str) -> None:
    root = os.path.realpath(location)
    try:
        for parent, folders, files in os.walk(root, onerror=_raise):
            for path in (os.path.join(parent, name) for name in (*folders, *files)):
                if fault := _fault(path, root):
                    raise UserError(f"{field}: {path} {fault}")
    except OSError as error:
        raise UserError(f"{field}: {error.filename} can't be read ({error.strerror})") from error


def _raise(error: OSError) -> None:
    raise error


def _fault(path: str, root: str) -> Optional[str]:
    """Returns what keeps an entry of a model's folder from being copied."""
    if escape.line(path) != path:
        return "has a control character in its name, or one that is no UTF-8; rename it"
    mode = os.lstat(path).st_mode
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return None
    if not stat.S_ISLNK(mode):
        return "is neither a file nor a folder; remove it"
    target = os.path.realpath(path)
    if os.path.isfile(target) and target.startswith(root + os.sep):
        return None
    return f"is a link to {target}, which is no file of this folder; copy the folder by `cp -rL` and name the copy"
