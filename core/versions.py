"""Versions of Python and the packages that a run depends on."""

import importlib.metadata
import platform
import sys

# Version of this package; setup.py reads it here.
VERSION = "0.2.0"

# The old set of versions (setup.py): TFX 1.16 and TensorFlow 2.16, on Python 3.10. Code that only
# this set needs checks this flag, and can be removed with the set.
OLD_SET = sys.version_info < (3, 11)

# Packages whose version may explain a difference between two runs.
PACKAGES = ("tensorflow", "tensorflow-text", "tf-models-official", "tfx", "apache-beam", "tensorflow-model-analysis")


def installed() -> dict[str, str]:
    """Returns the installed versions of Python and of `PACKAGES`."""
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in PACKAGES}}
