"""The reference for drift: the profile of the training data of the model in serving."""

import dataclasses
import hashlib
import os
from typing import Optional

from artifacts import model_files
from components.data_gate import profile
from components.data_gate.profile import Profile
from components.data_gate.quality import GATE
from core.checks import Check
from core.config import DataGateConfig

# The fingerprint without a model in serving.
NONE = "none"


@dataclasses.dataclass(frozen=True)
class Reference:
    """The served model and the profile of its training data.

    Attributes:
      fingerprint: digest of everything that the gate reads from it; `none` if no model is in serving.
      description: what it is, or why `profile` is None, for messages.
      model_path: folder of the served model; None without one, or if it was trained on this run's data.
      profile: profile of its training data; None if there is nothing to compare with.
      fault: why its profile can't be read; empty if it can.
    """

    fingerprint: str
    description: str
    model_path: Optional[str] = None
    profile: Optional[Profile] = None
    fault: str = ""


def choose_reference(serving_dir: str, data_digest: str) -> Reference:
    """Returns the newest version in serving as the reference.

    A model that was trained on the same data can't be its reference. The fingerprint is then that of the reference that
    this data was first compared with, so that a second run of the same pipeline, after the first run's push, finds its
    verdict in the cache.

    Args:
      serving_dir: the folder that the model server watches; it may not exist.
      data_digest: `artifacts.examples.data_digest` of this run's examples.

    Raises:
      UserError: the newest version is broken, or the folder can't be read.
    """
    path = model_files.newest_served(serving_dir)
    if path is None:
        return Reference(NONE, "no model is in serving")
    served, fault = _read_profile(path)
    version = f"serving version {os.path.basename(path)}"
    if served is not None and served.examples_sha256 == data_digest:
        return Reference(served.reference, f"{version} was trained on the same data")
    content = served.model_dump_json() if served else fault
    fingerprint = hashlib.sha256(f"{model_files.model_sha256(path)} {content}".encode()).hexdigest()
    description = f"the training data of {version}" if served else f"{version} has no readable data profile"
    return Reference(fingerprint, description, path, served, fault)


def check_served_profile(reference: Reference, bounds: DataGateConfig) -> Check:
    """Passes if the served model has no data profile, or one that can be read."""
    reason = f"reference for drift: {reference.description}"
    if reference.fault:
        reason = f"{reference.fault}; drift was not checked; the next push writes a new profile"
    return Check(GATE, "served_profile", not reference.fault, None, None, reason, bounds.served_profile.severity)


def _read_profile(model_path: str) -> tuple[Optional[Profile], str]:
    """Returns the profile of a served model's data, or why it can't be read; `(None, "")` without a profile."""
    path = os.path.join(model_path, model_files.DATA_PROFILE)
    if not os.path.exists(path):
        return None, ""
    try:
        return profile.read(path), ""
    except (OSError, ValueError) as error:
        return None, f"{path}: {error}"
