"""What a handle stands for: from the configuration's words to two locations. Nothing is fetched here."""

import dataclasses
import difflib
import os
from typing import Optional

import tensorflow as tf

from components import encoder_artifact, model_files
from components.hub_encoder.catalogue import CATALOGUE, Entry
from pipeline.errors import UserError


@dataclasses.dataclass(frozen=True)
class Sources:
    """Where an encoder's two SavedModels are.

    Attributes:
      preprocess: an `https://` address, another address that `tf.io.gfile` reads, or a local folder.
      encoder: the same.
      heads: attention heads of a layer, None where nothing says.
    """

    preprocess: str
    encoder: str
    heads: Optional[int] = None


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
        SavedModel.
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
    _require_saved_model("encoder.preprocess" if preprocess else "encoder.handle", sources.preprocess)
    _require_saved_model("encoder.handle", sources.encoder)
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
    heads = encoder_artifact.read(folder).heads if has_card else None
    return Sources(encoder_artifact.preprocess_dir(folder), encoder_artifact.encoder_dir(folder), heads)


def _unknown_name(field: str, name: str) -> UserError:
    close = difflib.get_close_matches(name, CATALOGUE, cutoff=0.5)
    hint = f"; did you mean {' or '.join(close)}" if close else ""
    return UserError(
        f"{field} = {name!r}: not in the catalogue{hint}? `local_runner.py encoders` lists it; an https:// or "
        "gs:// address or the path of a folder will do too"
    )


def _require_saved_model(field: str, location: str) -> None:
    if not is_local(location):
        return
    file = os.path.join(location, tf.saved_model.SAVED_MODEL_FILENAME_PB)
    if not os.path.isfile(file):
        raise UserError(
            f"{field}: {file} does not exist; encoder.handle should be a folder that holds preprocess/ and "
            "encoder/, or an encoder's own folder with encoder.preprocess beside it"
        )
