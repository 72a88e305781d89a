"""Pusher: the content of the serving folder at any time, removed versions, and the cache."""

import dataclasses
import errno
import fcntl
import json
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time

import hypothesis
import hypothesis.strategies as st
import pytest
from tfx.dsl.components.common import importer
from tfx.orchestration import metadata, pipeline
from tfx.orchestration.local import local_dag_runner
from tfx.orchestration.portable import data_types
from tfx.proto import pusher_pb2
from tfx.types import standard_artifacts
from tfx.utils import json_utils

from artifacts import encoder as encoder_artifact
from artifacts import model_files, model_run
from artifacts.examples import Ingest, write_ingest
from artifacts.tfx_types import GateVerdict
from components.pusher import driver, executor, publication, record
from components.pusher.component import Pusher
from core import checks
from core.errors import UserError
from tests import saved_models
from tests.pushes import digest_of, make_model, properties_for, push, versions


def drive(model, serving_dir, **config):
    info = data_types.ExecutionInfo(input_dict={"model": [model]}, exec_properties=properties_for(serving_dir, config))
    return json_utils.loads(driver.Driver(None).run(info).exec_properties["custom_config"].string_value)


def test_push_of_a_blessed_model(tmp_path):
    model = saved_models.save_artifact(str(tmp_path / "model"))
    before = int(time.time())
    pushed = push(model, tmp_path / "serving", push_id="0123")
    (version,) = versions(tmp_path / "serving")
    folder = str(tmp_path / "serving" / str(version))
    assert before <= version <= int(time.time())
    assert pushed.get_int_custom_property("pushed") == 1
    assert pushed.get_string_custom_property("pushed_version") == str(version)
    assert pushed.get_string_custom_property("pushed_destination") == folder
    pushed_record = record.read(folder)
    assert (pushed_record.push_id, pushed_record.model_sha256) == ("0123", digest_of(model))
    assert model_files.model_sha256(folder) == digest_of(model)
    assert saved_models.predict(folder, ["좋다".encode()])["probability"].shape == (1,)
    assert sorted(os.listdir(tmp_path / "serving")) == [".push.lock", ".push.state.json", str(version)]


def test_model_that_was_not_blessed_writes_nothing(tmp_path):
    pushed = push(make_model(tmp_path / "model"), tmp_path / "serving", blessed=False)
    assert pushed.get_int_custom_property("pushed") == 0
    assert not (tmp_path / "serving").exists()


def artifact(kind, folder, **files):
    """An artifact with JSON files in its folder."""
    folder.mkdir()
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    artifact = kind()
    artifact.uri = str(folder)
    return artifact


def check(gate, passed=True, severity="fail"):
    return checks.Check(gate, "some_check", passed, 0.5, 0.1, "a sentence", severity)


def as_json(*checks):
    return [dataclasses.asdict(check) for check in checks]


def inputs_to_trace(folder):
    """The artifacts of a run that the record of its push refers to."""
    examples = artifact(standard_artifacts.Examples, folder / "examples")
    write_ingest(examples.uri, Ingest({}, 0, {"train": ["a.tsv"], "test": []}, None, "f" * 64))
    encoder = artifact(standard_artifacts.Model, folder / "encoder")
    card = encoder_artifact.EncoderCard(
        "hub", "bert", "bert_pre", {"preprocess": "0" * 64, "encoder": "1" * 64}, 9, 8, 2, 2
    )
    (folder / "encoder" / "Format-Serving").mkdir()
    (folder / "encoder" / "Format-Serving" / "encoder.json").write_text(json.dumps(dataclasses.asdict(card)))
    trained = artifact(standard_artifacts.ModelRun, folder / "model_run")
    history = [{"epoch": 1, "dev_accuracy": 0.8}, {"epoch": 2, "dev_accuracy": 0.7}]
    figures = model_run.TrainingFigures(100.0, 0.03, 60.0, 1, history, "float32", 1, "native")
    model_run.write_training(trained.uri, figures)
    metrics = {"candidate": {"accuracy": 0.9}, "baseline": None}
    model_blessing = artifact(
        standard_artifacts.ModelBlessing, folder / "model_blessing", checks=as_json(check("model")), metrics=metrics
    )
    model_blessing.set_int_custom_property("blessed", 1)
    infra_blessing = artifact(
        standard_artifacts.InfraBlessing, folder / "infra_blessing", checks=as_json(check("serving"))
    )
    infra_blessing.set_int_custom_property("blessed", 1)
    verdict = artifact(
        GateVerdict, folder / "verdict", checks=as_json(check("data", False, "warn")), profile={"rows": 3}
    )
    return {
        "examples": [examples],
        "encoder": [encoder],
        "model_run": [trained],
        "data_verdict": [verdict],
        "model_blessing": [model_blessing],
        "infra_blessing": [infra_blessing],
    }


