"""The metadata store and the artifacts in the folder of a pipeline, which are repaired before each run.

<folder>/
  metadata.sqlite                                   executions with their inputs and outputs
  artifacts/<node>/<output>/<number>/               an output; the number is the id of the execution in the store
  artifacts/.seals/<node>/<output>/<number>.json    name -> bytes of each file of a complete output

TFX's cache reuses an earlier output if its folder exists, regardless of its content. So a repair removes outputs of
killed executions, and moves outputs that changed after the run. If the store was lost, it moves all outputs, because
new executions reuse their ids.
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
from core.files import atomic_write

DATABASE = "metadata.sqlite"
ARTIFACTS = "artifacts"
_SEALS = ".seals"
_DAMAGED = ".damaged"
_ORPHANED = "artifacts.orphaned"


def connection(folder: str) -> metadata_store_pb2.ConnectionConfig:
    """Returns the connection to the metadata store."""
    return metadata.sqlite_metadata_connection_config(os.path.join(folder, DATABASE))


def repair(folder: str) -> list[str]:
    """Removes unfinished outputs, and moves damaged or orphaned ones.

    Args:
      folder: folder of the pipeline, locked by the caller, so that no execution is running in it.

    Returns:
      One message for each complete output that has to be created again.

    Raises:
      UserError: the metadata store is damaged.
    """
    _check_database(os.path.join(folder, DATABASE))
    artifacts = os.path.join(folder, ARTIFACTS)
    if not os.path.isdir(artifacts):
        return []
    executions = _executions(folder)
    if not executions and any(_outputs(artifacts)):
        return [_move_orphans(folder)]
    complete = {each.id for each in executions if execution_lib.is_execution_successful(each)}
    for path in list(_outputs(artifacts)):
        if int(os.path.basename(path)) not in complete:
            shutil.rmtree(path)
    return _move_damaged(artifacts)


def seal(folder: str, outputs: Sequence[artifact.Artifact]) -> None:
    """Records the files of complete outputs, so that `repair` notices changes.

    Args:
      folder: folder of the pipeline.
      outputs: artifacts of one execution; those outside the folder are skipped.
    """
    artifacts = os.path.join(folder, ARTIFACTS)
    for output in outputs:
        seal_file = _seal_file(artifacts, output.uri)
        if os.path.relpath(output.uri, artifacts).startswith(os.pardir) or os.path.exists(seal_file):
            continue
        os.makedirs(os.path.dirname(seal_file), exist_ok=True)
        with atomic_write(seal_file) as stream:
            json.dump(_sizes(output.uri), stream)


def remove_outputs(folder: str, pattern: str) -> None:
    """Removes complete outputs, so that their component runs again.

    Args:
      folder: folder of the pipeline, locked by the caller.
      pattern: glob under `artifacts/` of a file in the outputs: `<node>/<output>/*/<name>`.
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
        # Opened for writing, so that SQLite rolls back the transaction of a killed run.
        with contextlib.closing(sqlite3.connect(file)) as database:
            result = _pragma(database, "quick_check")
            expected_bytes = _pragma(database, "page_count") * _pragma(database, "page_size")
        if result == "ok" and os.path.getsize(file) < expected_bytes:
            # quick_check reads the missing end of a page as zeros.
            result = f"{os.path.getsize(file):,} bytes, should be {expected_bytes:,}"
    except sqlite3.DatabaseError as error:
        result = str(error)
    if result != "ok":
        raise UserError(
            f"{file}: the metadata store is damaged ({result}); move it away, and the next run starts from scratch; "
            "models in serving are not affected"
        )


def _pragma(database: sqlite3.Connection, name: str) -> Any:
    return database.execute(f"PRAGMA {name}").fetchone()[0]


def _executions(folder: str) -> list[metadata_store_pb2.Execution]:
    with metadata.Metadata(connection(folder)) as handle:
        return handle.store.get_executions()


def _outputs(artifacts: str) -> Iterator[str]:
    """Yields the folder of every output of every execution."""
    for node in _folders(artifacts):
        for output in _folders(node):
            yield from (path for path in _folders(output) if os.path.basename(path).isdecimal())


def _folders(parent: str) -> list[str]:
    with os.scandir(parent) as entries:
        return [entry.path for entry in entries if entry.is_dir() and not entry.name.startswith(".")]


def _move_orphans(folder: str) -> str:
    target = os.path.join(folder, _ORPHANED)
    if os.path.exists(target):
        shutil.rmtree(target)
    os.rename(os.path.join(folder, ARTIFACTS), target)
    return f"all components run again: the metadata store was lost; its artifacts are now in {target}"


def _move_damaged(artifacts: str) -> list[str]:
    messages = []
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
            messages.append(f"{node} runs again: its output {kind!r} changed after the run ({difference})")
    return sorted(messages)


def _difference(seal_file: str, output: str) -> Optional[str]:
    """Describes how an output differs from its seal; None if it does not."""
    if not os.path.isdir(output):
        return f"{output} is missing"
    with open(seal_file, encoding="utf-8") as stream:
        sealed = json.load(stream)
    sizes = _sizes(output)
    for name in sorted(sealed.keys() | sizes.keys()):
        if name not in sizes:
            return f"{os.path.join(output, name)} is missing"
        if name not in sealed:
            return f"{os.path.join(output, name)} was added"
        if sizes[name] != sealed[name]:
            return f"{os.path.join(output, name)} has {sizes[name]:,} bytes, had {sealed[name]:,}"
    return None


def _sizes(folder: str) -> dict[str, int]:
    """Returns relative name -> bytes of every file under a folder."""
    return {
        os.path.relpath(path, folder): os.path.getsize(path)
        for parent, _, names in os.walk(folder)
        for path in (os.path.join(parent, name) for name in names)
    }
