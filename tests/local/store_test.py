import os
import sqlite3

import pytest
from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata
from tfx.types import standard_artifacts

from core.errors import UserError
from local import store

State = metadata_store_pb2.Execution


def record(folder, *states):
    """Writes executions 1, 2, ... with these states, each with an output of one file."""
    with metadata.Metadata(store.connection(str(folder))) as handle:
        kind = handle.store.put_execution_type(metadata_store_pb2.ExecutionType(name="Node"))
        executions = [State(type_id=kind, last_known_state=state) for state in states]
        return [write(folder, number) for number in handle.store.put_executions(executions)]


def write(folder, number, content="0123456789"):
    output = folder / "artifacts" / "Node" / "model" / str(number)
    (output / "Split-train").mkdir(parents=True)
    (output / "Split-train" / "data").write_text(content)
    return output


def seal(folder, output):
    artifact = standard_artifacts.Model()
    artifact.uri = str(output)
    store.seal(str(folder), [artifact])


def test_new_folder_needs_no_repair(tmp_path):
    assert store.repair(str(tmp_path)) == []


def test_outputs_of_executions_that_did_not_complete_are_removed(tmp_path):
    complete, running, failed = record(tmp_path, State.COMPLETE, State.RUNNING, State.FAILED)
    unknown = write(tmp_path, 77)
    checkpoints = tmp_path / "artifacts" / "Node" / "checkpoints" / "0a1b"
    checkpoints.mkdir(parents=True)
    assert store.repair(str(tmp_path)) == []
    assert complete.exists() and checkpoints.exists()
    assert not running.exists() and not failed.exists() and not unknown.exists()


def test_unchanged_output_stays(tmp_path):
    (output,) = record(tmp_path, State.COMPLETE)
    seal(tmp_path, output)
    assert store.repair(str(tmp_path)) == []
    assert (output / "Split-train" / "data").read_text() == "0123456789"


@pytest.mark.parametrize(
    "damage, difference",
    [
        (lambda output: (output / "Split-train" / "data").write_text("01234"), "data has 5 bytes, had 10"),
        (lambda output: (output / "Split-train" / "data").unlink(), "data is missing"),
        (lambda output: (output / "more").write_text(""), "more was added"),
    ],
)
def test_changed_output_is_reported_and_moved(tmp_path, damage, difference):
    (output,) = record(tmp_path, State.COMPLETE)
    seal(tmp_path, output)
    damage(output)
    (message,) = store.repair(str(tmp_path))
    assert message.startswith("Node runs again: its output 'model' changed after the run") and difference in message
    assert not output.exists() and output.with_name("1.damaged").exists()
    assert store.repair(str(tmp_path)) == []


def test_deleted_output_is_reported_once(tmp_path):
    (output,) = record(tmp_path, State.COMPLETE)
    seal(tmp_path, output)
    os.rename(output, tmp_path / "elsewhere")
    assert "is missing" in store.repair(str(tmp_path))[0]
    assert store.repair(str(tmp_path)) == []


def test_removed_outputs_are_not_reported(tmp_path):
    kept, removed = record(tmp_path, State.COMPLETE, State.COMPLETE)
    (removed / "REFUSED").touch()
    for output in (kept, removed):
        seal(tmp_path, output)
    store.remove_outputs(str(tmp_path), "Node/model/*/REFUSED")
    assert kept.exists() and not removed.exists()
    assert store.repair(str(tmp_path)) == []


def test_artifacts_of_a_lost_store_are_moved(tmp_path):
    record(tmp_path, State.COMPLETE)
    (tmp_path / "metadata.sqlite").unlink()
    (message,) = store.repair(str(tmp_path))
    assert str(tmp_path / "artifacts.orphaned") in message
    assert (tmp_path / "artifacts.orphaned" / "Node" / "model" / "1" / "Split-train" / "data").exists()
    assert not (tmp_path / "artifacts").exists()
    assert store.repair(str(tmp_path)) == []


@pytest.mark.parametrize("share", [0.1, 0.5, 0.93, 0.999])
def test_truncated_store_is_a_user_error(tmp_path, share):
    (output,) = record(tmp_path, State.COMPLETE)
    database = tmp_path / "metadata.sqlite"
    os.truncate(database, int(database.stat().st_size * share))
    with pytest.raises(UserError, match="metadata.sqlite: the metadata store is damaged .*; move it away"):
        store.repair(str(tmp_path))
    assert output.exists()


def test_store_that_is_not_a_database_is_an_error(tmp_path):
    (tmp_path / "metadata.sqlite").write_text("no database " * 1000)
    with pytest.raises(UserError, match="file is not a database"):
        store.repair(str(tmp_path))


def test_transaction_of_a_killed_process_is_rolled_back(tmp_path):
    record(tmp_path, State.COMPLETE)
    database = sqlite3.connect(tmp_path / "metadata.sqlite", isolation_level=None)
    database.execute("PRAGMA cache_size = 1")
    database.execute("BEGIN")
    database.execute("CREATE TABLE half (done TEXT)")
    database.executemany("INSERT INTO half VALUES (?)", [("x" * 1000,)] * 100)
    for name in ("metadata.sqlite", "metadata.sqlite-journal"):
        (tmp_path / "copy").mkdir(exist_ok=True)
        (tmp_path / "copy" / name).write_bytes((tmp_path / name).read_bytes())
    database.execute("ROLLBACK")
    assert store.repair(str(tmp_path / "copy")) == []
    with sqlite3.connect(tmp_path / "copy" / "metadata.sqlite") as copied:
        assert copied.execute("SELECT count(*) FROM sqlite_master WHERE name = 'half'").fetchone() == (0,)
        assert copied.execute("SELECT count(*) FROM Execution").fetchone() == (1,)
