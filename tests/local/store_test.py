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


def sealed(folder, output):
    artifact = standard_artifacts.Model()
    artifact.uri = str(output)
    store.seal(str(folder), [artifact])


def test_new_folder_is_sound(tmp_path):
    assert store.make_sound(str(tmp_path)) == []


def test_outputs_of_executions_that_did_not_complete_are_removed(tmp_path):
    complete, running, failed = record(tmp_path, State.COMPLETE, State.RUNNING, State.FAILED)
    stranger = write(tmp_path, 77)
    checkpoints = tmp_path / "artifacts" / "Node" / "checkpoints" / "0a1b"
    checkpoints.mkdir(parents=True)
    assert store.make_sound(str(tmp_path)) == []
    assert complete.exists() and checkpoints.exists()
    assert not running.exists() and not failed.exists() and not stranger.exists()


def test_sealed_output_that_is_as_it_was_stays(tmp_path):
    (output,) = record(tmp_path, State.COMPLETE)
    sealed(tmp_path, output)
    assert store.make_sound(str(tmp_path)) == []
    assert (output / "Split-train" / "data").read_text() == "0123456789"


@pytest.mark.parametrize(
    "spoil, told",
    [
        (lambda output: (output / "Split-train" / "data").write_text("01234"), "data has 5 bytes, had 10"),
        (lambda output: (output / "Split-train" / "data").unlink(), "data is gone"),
        (lambda output: (output / "more").write_text(""), "more is new"),
    ],
)
def test_output_that_changed_is_told_and_set_aside(tmp_path, spoil, told):
    (output,) = record(tmp_path, State.COMPLETE)
    sealed(tmp_path, output)
    spoil(output)
    (sentence,) = store.make_sound(str(tmp_path))
    assert sentence.startswith("Node runs again: its output 'model' is not what it left") and told in sentence
    assert not output.exists() and output.with_name("1.damaged").exists()
    assert store.make_sound(str(tmp_path)) == []


def test_deleted_output_is_told_once(tmp_path):
    (output,) = record(tmp_path, State.COMPLETE)
    sealed(tmp_path, output)
    os.rename(output, tmp_path / "elsewhere")
    assert "is gone" in store.make_sound(str(tmp_path))[0]
    assert store.make_sound(str(tmp_path)) == []


def test_forgotten_outputs_run_again_without_a_word(tmp_path):
    kept, forgotten = record(tmp_path, State.COMPLETE, State.COMPLETE)
    (forgotten / "REFUSED").touch()
    for output in (kept, forgotten):
        sealed(tmp_path, output)
    store.forget(str(tmp_path), "Node/model/*/REFUSED")
    assert kept.exists() and not forgotten.exists()
    assert store.make_sound(str(tmp_path)) == []


def test_artifacts_that_no_store_knows_are_set_aside(tmp_path):
    record(tmp_path, State.COMPLETE)
    (tmp_path / "metadata.sqlite").unlink()
    (sentence,) = store.make_sound(str(tmp_path))
    assert str(tmp_path / "artifacts.orphaned") in sentence
    assert (tmp_path / "artifacts.orphaned" / "Node" / "model" / "1" / "Split-train" / "data").exists()
    assert not (tmp_path / "artifacts").exists()
    assert store.make_sound(str(tmp_path)) == []


@pytest.mark.parametrize("share", [0.1, 0.5, 0.93, 0.999])
def test_cut_store_is_an_error_that_names_it_and_the_way_out(tmp_path, share):
    (output,) = record(tmp_path, State.COMPLETE)
    database = tmp_path / "metadata.sqlite"
    os.truncate(database, int(database.stat().st_size * share))
    with pytest.raises(UserError, match="metadata.sqlite: the metadata store is damaged .*; move it away"):
        store.make_sound(str(tmp_path))
    assert output.exists()


def test_store_that_is_no_database_is_an_error(tmp_path):
    (tmp_path / "metadata.sqlite").write_text("no database " * 1000)
    with pytest.raises(UserError, match="file is not a database"):
        store.make_sound(str(tmp_path))


def test_what_a_killed_writer_left_in_the_store_is_rolled_back(tmp_path):
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
    assert store.make_sound(str(tmp_path / "copy")) == []
    with sqlite3.connect(tmp_path / "copy" / "metadata.sqlite") as copied:
        assert copied.execute("SELECT count(*) FROM sqlite_master WHERE name = 'half'").fetchone() == (0,)
        assert copied.execute("SELECT count(*) FROM Execution").fetchone() == (1,)
