"""Who is measured: contenders by name, and the processes that they are."""

import dataclasses
import json
import re
import subprocess
import sys
from typing import Optional, Sequence

from benchmarks.training.turns import Contender, Job

DEFAULT = (
    "notebook",
    "ours",
    "ours-bfloat16",
    "pytorch-padded",
    "pytorch-dynamic",
    "pytorch-grouped",
    "pytorch-grouped-bfloat16",
)
_NAME = re.compile(r"(notebook|ours|pytorch-(padded|dynamic|grouped))(?:-(bfloat16|float16|auto))?")


@dataclasses.dataclass(frozen=True)
class Entry:
    """A contender before it is started.

    Attributes:
      name: what tables call it.
      module: that it is run from.
      precision: as in `Job`.
      batching: as in `Job`.
    """

    name: str
    module: str
    precision: str
    batching: str

    @property
    def is_ours(self) -> bool:
        """Whether the others are compared with it."""
        return self.module == "ours"

    @property
    def needs_torch(self) -> bool:
        """Whether it runs under the interpreter that has torch."""
        return self.module == "pytorch"


def parse_name(name: str) -> Entry:
    """Parses `notebook`, `ours` or `pytorch-padded`, `-dynamic` or `-grouped`, each with `-bfloat16` or not.

    Raises:
      ValueError: it is no contender's name.
    """
    found = _NAME.fullmatch(name)
    if not found or (found[1] == "notebook" and found[3]) or (found[2] and found[3] not in (None, "bfloat16")):
        raise ValueError(f"{name!r} is no contender; there are {', '.join(DEFAULT)}")
    return Entry(name, found[1].split("-")[0], found[3] or "float32", found[2] or "grouped")


def start(entry: Entry, job: Job, torch_python: str) -> Contender:
    """Starts a contender's process and waits until it is set up.

    Args:
      entry: which one.
      job: what to train; the entry's precision and batching replace its own.
      torch_python: interpreter for those that need torch.
    """
    job = dataclasses.replace(job, precision=entry.precision, batching=entry.batching)
    python = torch_python if entry.needs_torch else sys.executable
    command = [python, "-m", f"benchmarks.training.{entry.module}", json.dumps(dataclasses.asdict(job))]
    return Contender(entry.name, command, {"TF_CPP_MIN_LOG_LEVEL": "2"})


def why_no_torch(python: str) -> Optional[str]:
    """Returns why an interpreter can't run PyTorch's contenders; None where it can."""
    try:
        tried = subprocess.run([python, "-c", "import torch, transformers"], capture_output=True, text=True)
    except OSError as error:
        return f"{python}: {error.strerror}"
    return (tried.stderr.strip().splitlines() or [f"{python} fails"])[-1] if tried.returncode else None


def runnable(entries: Sequence[Entry], torch_python: str) -> tuple[list[Entry], Optional[str]]:
    """Returns the contenders that can run here, and why the others can't."""
    if not any(entry.needs_torch for entry in entries):
        return list(entries), None
    reason = why_no_torch(torch_python)
    return [entry for entry in entries if reason is None or not entry.needs_torch], reason
