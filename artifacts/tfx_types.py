"""The two types of artifacts that TFX lacks."""

from tfx.types import artifact


class GateVerdict(artifact.Artifact):
    """A folder with `checks.json`, the `core.checks.Check`s of a gate."""

    TYPE_NAME = "artifacts.GateVerdict"


class RunSummary(artifact.Artifact):
    """A folder with `summary.json` and `report.html`."""

    TYPE_NAME = "artifacts.RunSummary"
