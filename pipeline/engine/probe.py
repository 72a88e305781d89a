"""A job of one element that shows whether a worker can do the others' work: it imports what they import."""

import importlib
import os
import platform
from typing import Sequence

import apache_beam as beam

# Slow imports of the three components; a worker without one of them fails half an hour later, in the Evaluator.
_MODULES = ("tensorflow", "tensorflow_text", "tfx", "components.tsv_example_gen.executor")


def run(flags: Sequence[str], folder: str) -> "beam.runners.runner.PipelineResult":
    """Starts the job; the caller waits for its end.

    Args:
      flags: Beam's.
      folder: where the components write, which the worker should see; empty for no such folder.
    """
    pipeline = beam.Pipeline(argv=list(flags))
    expected = (beam.__version__, platform.python_version_tuple()[:2], folder)
    # pylint: disable-next=expression-not-assigned
    pipeline | beam.Create([expected]) | beam.Map(check)
    return pipeline.run()


def check(expected: tuple[str, tuple[str, str], str]) -> None:
    """Runs on the worker.

    Raises:
      ImportError: a module is missing.
      RuntimeError: versions differ, or the folder is not there.
    """
    version, python, folder = expected
    if platform.python_version_tuple()[:2] != tuple(python):
        raise RuntimeError(f"the worker has Python {platform.python_version()}; should be {'.'.join(python)}, as here")
    if beam.__version__ != version:
        raise RuntimeError(f"the worker has apache-beam {beam.__version__}; should be {version}, as here")
    for module in _MODULES:
        importlib.import_module(module)
    if folder and not os.path.isdir(folder):
        raise RuntimeError(f"the worker does not see {folder}; --root should be on a disk that all workers mount")
