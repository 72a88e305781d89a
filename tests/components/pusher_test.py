"""Pusher: what a reader of the serving folder sees, what stays in it, and that the cache is honest."""

import contextlib
import os
import pathlib
import resource
import shutil
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
from tfx.utils import json_utils, proto_utils

from components import model_files
from components.pusher import driver, executor, publication
from components.pusher.component import Pusher
from pipeline.errors import UserError
from tests import saved_models


def make_model(folder, content="weights"):
    """A Model artifact whose files a reader can check by their digest; nothing here loads it."""
    serving = pathlib.Path(folder) / "Format-Serving"
    (serving / "variables").mkdir(parents=True)
    (serving / "saved_model.pb").write_text(content)
    (serving / "variables" / "variables.index").write_text(content * 3)
    model = standard_artifacts.Model()
    model.uri = str(folder)
    return model


def digest_of(model):
    return model_files.model_sha256(os.path.join(model.uri, "Format-Serving"))


def blessing_of(blessed):
    blessing = standard_artifacts.InfraBlessing()
    blessing.set_int_custom_property("blessed", int(blessed))
    return blessing


def properties_for(serving_dir, config):
    destination = pusher_pb2.PushDestination(filesystem={"base_directory": str(serving_dir)})
    return {"push_destination": proto_utils.proto_to_json(destination), "custom_config": json_utils.dumps(config)}


def push(model, serving_dir, blessed=True, **config):
    pushed = standard_artifacts.PushedModel()
    with tempfile.TemporaryDirectory() as pushed.uri:
        inputs = {"model": [model], "infra_blessing": [blessing_of(blessed)]}
        executor.Executor().Do(inputs, {"pushed_model": [pushed]}, properties_for(serving_dir, config))
    return pushed


def drive(model, serving_dir, **config):
    info = data_types.ExecutionInfo(input_dict={"model": [model]}, exec_properties=properties_for(serving_dir, config))
    return json_utils.loads(driver.Driver(None).run(info).exec_properties["custom_config"].string_value)


def versions(serving_dir):
    return [int(os.path.basename(path)) for path in model_files.served_versions(str(serving_dir))]


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
    record = publication.read_record(folder)
    assert (record.push_id, record.model_sha256) == ("0123", digest_of(model))
    assert model_files.model_sha256(folder) == digest_of(model)
    assert saved_models.ask(folder, ["좋다".encode()])["probability"].shape == (1,)
    assert sorted(os.listdir(tmp_path / "serving")) == [".push.lock", str(version)]


def test_model_that_was_not_blessed_writes_nothing(tmp_path):
    pushed = push(make_model(tmp_path / "model"), tmp_path / "serving", blessed=False)
    assert pushed.get_int_custom_property("pushed") == 0
    assert not (tmp_path / "serving").exists()


@hypothesis.settings(deadline=None)  # The machine may be busy.
@hypothesis.given(st.lists(st.integers(0, 1 << 40)), st.integers(0, 1 << 40))
def test_versions_only_grow(existing, now_s):
    version = publication.next_version(existing, now_s)
    assert version >= now_s
    assert all(version > other for other in existing)


def test_version_from_the_future_is_passed(tmp_path):
    future = int(time.time()) + 10_000
    (tmp_path / "serving" / str(future)).mkdir(parents=True)
    push(make_model(tmp_path / "model"), tmp_path / "serving")
    assert versions(tmp_path / "serving") == [future, future + 1]


def test_only_the_last_pushed_versions_stay(tmp_path):
    by_hand = tmp_path / "serving" / "2024"
    by_hand.mkdir(parents=True)
    models = [make_model(tmp_path / str(i), str(i)) for i in range(4)]
    for model in models:
        push(model, tmp_path / "serving", keep=2)
    first, *kept = versions(tmp_path / "serving")
    assert first == 2024, "a folder that no push made is nobody's to remove"
    served = [model_files.model_sha256(str(tmp_path / "serving" / str(v))) for v in kept]
    assert served == [digest_of(model) for model in models[-2:]]


def test_rest_of_a_killed_push_is_removed(tmp_path):
    (tmp_path / "serving" / ".push-killed" / "1").mkdir(parents=True)
    (tmp_path / "serving" / ".push-killed" / "1" / "saved_model.pb").write_text("half")
    push(make_model(tmp_path / "model"), tmp_path / "serving")
    assert len(versions(tmp_path / "serving")) == 1
    assert not (tmp_path / "serving" / ".push-killed").exists()