def test_record_has_the_origin_of_the_model(tmp_path):
    push(make_model(tmp_path / "model"), tmp_path / "serving", inputs=inputs_to_trace(tmp_path), run_id="run-7")
    (version,) = publication.versions(str(tmp_path / "serving"))
    origin = version.record.origin
    assert (origin.run_id, origin.data_fingerprint) == ("run-7", "f" * 64)
    assert origin.encoder == {
        "source": "hub",
        "handle": "bert",
        "preprocess_handle": "bert_pre",
        "sha256": {"preprocess": "0" * 64, "encoder": "1" * 64},
    }
    assert origin.training["best"] == {"epoch": 1, "dev_accuracy": 0.8}
    assert origin.training["precision"] == "float32" and "history" not in origin.training
    assert origin.metrics == {"candidate": {"accuracy": 0.9}, "baseline": None}
    assert origin.checks == [check("data", False, "warn"), check("model"), check("serving")]
    assert {"python", "tensorflow"} <= origin.versions.keys()
    assert json.loads(pathlib.Path(version.path, model_files.DATA_PROFILE).read_text()) == {"rows": 3}


def test_inputs_missing_in_an_older_run_are_null(tmp_path):
    inputs = inputs_to_trace(tmp_path)
    for name in ("verdict/profile.json", "verdict/checks.json", "model_blessing/metrics.json"):
        (tmp_path / name).unlink()
    del inputs["encoder"], inputs["model_run"]
    push(make_model(tmp_path / "model"), tmp_path / "serving", inputs=inputs)
    (version,) = publication.versions(str(tmp_path / "serving"))
    origin = version.record.origin
    assert (origin.run_id, origin.encoder, origin.training) == (None, None, None)
    assert origin.metrics == checks.NO_METRICS
    assert origin.checks == [check("model"), check("serving")]
    assert not os.path.exists(os.path.join(version.path, model_files.DATA_PROFILE))


@pytest.mark.parametrize(
    ("content", "is_valid"),
    [
        (b'{"push_id": "1", "model_sha256": "a", "time": "t"}', True),
        (b'{"push_id": "1", "model_sha256": "a", "of_a_later_release": [], "origin": {"more": 1}}', True),
        (b'{"push_id": "1", "model_sha256": ["a"]}', False),
        (b'{"push_id": "1"', False),
        (b"[]", False),
        (b"[" * 100_000, False),
        (b"\xff\x00", False),
    ],
)
def test_record_is_read_with_missing_or_unknown_keys_only(tmp_path, content, is_valid):
    (tmp_path / "assets.extra").mkdir()
    (tmp_path / model_files.PUSH_RECORD).write_bytes(content)
    assert (record.read(str(tmp_path)) is not None) == is_valid


@hypothesis.settings(deadline=None)  # The machine may be busy.
@hypothesis.given(st.lists(st.integers(0, 1 << 40)), st.integers(0, 1 << 40))
def test_versions_only_grow(taken, now_s):
    version = publication.next_version(taken, now_s)
    assert version >= now_s
    assert all(version > other for other in taken)


def test_version_too_large_for_a_server_is_an_error():
    assert publication.next_version([2**63 - 2], 0) == 2**63 - 1
    with pytest.raises(UserError, match=f"version {2**63 - 1} is the largest possible"):
        publication.next_version([2**63 - 1], 0)


