"""The files that come with the code, found in the same way in a checkout and in an installed package."""

import os

# The folder that holds every package of this project, and `configs` and `data` beside them: a checkout, or
# site-packages.
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CONFIGS = os.path.join(ROOT, "configs")


def find_config(name: str) -> str:
    """Returns the file of a bundled configuration, such as `nsmc`; any other name is a path and is returned as it is.

    A file or folder of that name in the current folder comes first.
    """
    bundled = os.path.join(CONFIGS, f"{name}.yaml")
    is_bundled = os.sep not in name and not os.path.exists(name) and os.path.isfile(bundled)
    return bundled if is_bundled else name
