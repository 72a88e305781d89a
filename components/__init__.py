"""The pipeline's own TFX components, and the two artifact types that TFX has no name for.

Kubeflow resolves a custom type by `<top-level module>.<Class>`, hence their place and names.
"""

from tfx.types import artifact


class GateVerdict(artifact.Artifact):
    """Folder with `checks.json`: the list of `pipeline.gates.Check` that a gate made."""

    TYPE_NAME = "components.GateVerdict"


class RunSummary(artifact.Artifact):
    """Folder with `summary.json` and `report.html`."""

    TYPE_NAME = "components.RunSummary"
