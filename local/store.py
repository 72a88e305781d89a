"""What a run's folder keeps from one run to the next: the metadata store and the artifacts, made sound before a run.

<folder>/
  metadata.sqlite                       what ran on what, and what came out
  artifacts/<node>/<output>/<number>/   an output; the number is its execution's in the store
  artifacts/.seals/<node>/<output>/<number>.json    name -> bytes of each file that a complete output had

TFX's cache takes an earlier output wherever its folder exists. So before a run whatever is not what a complete
execution left is out of the way: outputs of executions that were killed, outputs that changed since, and outputs
that another store's executions made, whose numbers the next ones would meet.
"""

import contextlib
import glob
import json
import os
import shutil
import sqlite3
from typing import Any, Iterator, Optional, Sequence

from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata
from tfx.orchestration.portable.mlmd import execution_lib
from tfx.types import artifact

from core.errors import UserError

DATABASE = "metadata.sqlite"
ARTIFACTS = "artifacts"
_SEALS = ".seals"
_DAMAGED = ".damaged"
_ORPHANED = "artifacts.orphaned"


def connection(folder: str) -> metadata_store_pb2.ConnectionConfig:
    """Returns how to reach the metadata store of a run's folder."""
    return metadata.sqlite_metadata_connection_config(os.path.join(folder, DATABASE))


def make_sound(folder: str) -> list[str]:
    """Puts right what killed runs and other hands left.

    Args:
      folder: a run's folder, locked by the caller, so that no execution is at work in it.

    Returns:
      A sentence for everything that will be computed again although it was complete.

    Raises:
      UserError: the metadata store is damaged.
    """
    _check_database(os.path.join(folder, DATABASE))
    artifacts = os.path.join(folder, ARTIFACTS)
    if not os.path.isdir(artifacts):
        return []
    executions = _executions(folder)
    if not executions and any(_outputs(artifacts)):
        return [_set_orphans_aside(folder)]
    complete = {each.id for each in executions if execution_lib.is_execution_successful(each)}
    for path in list(_outputs(artifacts)):
        if int(os.path.basename(path)) not in complete:
            shutil.rmtree(path)
    return _set_damaged_aside(artifacts)


def seal(folder: str, outputs: Sequence[artifact.Artifact]) -> None:
    """Notes the files of a complete execution's outputs, so that a later run sees whether they are still the same.

    Args:
      folder: the run's folder.
      outputs: artifacts of one execution; those outside the folder are none of this store's.
    """
    artifacts = os.path.join(folder, ARTIFACTS)
    for output in outputs:
        seal_file = _seal_file(artifacts, output.uri)
        if os.path.relpath(output.uri, artifacts).startswith(os.pardir) or os.path.exists(seal_file):
            continue
        os.makedirs(os.path.dirname(seal_file), exist_ok=True)
        with open(seal_file + ".new", "w", encoding="utf-8") as stream:
            json.dump(_sizes(output.uri), stream)
        os.replace(seal_file + ".new", seal_file)


def forget(folder: str, pattern: str) -> None:
    """Removes complete outputs, so that what made them runs again.

    Args:
      folder: a run's folder, locked by the caller.
      pattern: glob under `artifacts/` of a file in such an output: `<node>/<output>/*/<name>`.
    """
    artifacts = os.path.join(folder, ARTIFACTS)
    for file in glob.glob(os.path.join(glob.escape(artifacts), pattern)):
        output = os.path.dirname(file)
        shutil.rmtree(output)
        with contextlib.suppress(FileNotFoundError):
            os.remove(_seal_file(artifacts, output))


def _seal_file(artifacts: str, output: str) -> str:
    return os.path.join(artifacts, _SEALS, os.path.relpath(output, artifacts) + ".json")


def _check_database(file: str) -> None:
    try:
        # Opening for writing lets SQLite roll back what a killed run left half done.
        with contextlib.closing(sqlite3.connect(file)) as database:
            found = _pragma(database, "quick_check")
            expected_bytes = _pragma(database, "page_count") * _pragma(database, "page_size")
        if found == "ok" and os.path.getsize(file) < expected_bytes:
            # What is cut off a page's end reads as zeros, which is no fault of structure.
            found = f"{os.path.getsize(file):,} bytes, should be {expected_bytes:,}"
    except sqlite3.DatabaseError as error:
        found = str(error)
    if found != "ok":
        raise UserError(
            f"{file}: the metadata store is damaged ({found}); move it away, and the next run computes everything "
            "anew; models in serving are not touched"
        )


def _pragma(database: sqlite3.Connection, name: str) -> Any:
    return database.execute(f"PRAGMA {name}").fetchone()[0]


def _executions(folder: str) -> list[metadata_store_pb2.Execution]:
    with metadata.Metadata(connection(folder)) as handle:
        return handle.store.get_executions()


def _outputs(artifacts: str) -> Iterator[str]:
    """Yields the folder of every execution's every output."""
    for node in _folders(artifacts):
        for output in _folders(node):
            yield from (path for path in _folders(output) if os.path.basename(path).isdecimal())


def _folders(parent: str) -> list[str]:
    with os.scandir(parent) as entries:
        return [entry.path for entry in entries if entry.is_dir() and not entry.name.startswith(".")]


def _set_orphans_aside(folder: str) -> str:
    aside = os.path.join(folder, _ORPHANED)
    if os.path.exists(aside):
        shutil.rmtree(aside)
    os.rename(os.path.join(folder, ARTIFACTS), aside)
    return f"no metadata store knows the artifacts that are here: everything runs anew; they are now in {aside}"


def _set_damaged_aside(artifacts: str) -> list[str]:
    told = []
    seals = os.path.join(artifacts, _SEALS)
    for parent, _, names in os.walk(seals):
        for name in names:
            seal_file = os.path.join(parent, name)
            output = os.path.join(artifacts, os.path.relpath(seal_file, seals).removesuffix(".json"))
            difference = _difference(seal_file, output)
            if difference is None:
                continue
            os.remove(seal_file)
            if os.path.isdir(output):
                os.rename(output, output + _DAMAGED)
            node, kind, _ = os.path.relpath(output, artifacts).split(os.sep)
            told.append(f"{node} runs again: its output {kind!r} is not what it left ({difference})")
    return sorted(told)


def _difference(seal_file: str, output: str) -> Optional[str]:
    """Says how an output differs from its seal; None where it does not."""
    if not os.path.isdir(output):
        return f"{output} is gone"
    with open(seal_file, encoding="utf-8") as stream:
        sealed = json.load(stream)
    found = _sizes(output)
    for name in sorted(sealed.keys() | found.keys()):
        if name not in found:
            return f"{os.path.join(output, name)} is gone"
        if name not in sealed:
            return f"{os.path.join(output, name)} is new"
        if found[name] != sealed[name]:
            return f"{os.path.join(output, name)} has {found[name]:,} bytes, had {sealed[name]:,}"
    return None


def _sizes(folder: str) -> dict[str, int]:
    """Relative name -> bytes of every file under a folder."""
    return {
        os.path.relpath(path, folder): os.path.getsize(path)
        for parent, _, names in os.walk(folder)
        for path in (os.path.join(parent, name) for name in names)
    }