def test_version_is_larger_than_one_from_the_future(tmp_path):
    future = int(time.time()) + 10_000
    (tmp_path / "serving" / str(future)).mkdir(parents=True)
    (tmp_path / "serving" / str(future + 1)).write_text("a file is in the way, too")
    (tmp_path / "serving" / str(10**30)).mkdir()
    push(make_model(tmp_path / "model"), tmp_path / "serving")
    assert versions(tmp_path / "serving") == [future, future + 2], "a model server ignores 10**30"


def test_number_of_a_removed_version_is_not_used_again(tmp_path, monkeypatch):
    now = int(time.time())
    monkeypatch.setattr(time, "time", lambda: now + 1000.0)
    push(make_model(tmp_path / "a", "a"), tmp_path / "serving")
    shutil.rmtree(tmp_path / "serving" / str(now + 1000))
    monkeypatch.setattr(time, "time", lambda: float(now))
    push(make_model(tmp_path / "b", "b"), tmp_path / "serving")
    assert versions(tmp_path / "serving") == [now + 1001]


def test_damaged_state_is_an_error(tmp_path):
    push(make_model(tmp_path / "a", "a"), tmp_path / "serving")
    state = tmp_path / "serving" / ".push.state.json"
    state.write_bytes(state.read_bytes()[:20])
    with pytest.raises(UserError, match=f"{state}.*remove it"):
        push(make_model(tmp_path / "b", "b"), tmp_path / "serving")
    state.unlink()
    push(make_model(tmp_path / "c", "c"), tmp_path / "serving")
    assert len(versions(tmp_path / "serving")) == 2


def test_only_the_newest_pushed_versions_are_kept(tmp_path):
    by_hand = tmp_path / "serving" / "2024"
    by_hand.mkdir(parents=True)
    models = [make_model(tmp_path / str(i), str(i)) for i in range(4)]
    for model in models:
        push(model, tmp_path / "serving", keep=2)
    first, *kept = versions(tmp_path / "serving")
    assert first == 2024, "a folder without a record is never removed"
    served = [model_files.model_sha256(str(tmp_path / "serving" / str(v))) for v in kept]
    assert served == [digest_of(model) for model in models[-2:]]


def test_link_to_a_version_is_never_removed(tmp_path):
    serving_dir = tmp_path / "serving"
    push(make_model(tmp_path / "0", "0"), serving_dir)
    (first,) = versions(serving_dir)
    (serving_dir / str(first)).rename(tmp_path / "elsewhere")
    (serving_dir / "7").symlink_to(tmp_path / "elsewhere")
    for i in "123":
        push(make_model(tmp_path / i, i), serving_dir, keep=1)
    linked, newest = versions(serving_dir)
    assert (linked, newest > first) == (7, True)
    assert (tmp_path / "elsewhere" / "saved_model.pb").read_text() == "0"


def test_copy_that_is_not_the_candidate_is_not_published(tmp_path, monkeypatch):
    model = make_model(tmp_path / "model")
    copied = executor.io_utils.copy_dir

    def faulty(*arguments):
        copied(*arguments)
        for path in (tmp_path / "serving").glob(".push-*/*/saved_model.pb"):
            path.write_text("weightz")

    monkeypatch.setattr(executor.io_utils, "copy_dir", faulty)
    with pytest.raises(UserError, match="nothing was pushed"):
        push(model, tmp_path / "serving")
    assert versions(tmp_path / "serving") == []


def test_remains_of_a_killed_push_are_removed(tmp_path):
    (tmp_path / "serving" / ".push-killed" / "1").mkdir(parents=True)
    (tmp_path / "serving" / ".push-killed" / "1" / "saved_model.pb").write_text("half")
    push(make_model(tmp_path / "model"), tmp_path / "serving")
    assert len(versions(tmp_path / "serving")) == 1
    assert not (tmp_path / "serving" / ".push-killed").exists()


