"""The contenders that a benchmark can compare, by name, and how their processes are started."""

import dataclasses
import json
import re
import shlex
import subprocess
import sys
from typing import Mapping, Optional, Sequence

from benchmarks.training.turns import Contender, ContenderError, Workload

DEFAULT = (
    "notebook",
    "ours",
    "ours-bfloat16",
    "pytorch-padded",
    "pytorch-dynamic",
    "pytorch-grouped",
    "pytorch-grouped-bfloat16",
)
_NAME = re.compile(
    r"(?P<base>notebook|ours|pytorch-(?P<batching>padded|dynamic|grouped))(?:-(?P<task>classes|ordinal|score))?"
    r"(?P<whole>-whole)?(?:-(?P<precision>bfloat16|float16|auto))?(?:@(?P<python>\w+))?"
)

# Python interpreters by label, each a command line.
Pythons = Mapping[str, str]
TORCH = "torch"


@dataclasses.dataclass(frozen=True)
class Entry:
    """A contender before it is started.

    Attributes:
      name: as shown in tables.
      module: the module of this package that it runs.
      precision: as in `Workload`.
      batching: as in `Workload`.
      task: as in `Workload`.
      python: label of the interpreter that runs it; empty for this one.
      whole_table: as in `Workload`.
    """

    name: str
    module: str
    precision: str
    batching: str
    task: str = "binary"
    python: str = ""
    whole_table: bool = False

    @property
    def is_ours(self) -> bool:
        """Whether the others are compared with it."""
        return self.module == "ours"


def parse_name(name: str) -> Entry:
    """Parses a contender's name.

    Args:
      name: `notebook`, `ours` or `pytorch-padded`, `-dynamic` or `-grouped`; optionally followed by a task of ours
        (`-classes`, `-ordinal`, `-score`), by `-whole` for ours on the whole embedding table, by `-bfloat16`, and by
        `@LABEL` to run it under another interpreter.

    Raises:
      ValueError: unknown name.
    """
    match = _NAME.fullmatch(name)
    if not match or not _is_supported(**match.groupdict()):
        raise ValueError(f"{name!r}: unknown contender; choose from {', '.join(DEFAULT)}")
    module = match["base"].split("-")[0]
    return Entry(
        name,
        module,
        precision=match["precision"] or "float32",
        batching=match["batching"] or "grouped",
        task=match["task"] or "binary",
        python=match["python"] or (TORCH if module == "pytorch" else ""),
        whole_table=bool(match["whole"]),
    )


def _is_supported(
    base: str, task: Optional[str], whole: Optional[str], precision: Optional[str], **unused: Optional[str]
) -> bool:
    if base == "ours":
        return True
    return (
        task is None and whole is None and precision in ((None, "bfloat16") if base.startswith("pytorch") else (None,))
    )


def start(entry: Entry, workload: Workload, pythons: Pythons) -> Contender:
    """Starts a contender's process and waits until it is set up.

    Args:
      entry: the contender.
      workload: what to train; the entry's own choices override its.
      pythons: the interpreters.
    """
    workload = dataclasses.replace(
        workload,
        precision=entry.precision,
        batching=entry.batching,
        task=entry.task,
        whole_table=entry.whole_table,
    )
    module = f"benchmarks.training.{entry.module}"
    command = [*_interpreter(entry.python, pythons), "-m", module, json.dumps(dataclasses.asdict(workload))]
    return Contender(entry.name, command, {"TF_CPP_MIN_LOG_LEVEL": "2"})


def runnable(entries: Sequence[Entry], pythons: Pythons) -> tuple[list[Entry], list[str]]:
    """Returns the contenders that can run here, and for each of the others why it can't.

    Raises:
      ContenderError: a label has no interpreter.
    """
    reasons = {
        python: _missing_packages(
            _interpreter(python, pythons), "tensorflow" if python != TORCH else "torch, transformers"
        )
        for python in {entry.python for entry in entries} - {""}
    }
    able = [entry for entry in entries if reasons.get(entry.python) is None]
    return able, [f"{entry.name}: {reasons[entry.python]}" for entry in entries if entry not in able]


def _interpreter(label: str, pythons: Pythons) -> list[str]:
    if label not in ("", TORCH, *pythons):
        raise ContenderError(f"contender @{label}: no interpreter; give --python {label}=COMMAND")
    return shlex.split(pythons[label]) if label in pythons else [sys.executable]


def _missing_packages(python: Sequence[str], packages: str) -> Optional[str]:
    """Returns why an interpreter can't import some packages; None if it can."""
    try:
        done = subprocess.run([*python, "-c", f"import {packages}"], capture_output=True, text=True)
    except OSError as error:
        return f"{python[0]}: {error.strerror}"
    return (done.stderr.strip().splitlines() or [f"{python[0]} failed"])[-1] if done.returncode else None
