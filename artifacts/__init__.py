"""The artifacts that components exchange: one module per artifact, and the two types that TFX lacks.

TFX on Kubeflow looks up a custom type as `<top-level module>.<Class>`, so they are defined here.
"""

from tfx.types import artifact


class GateVerdict(artifact.Artifact):
    """A folder with `checks.json`, the `core.checks.Check`s of a gate."""

    TYPE_NAME = "artifacts.GateVerdict"


class RunSummary(artifact.Artifact):
    """A folder with `summary.json` and `report.html`."""

    TYPE_NAME = "artifacts.RunSummary"
