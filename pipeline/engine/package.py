"""This package as an archive, which workers unpack: nothing of it has to be installed on them."""

import os
import zipfile

from core import installation

# What runs on a worker, and what that imports.
_PACKAGES = ("pipeline", "components", "trainer", "launchers", "artifacts", "core", "schema")
_LEFT_OUT = "__pycache__"


def write(folder: str) -> str:
    """Writes the archive into a folder; returns its path."""
    path = os.path.join(folder, "reviews.zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for package in _PACKAGES:
            for parent, folders, files in os.walk(os.path.join(installation.ROOT, package)):
                folders[:] = sorted(name for name in folders if name != _LEFT_OUT)
                for name in sorted(files):
                    file = os.path.join(parent, name)
                    archive.write(file, os.path.relpath(file, installation.ROOT))
    return path
