"""Versions of Python and the packages that a run depends on."""

import importlib.metadata
import platform

# Packages whose version may explain a difference between two runs.
PACKAGES = ("tensorflow", "tensorflow-text", "tf-models-official", "tfx", "apache-beam", "tensorflow-model-analysis")


def installed() -> dict[str, str]:
    """Returns the installed versions of Python and of `PACKAGES`."""
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in PACKAGES}}