def test_run_killed_after_its_push_adds_no_second_version(tmp_path):
    model = make_model(tmp_path / "model")
    first = push(model, tmp_path / "serving", push_id="a")
    again = push(model, tmp_path / "serving", push_id="a")
    assert len(versions(tmp_path / "serving")) == 1
    assert again.get_string_custom_property("pushed_version") == first.get_string_custom_property("pushed_version")
    assert again.get_int_custom_property("pushed") == 1


def test_driver_repeats_the_id_of_what_is_served_and_no_other(tmp_path):
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
    """Permissions say nothing to root, so a test that runs as root goes on as nobody."""
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
def test_destination_that_is_no_folder(tmp_path, location):
    with pytest.raises(UserError, match="serving.dir"):
        push(make_model(tmp_path / "model"), location)


@pytest.fixture
def small_files_only():
    """Writing past 1,000 bytes fails, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_failed_copy_leaves_nothing(tmp_path, request):
    model = make_model(tmp_path / "model", "weights" * 1000)
    request.getfixturevalue("small_files_only")
    with pytest.raises(UserError, match="serving.dir.*File too large"):
        push(model, tmp_path / "serving")
    assert os.listdir(tmp_path / "serving") == [".push.lock"]


class Watcher(threading.Thread):
    """Looks at every version over and over; a model here is so many files that half of them would be seen."""

    def __init__(self, serving_dir, files):
        super().__init__()
        self.serving_dir, self.files = str(serving_dir), files
        self.stopped, self.good, self.bad = threading.Event(), 0, []

    def run(self):
        while not self.stopped.is_set():
            for path in model_files.served_versions(self.serving_dir):
                files = sizes(path)
                has_record = files.pop("assets.extra/push.json", 0) > 0
                if files == self.files and has_record:
                    self.good += 1
                elif os.path.exists(path):  # Else it was retired, as a whole, while it was looked at.
                    self.bad.append(path)


def sizes(folder):
    """Relative name -> size of every file that is still there."""
    found = {}
    for parent, _, names in os.walk(folder):
        for path in (os.path.join(parent, name) for name in names):
            with contextlib.suppress(FileNotFoundError):
                found[os.path.relpath(path, folder)] = os.path.getsize(path)
    return found


def test_watcher_never_sees_half_a_version(tmp_path):
    models = [make_model(tmp_path / str(i), str(i)) for i in range(10)]
    for model in models:
        for i in range(100):
            pathlib.Path(model.uri, "Format-Serving", "variables", str(i)).write_text("weights")
    watcher = Watcher(tmp_path / "serving", sizes(os.path.join(models[0].uri, "Format-Serving")))
    watcher.start()
    try:
        for model in models:
            push(model, tmp_path / "serving", keep=3)
    finally:
        watcher.stopped.set()
        watcher.join()
    assert watcher.bad == []
    assert watcher.good > len(models)
    served = [model_files.model_sha256(path) for path in model_files.served_versions(str(tmp_path / "serving"))]
    assert served == [digest_of(model) for model in models[-3:]]


def test_cache_follows_the_serving_folder(tmp_path):
    model = make_model(tmp_path / "model")
    serving_dir = tmp_path / "serving"
    blessing = tmp_path / "blessing"
    blessing.mkdir()

    def run():
        candidate = importer.Importer(model.uri, standard_artifacts.Model).with_id("candidate")
        blessed = importer.Importer(
            str(blessing), standard_artifacts.InfraBlessing, custom_properties={"blessed": 1}
        ).with_id("blessing")
        pusher = Pusher(
            model=candidate.outputs["result"],
            infra_blessing=blessed.outputs["result"],
            push_destination=pusher_pb2.PushDestination(filesystem={"base_directory": str(serving_dir)}),
            custom_config={"keep": 2},
        )
        local_dag_runner.LocalDagRunner().run(
            pipeline.Pipeline(
                "push",
                str(tmp_path / "root"),
                metadata_connection_config=metadata.sqlite_metadata_connection_config(str(tmp_path / "metadata.db")),
                components=[candidate, blessed, pusher],
                enable_cache=True,
            )
        )
        return len(os.listdir(tmp_path / "root" / "Pusher" / "pushed_model")), versions(serving_dir)

    executions, first = run()
    assert (executions, len(first)) == (1, 1)
    assert run() == (1, first), "nothing changed: from the cache"
    shutil.rmtree(serving_dir)
    executions, second = run()
    assert (executions, len(second)) == (2, 1), "a deleted serving folder gets its model again"
    assert run() == (2, second)
