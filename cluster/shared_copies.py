"""Copies of a task's artifacts on the volume, for an engine whose workers do not see the files of the task's pod."""

import contextlib
import os
import shutil
from typing import Iterator, Mapping, Sequence

from tfx import types


@contextlib.contextmanager
def use(
    inputs: Mapping[str, Sequence[types.Artifact]], outputs: Mapping[str, Sequence[types.Artifact]], folder: str
) -> Iterator[None]:
    """Points local artifacts to copies inside the context; after it, outputs are where they were declared.

    Args:
      inputs: name -> artifacts; those with an address, such as `gs://`, stay as they are.
      outputs: name -> artifacts, whose folders exist; the same.
      folder: on a volume that the workers mount at the same path; created, and removed at the end.
    """
    local = [
        (side, artifact, artifact.uri)
        for side, artifacts in (("inputs", inputs), ("outputs", outputs))
        for each in artifacts.values()
        for artifact in each
        if "://" not in artifact.uri
    ]
    shutil.rmtree(folder, ignore_errors=True)  # Of an attempt that was killed.
    try:
        for number, (_, artifact, uri) in enumerate(local):
            artifact.uri = os.path.join(folder, str(number))
            shutil.copytree(uri, artifact.uri)
        yield
        for side, artifact, uri in local:
            if side == "outputs":
                shutil.copytree(artifact.uri, uri, dirs_exist_ok=True)
    finally:
        for _, artifact, uri in local:
            artifact.uri = uri
        shutil.rmtree(folder, ignore_errors=True)
