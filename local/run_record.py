"""What identifies a run: its command, code, seeds and versions, the content of `run.json`."""

import datetime
import os
import re
import subprocess
import sys
from typing import Any, Iterator, Mapping, Optional, Sequence

from core import versions
from core.config import Config

# A git of a network folder that does not answer must not hold up a run.
_GIT_TIMEOUT_S = 10


def describe(run: str, config: Config) -> dict[str, Any]:
    """Describes a run that starts now.

    Args:
      run: id of the run.
      config: configuration of the run.

    Returns:
      `run`; `started`, ISO 8601, UTC; `command`, the words of the command line; `directory`, the working directory;
      `git`, its `commit` and whether tracked files are changed (`dirty`), null outside a repository; `seeds`, key ->
      seed; `versions` of Python and the packages.
    """
    return {
        "run": run,
        "started": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "command": hide_secrets(sys.argv),
        "directory": os.getcwd(),
        "git": _describe_git(os.getcwd()),
        "seeds": dict(_seeds(config.model_dump(), "")),
        "versions": versions.installed(),
    }


def hide_secrets(words: Sequence[str]) -> list[str]:
    """Returns the words of a command line without the values of `notify`, except `${NAME}`."""
    return [re.sub(r"^((?:--\w+=)?notify[^=]*=)(?!\$\{\w+\}$).*", r"\1...", word, flags=re.DOTALL) for word in words]


def _seeds(tree: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, int]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _seeds(value, f"{prefix}{key}.")
        elif key == "seed":
            yield prefix + key, value


def _describe_git(folder: str) -> Optional[dict[str, Any]]:
    commit = _call_git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    return {"commit": commit, "dirty": bool(_call_git(folder, "status", "--porcelain", "--untracked-files=no"))}


def _call_git(folder: str, *words: str) -> Optional[str]:
    """Returns git's output; None without git, outside a repository, or in one without commits."""
    # Without the lock that `status` takes to refresh the index.
    command = ["git", "--no-optional-locks", "-C", folder, *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_GIT_TIMEOUT_S)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