def test_run_killed_after_its_push_does_not_add_a_second_version(tmp_path):
    model = make_model(tmp_path / "model")
    first = push(model, tmp_path / "serving", push_id="a")
    again = push(model, tmp_path / "serving", push_id="a")
    assert len(versions(tmp_path / "serving")) == 1
    assert again.get_string_custom_property("pushed_version") == first.get_string_custom_property("pushed_version")
    assert again.get_int_custom_property("pushed") == 1
    assert [each.get_int_custom_property("already_served") for each in (first, again)] == [0, 1]


def test_push_fails_if_another_model_was_pushed_since_the_comparison(tmp_path):
    candidate, compared, other = (make_model(tmp_path / name, name) for name in ("candidate", "compared", "other"))
    push(compared, tmp_path / "serving")
    push(other, tmp_path / "serving")
    before = versions(tmp_path / "serving")
    with pytest.raises(UserError, match=f"version {before[-1]} was pushed after this run's gates compared"):
        push(candidate, tmp_path / "serving", inputs={"baseline": [compared]})
    assert versions(tmp_path / "serving") == before
    push(candidate, tmp_path / "serving", inputs={"baseline": [other]})
    assert len(versions(tmp_path / "serving")) == 3


@pytest.mark.parametrize("compared", ["candidate", "other"])
def test_push_succeeds_if_nothing_or_the_candidate_is_in_serving(tmp_path, compared):
    models = {name: make_model(tmp_path / name, name) for name in ("candidate", "other")}
    for _ in range(2):
        push(models["candidate"], tmp_path / "serving", inputs={"baseline": [models[compared]]})
    assert len(versions(tmp_path / "serving")) == 1


def test_driver_repeats_the_push_id_of_the_served_model_only(tmp_path):
    model, other = make_model(tmp_path / "a", "a"), make_model(tmp_path / "b", "b")
    config = drive(model, tmp_path / "serving", keep=2)
    assert config["keep"] == 2
    push(model, tmp_path / "serving", **config)
    assert drive(model, tmp_path / "serving", keep=2) == config
    assert drive(other, tmp_path / "serving")["push_id"] != config["push_id"]
    served = tmp_path / "serving" / str(versions(tmp_path / "serving")[0])
    (served / "variables" / "variables.index").write_text("damaged")
    assert drive(model, tmp_path / "serving")["push_id"] != config["push_id"]
    shutil.rmtree(tmp_path / "serving")
    assert drive(model, tmp_path / "serving")["push_id"] != config["push_id"]


@pytest.fixture
def model_and_read_only_folder():
    """Root ignores permissions, so a test that runs as root continues as nobody."""
    with tempfile.TemporaryDirectory() as root:
        model = make_model(os.path.join(root, "model"))
        serving_dir = os.path.join(root, "serving")
        os.mkdir(serving_dir)
        for folder in (root, serving_dir):
            os.chmod(folder, 0o555)
        user = os.geteuid()
        os.seteuid(user or 65534)
        yield model, serving_dir
        os.seteuid(user)


def test_read_only_destination(model_and_read_only_folder):
    model, serving_dir = model_and_read_only_folder
    with pytest.raises(UserError, match=f"serving.dir = '{serving_dir}'.*Permission denied"):
        push(model, serving_dir)
    assert os.listdir(serving_dir) == []


@pytest.mark.parametrize("location", ["gs://bucket/serving", os.path.join(__file__, "serving")])
def test_destination_that_is_not_a_folder(tmp_path, location):
    with pytest.raises(UserError, match="serving.dir"):
        push(make_model(tmp_path / "model"), location)


