"""What this run's data is held against: the profile of the data behind the model in serving."""

import dataclasses
import hashlib
import os
from typing import Optional

from artifacts import model_files
from components.data_gate import profile
from components.data_gate.profile import Profile

# The fingerprint of no reference.
NONE = "none"


@dataclasses.dataclass(frozen=True)
class Reference:
    """What there is to compare with.

    Attributes:
      fingerprint: changes with whatever of it the gate reads; `none` where no model is in serving.
      words: what it is, for a person.
      model_path: folder of the served model; None where its data and this run's are the same, or there is none.
      profile: of the data behind it; None where there is none to compare with, and `words` says why.
      fault: why its profile can't be read, else empty.
    """

    fingerprint: str
    words: str
    model_path: Optional[str] = None
    profile: Optional[Profile] = None
    fault: str = ""


def choose_reference(serving_dir: str, examples_sha256: str) -> Reference:
    """Looks at the newest version in serving.

    A model that learned from this very data is nothing to compare it with. Its reference then is the one that the
    data was held against before: a second run of the same pipeline, after the first one's push, asks for the same
    verdict and finds it in the cache.

    Args:
      serving_dir: the folder that the model server watches; it need not exist.
      examples_sha256: `model_files.tree_sha256` of this run's examples.

    Raises:
      UserError: the newest version is broken, or the folder can't be read.
    """
    path = model_files.newest_served(serving_dir)
    if path is None:
        return Reference(NONE, "no model is in serving")
    served, fault = _read(path)
    version = f"serving version {os.path.basename(path)}"
    if served is not None and served.examples_sha256 == examples_sha256:
        return Reference(served.reference, f"{version} learned from this very data")
    content = served.model_dump_json() if served else fault
    fingerprint = hashlib.sha256(f"{model_files.model_sha256(path)} {content}".encode()).hexdigest()
    words = f"the training data behind {version}" if served else f"{version} has no readable profile of its data"
    return Reference(fingerprint, words, path, served, fault)


def _read(model_path: str) -> tuple[Optional[Profile], str]:
    """Returns the profile of a served model's data, or why it can't be read; neither where it has none."""
    path = os.path.join(model_path, model_files.DATA_PROFILE)
    if not os.path.exists(path):
        return None, ""
    try:
        return profile.read(path), ""
    except (OSError, ValueError) as error:
        return None, f"{path}: {error}"
