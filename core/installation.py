"""The installation: its bundled files, and the names of its commands.

A checkout and an installed package have the same layout: `configs` and `data` are next to the packages.
"""

import glob
import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CONFIGS = os.path.join(ROOT, "configs")

# Script of a checkout -> console script, as in setup.py.
_CONSOLE_SCRIPTS = {"local_runner.py": "reviews", "kubeflow_runner.py": "reviews-kubeflow"}


def find_config(name: str) -> str:
    """Returns the file of a bundled configuration, such as `nsmc` or `glue/cola`; any other name is a path, unchanged.

    A file or folder of that name in the current folder takes precedence.
    """
    is_bundled = f"{name}.yaml" in glob.glob("**/*.yaml", root_dir=CONFIGS, recursive=True)
    return os.path.join(CONFIGS, f"{name}.yaml") if is_bundled and not os.path.exists(name) else name


def program(script: str) -> str:
    """Returns the name of the running command: `reviews` for `local_runner.py` if it was started by that name."""
    installed = _CONSOLE_SCRIPTS[script]
    return installed if os.path.basename(sys.argv[0]) == installed else script


def command(script: str) -> str:
    """Returns the command to type: `reviews`, or `.venv/bin/python local_runner.py`."""
    name = program(script)
    return f".venv/bin/python {name}" if name == script else name
