"""The blessing of a gate: the marker file and the property by which TFX's Pusher recognises a blessed model."""

import os
from typing import Sequence

from tfx.types import artifact, standard_artifacts

from core.checks import Check, write_checks

# Marker files as TFX's Evaluator and InfraValidator name them: artifact type -> (blessed, not blessed).
INFRA_NOT_BLESSED = "INFRA_NOT_BLESSED"
_MARKERS = {
    standard_artifacts.ModelBlessing.TYPE_NAME: ("BLESSED", "NOT_BLESSED"),
    standard_artifacts.InfraBlessing.TYPE_NAME: ("INFRA_BLESSED", INFRA_NOT_BLESSED),
}


def bless(blessing: artifact.Artifact, checks: Sequence[Check]) -> None:
    """Writes `checks.json` and blesses the model, unless one of the checks blocks it.

    Args:
      blessing: a `ModelBlessing` or an `InfraBlessing`.
      checks: all checks of the gate.
    """
    blocked = any(check.blocks for check in checks)
    write_checks(blessing.uri, checks)
    with open(os.path.join(blessing.uri, _MARKERS[blessing.type_name][blocked]), "wb"):
        pass
    blessing.set_int_custom_property("blessed", int(not blocked))
