"""The baseline: the model that a candidate is compared with, an artifact with two custom properties."""

from tfx.types import artifact

# Values of `source`.
SERVING = "serving"
CANDIDATE = "candidate"


def describe(baseline: artifact.Artifact, source: str, version: str) -> None:
    """Sets the custom properties of a baseline.

    Args:
      baseline: the artifact to describe.
      source: `SERVING`, or `CANDIDATE` if the candidate is compared with itself.
      version: name of the served version's folder; empty for the candidate.
    """
    baseline.set_string_custom_property("source", source)
    baseline.set_string_custom_property("version", version)


def is_served(baseline: artifact.Artifact) -> bool:
    """Returns whether the baseline is the model in serving."""
    return baseline.get_string_custom_property("source") == SERVING