@pytest.fixture
def small_files_only():
    """Writing past 1,000 bytes fails, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_remains_of_a_killed_push_are_removed_before_the_next_one(tmp_path):
    (tmp_path / ".push-killed").mkdir()
    with publication.exclusive(str(tmp_path)) as hidden:
        assert sorted(os.listdir(tmp_path)) == sorted([".push.lock", os.path.basename(hidden)])


@pytest.mark.parametrize("end", ["release", "kill"])
def test_second_writer_waits_until_the_first_one_ends(tmp_path, end):
    code = (
        "import sys\nfrom components.pusher import publication\n"
        "with publication.exclusive(sys.argv[1]):\n    print('locked', flush=True)\n    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    acquired = threading.Event()

    def write():
        with publication.exclusive(str(tmp_path)):
            acquired.set()

    try:
        assert holder.stdout.readline() == b"locked\n"
        writer = threading.Thread(target=write)
        writer.start()
        assert not acquired.wait(0.5)
    finally:
        holder.kill() if end == "kill" else holder.stdin.close()
        holder.wait()
    writer.join(30.0)
    assert acquired.is_set() and os.listdir(tmp_path) == [".push.lock"]


def test_file_system_without_locks_is_an_error(tmp_path, monkeypatch):
    def no_flock(*_):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", no_flock)
    with pytest.raises(UserError, match="serving.dir.*Function not implemented"):
        push(make_model(tmp_path / "model"), tmp_path / "serving")


def test_failed_copy_leaves_nothing(tmp_path, request):
    model = make_model(tmp_path / "model", "weights" * 1000)
    request.getfixturevalue("small_files_only")
    with pytest.raises(UserError, match="serving.dir.*File too large"):
        push(model, tmp_path / "serving")
    assert os.listdir(tmp_path / "serving") == [".push.lock"]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MiB."""
    mounted = tmp_path / "disk"
    mounted.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(mounted)], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"can't mount a file system: {done.stderr.strip()}")
    yield mounted
    subprocess.run(["umount", str(mounted)], check=True)


def test_full_disk_and_a_push_after_it_was_freed(small_disk, tmp_path):
    push(make_model(tmp_path / "small", "weights"), small_disk / "serving")
    before = versions(small_disk / "serving")
    big = make_model(tmp_path / "big", "weights" * 20_000)
    (small_disk / "filler").write_bytes(bytes(800_000))
    with pytest.raises(UserError, match="serving.dir.*No space left on device"):
        push(big, small_disk / "serving")
    assert sorted(os.listdir(small_disk / "serving")) == [".push.lock", ".push.state.json", *map(str, before)]
    (small_disk / "filler").unlink()
    push(big, small_disk / "serving")
    assert len(versions(small_disk / "serving")) == 2


def import_node(artifact, name):
    """A node that imports an artifact into the pipeline."""
    properties = {
        key: artifact.get_int_custom_property(key) for key in ("blessed",) if artifact.has_custom_property(key)
    }
    return importer.Importer(artifact.uri, type(artifact), custom_properties=properties).with_id(name)


def test_cache_depends_on_the_serving_folder(tmp_path):
    serving_dir = tmp_path / "serving"
    inputs = {"model": [make_model(tmp_path / "model")], **inputs_to_trace(tmp_path)}

    def run():
        nodes = {name: import_node(artifact, f"{name}_node") for name, (artifact,) in inputs.items()}
        pusher = Pusher(
            **{name: node.outputs["result"] for name, node in nodes.items()},
            push_destination=pusher_pb2.PushDestination(filesystem={"base_directory": str(serving_dir)}),
            custom_config={"keep": 2},
        )
        local_dag_runner.LocalDagRunner().run(
            pipeline.Pipeline(
                "push",
                str(tmp_path / "root"),
                metadata_connection_config=metadata.sqlite_metadata_connection_config(str(tmp_path / "metadata.db")),
                components=[*nodes.values(), pusher],
                enable_cache=True,
            )
        )
        return len(os.listdir(tmp_path / "root" / "Pusher" / "pushed_model")), versions(serving_dir)

    executions, first = run()
    assert (executions, len(first)) == (1, 1)
    origin = publication.versions(str(serving_dir))[0].record.origin
    assert origin.run_id and origin.encoder and origin.data_fingerprint and len(origin.checks) == 3
    assert run() == (1, first), "nothing changed: cached"
    shutil.rmtree(serving_dir)
    executions, second = run()
    assert (executions, len(second)) == (2, 1), "the model is pushed again into a deleted serving folder"
    assert run() == (2, second)
