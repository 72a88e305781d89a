"""Versions of what a run runs on."""

import importlib.metadata
import platform

# Whose versions explain a difference between two runs.
PACKAGES = ("tensorflow", "tensorflow-text", "tf-models-official", "tfx", "apache-beam", "tensorflow-model-analysis")


def installed() -> dict[str, str]:
    """Returns the versions of Python and of `PACKAGES` here."""
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in PACKAGES}}
