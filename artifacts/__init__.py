"""The artifacts that components exchange: a module for each, and the two types that TFX does not have.

TFX on Kubeflow looks a custom type up as `<top-level module>.<Class>`, so they are defined here.
"""

from tfx.types import artifact


class GateVerdict(artifact.Artifact):
    """Folder with `checks.json`: the `core.checks.Check`s of a gate."""

    TYPE_NAME = "artifacts.GateVerdict"


class RunSummary(artifact.Artifact):
    """Folder with `summary.json` and `report.html`."""

    TYPE_NAME = "artifacts.RunSummary"
