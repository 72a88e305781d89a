"""The baseline: the model that a candidate is compared with, an artifact with custom properties."""

from tfx.types import artifact

# Values of `source`.
SERVING = "serving"
CANDIDATE = "candidate"

# Why a candidate is not compared before the first push.
NOTHING_SERVED = "no other model is in serving"


def describe(baseline: artifact.Artifact, source: str, version: str, not_compared: str) -> None:
    """Sets the custom properties of a baseline.

    Args:
      baseline: the artifact to describe.
      source: `SERVING`, or `CANDIDATE` if the candidate is compared with itself.
      version: name of the served version's folder; empty for the candidate.
      not_compared: why the candidate is compared with itself; empty for a served version.
    """
    baseline.set_string_custom_property("source", source)
    baseline.set_string_custom_property("version", version)
    baseline.set_string_custom_property("not_compared", not_compared)


def why_not_compared(baseline: artifact.Artifact) -> str:
    """Returns why the baseline is the candidate itself; empty if it is the model in serving."""
    if baseline.get_string_custom_property("source") == SERVING:
        return ""
    return baseline.get_string_custom_property("not_compared") or NOTHING_SERVED
