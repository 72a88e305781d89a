"""What components hand each other: one module for each artifact, and the two artifact types that TFX has no name for.

Kubeflow resolves a custom type by `<top-level module>.<Class>`, hence their place and names.
"""

from tfx.types import artifact


class GateVerdict(artifact.Artifact):
    """Folder with `checks.json`: the list of `core.checks.Check` that a gate made."""

    TYPE_NAME = "artifacts.GateVerdict"


class RunSummary(artifact.Artifact):
    """Folder with `summary.json` and `report.html`."""

    TYPE_NAME = "artifacts.RunSummary"
