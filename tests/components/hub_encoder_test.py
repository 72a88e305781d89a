"""From a handle to an encoder artifact: names, folders, a web server, and no network."""

import contextlib
import functools
import hashlib
import http.server
import os
import re
import shutil
import socket
import tarfile
import threading
import time

import pytest
from tfx import types
from tfx.orchestration import metadata, pipeline
from tfx.orchestration.local import local_dag_runner
from tfx.orchestration.portable import data_types
from tfx.types import standard_artifacts
from tfx.utils import path_utils

from artifacts import encoder as encoder_artifact
from artifacts.model_files import tree_sha256
from components.hub_encoder import driver, executor, handles
from components.hub_encoder.catalogue import CATALOGUE
from components.hub_encoder.component import HubEncoder
from core import web
from core.errors import UserError
from tests import encoders

MULTI = CATALOGUE["bert_multi_cased"]


@pytest.fixture(name="local")
def fixture_local(tmp_path):
    """A folder with `preprocess/` and `encoder/`, and no card."""
    folder = encoders.save(str(tmp_path / "local"))
    os.remove(os.path.join(folder, encoder_artifact.CARD))
    return folder


@pytest.fixture(autouse=True)
def own_hub_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "hub_cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def run(uri, handle, preprocess="", **digests):
    """Runs the executor; returns the artifact's serving folder."""
    artifact = standard_artifacts.Model()
    artifact.uri = str(uri)
    os.makedirs(artifact.uri)
    properties = {"handle": handle, "preprocess": preprocess, "mode": "fine_tune", "max_length": 128, **digests}
    executor.Executor().Do({}, {executor.ENCODER: [artifact]}, properties)
    return path_utils.serving_model_dir(artifact.uri)


def fingerprint(handle, preprocess=""):
    """Returns the fingerprint that the driver adds to the cache key."""
    info = data_types.ExecutionInfo(exec_properties={"handle": handle, "preprocess": preprocess})
    return driver.Driver(None).run(info).exec_properties[executor.FINGERPRINT].string_value


# Names and addresses.


@pytest.mark.parametrize(
    "handle, preprocess, expected",
    [
        ("bert_multi_cased", "", (MULTI.preprocess, MULTI.encoder, 12)),
        (MULTI.encoder, "", (MULTI.preprocess, MULTI.encoder, 12)),
        ("bert_en_cased", "https://x/pre", ("https://x/pre", CATALOGUE["bert_en_cased"].encoder, 12)),
        ("https://x/enc", "https://x/pre", ("https://x/pre", "https://x/enc", None)),
        ("https://x/enc", "bert_multi_cased", (MULTI.preprocess, "https://x/enc", None)),
        ("gs://b/pair", "", ("gs://b/pair/preprocess", "gs://b/pair/encoder", None)),
        ("gs://b/enc", "gs://b/pre", ("gs://b/pre", "gs://b/enc", None)),
    ],
)
def test_handle_resolves_to_two_locations(handle, preprocess, expected):
    sources = handles.resolve(handle, preprocess)
    assert (sources.preprocess, sources.encoder, sources.heads) == expected


def test_error_of_an_unknown_name_suggests_a_name_and_the_command():
    with pytest.raises(UserError) as error:
        handles.resolve("bert_multi_case")
    assert str(error.value).startswith("encoder.handle = 'bert_multi_case': not in the catalogue; did you mean bert_m")
    assert "local_runner.py encoders" in str(error.value)


def test_error_of_a_name_without_a_similar_one_has_no_suggestion():
    with pytest.raises(UserError, match="'xyz': not in the catalogue; see"):
        handles.resolve("xyz")


def test_unknown_preprocess_name_is_an_error_of_its_field():
    with pytest.raises(UserError, match="^encoder.preprocess = 'bert_zzz'"):
        handles.resolve("bert_multi_cased", "bert_zzz")


def test_address_outside_the_catalogue_needs_a_preprocess_model():
    with pytest.raises(UserError, match="^encoder.preprocess: missing; https://x/enc is not in the catalogue"):
        handles.resolve("https://x/enc")


# Local folders.


def test_folder_with_both_models_is_copied_without_links(local, tmp_path):
    linked = tmp_path / "linked"
    linked.mkdir()
    for part in ("preprocess", "encoder"):
        (linked / part).symlink_to(os.path.join(local, part), target_is_directory=True)
    folder = run(tmp_path / "out", str(linked))
    card = encoder_artifact.read(folder)
    assert (card.source, card.handle, card.preprocess_handle) == ("hub", str(linked), str(linked / "preprocess"))
    assert (card.hidden, card.layers, card.heads) == (encoders.CONFIG.hidden, encoders.CONFIG.layers, None)
    assert card.sha256 == {part: tree_sha256(os.path.join(local, part)) for part in ("preprocess", "encoder")}
    shutil.rmtree(local)
    assert card.sha256 == {part: tree_sha256(os.path.join(folder, part)) for part in ("preprocess", "encoder")}


def test_encoder_of_this_pipeline_keeps_its_heads(tmp_path):
    assert handles.resolve(encoders.save(str(tmp_path / "encoder"))).heads == encoders.CONFIG.heads


def test_folder_of_an_encoder_is_used_with_a_preprocess_folder(local):
    preprocess, encoder = (os.path.join(local, part) for part in ("preprocess", "encoder"))
    assert handles.resolve(encoder, preprocess) == handles.Sources(preprocess, encoder)
    assert handles.resolve(local) == handles.Sources(preprocess, encoder)


def test_folder_without_a_model_is_an_error_that_names_the_file(tmp_path):
    missing = os.path.join(str(tmp_path), "preprocess", "saved_model.pb")
    with pytest.raises(UserError, match=f"^encoder.handle: {re.escape(missing)}: No such file or directory"):
        fingerprint(str(tmp_path))


def test_missing_preprocess_folder_is_an_error_of_its_field(local):
    with pytest.raises(UserError, match="^encoder.preprocess: /nowhere/saved_model.pb: No such file or directory"):
        handles.resolve(os.path.join(local, "encoder"), "/nowhere")


def test_broken_model_is_named_by_its_path_and_not_kept(local, tmp_path):
    os.truncate(os.path.join(local, "encoder", "saved_model.pb"), 100)
    with pytest.raises(UserError, match=f"^{re.escape(os.path.join(local, 'encoder'))}: can't be loaded"):
        run(tmp_path / "out", local)
    assert os.listdir(tmp_path / "out") == []


def test_fingerprint_depends_on_the_content_of_a_local_folder(local):
    before = fingerprint(local)
    assert fingerprint(local) == before
    with open(os.path.join(local, "encoder", "assets", "vocab.txt"), "a", encoding="utf-8") as file:
        file.write("x\n")
    assert fingerprint(local) != before


def test_fingerprint_of_an_address_needs_no_network():
    assert fingerprint("https://127.0.0.1:9/enc", "bert_multi_cased").split(" ") == [
        MULTI.preprocess,
        "https://127.0.0.1:9/enc",
    ]


def test_only_changed_content_misses_the_cache_of_a_pipeline(local, tmp_path):
    def launch():
        spec = pipeline.Pipeline(
            pipeline_name="p",
            pipeline_root=str(tmp_path / "root"),
            components=[HubEncoder(handle=local)],
            enable_cache=True,
            metadata_connection_config=metadata.sqlite_metadata_connection_config(str(tmp_path / "metadata.db")),
        )
        local_dag_runner.LocalDagRunner().run(spec)
        return len(list((tmp_path / "root").glob("HubEncoder/encoder/*/Format-Serving/encoder.json")))

    assert [launch(), launch()] == [1, 1]
    with open(os.path.join(local, "encoder", "assets", "vocab.txt"), "a", encoding="utf-8") as file:
        file.write("x\n")
    assert launch() == 2


# Untrusted folders.


def test_links_inside_the_folder_become_files(local, tmp_path):
    vocabulary = os.path.join(local, "encoder", "assets", "vocab.txt")
    os.rename(vocabulary, vocabulary + ".1")
    os.symlink("vocab.txt.1", vocabulary)
    copy = os.path.join(run(tmp_path / "out", local), "encoder", "assets", "vocab.txt")
    assert os.path.isfile(copy) and not os.path.islink(copy)


def link_to_a_file(path, tmp_path):
    (tmp_path / "private").write_text("secret")
    os.symlink(tmp_path / "private", path)


def link_to_a_neighbour(path, tmp_path):
    """Links to a path with the name of the folder as a prefix."""
    folder = os.path.dirname(os.path.dirname(path))
    os.mkdir(folder + "2")
    with open(os.path.join(folder + "2", "private"), "w", encoding="utf-8"):
        os.symlink(os.path.join(folder + "2", "private"), path)


@pytest.mark.parametrize(
    "make, fault",
    [
        (link_to_a_file, "is a link to .*private, which is outside this folder; copy the folder with `cp -rL`"),
        (link_to_a_neighbour, "is a link to .*encoder2/private, which is outside"),
        (lambda path, _: os.symlink("..", path), "is a link to .*, which is outside this folder"),
        (lambda path, _: os.symlink("nowhere", path), "is a link to .*, which is outside this folder"),
        (lambda path, _: os.mkfifo(path), "is neither a file nor a folder"),
    ],
)
def test_unsafe_file_is_an_error_of_the_driver(make, fault, local, tmp_path):
    path = os.path.join(local, "encoder", "assets", "extra")
    make(path, tmp_path)
    with pytest.raises(UserError, match=f"^encoder.handle: {re.escape(path)} {fault}"):
        fingerprint(local)


def test_file_name_with_control_characters_is_an_error_and_escaped(local):
    with open(os.path.join(local, "encoder", "\x1b[2J"), "w", encoding="utf-8"), pytest.raises(UserError) as error:
        fingerprint(local)
    assert r"encoder/\x1b[2J has a control character in its name" in str(error.value)


# Digests.


def test_encoder_with_the_expected_digests_is_accepted(local, tmp_path):
    preprocess, encoder = (tree_sha256(os.path.join(local, part)) for part in ("preprocess", "encoder"))
    assert run(tmp_path / "out", local, sha256=encoder, preprocess_sha256=preprocess)


@pytest.mark.parametrize("field, part", [("sha256", "encoder"), ("preprocess_sha256", "preprocess")])
def test_encoder_with_another_digest_is_not_loaded(field, part, local, tmp_path, monkeypatch):
    monkeypatch.setattr(encoder_artifact, "validate", lambda *_: pytest.fail("it was loaded"))
    path = os.path.join(local, part)
    with pytest.raises(UserError) as error:
        run(tmp_path / "out", local, **{field: "6" * 64})
    assert str(error.value).startswith(f"encoder.{field} = {'6' * 64}: {path} has the digest {tree_sha256(path)}")
    assert os.listdir(tmp_path / "out") == []


def test_encoder_that_differs_from_its_card_is_an_error(tmp_path):
    folder = encoders.save(str(tmp_path / "encoder"))
    recorded = encoder_artifact.read(folder).sha256["preprocess"]
    with open(os.path.join(folder, "preprocess", "assets", "vocab.txt"), "a", encoding="utf-8") as file:
        file.write("x\n")
    with pytest.raises(UserError, match=f"has the digest .*, but encoder.json beside it records {recorded}"):
        run(tmp_path / "out", folder)


# Addresses.


@contextlib.contextmanager
def web_server(folder):
    handler = functools.partial(QuietHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


def cached(cache):
    """Lists a cache, except the locks."""
    return [name for name in os.listdir(cache) if not name.endswith(".fetch")]


def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_archives_are_downloaded_and_unpacked(local, tmp_path):
    site = tmp_path / "site"
    site.mkdir()
    for part in ("preprocess", "encoder"):
        with tarfile.open(site / f"{part}.tar.gz", "w:gz") as archive:
            archive.add(os.path.join(local, part), arcname=".")
    with web_server(site) as address:
        folder = run(tmp_path / "out", f"{address}/encoder.tar.gz", f"{address}/preprocess.tar.gz")
    card = encoder_artifact.read(folder)
    assert (card.handle, card.preprocess_handle) == (f"{address}/encoder.tar.gz", f"{address}/preprocess.tar.gz")
    assert card.sha256 == {part: tree_sha256(os.path.join(local, part)) for part in ("preprocess", "encoder")}


def assert_one_line_with_instructions(error, location):
    assert str(error.value).startswith(f"encoder.handle: can't download {location} (")
    assert "set encoder.handle to a folder that holds preprocess/ and encoder/" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("scheme", ["https", "http"])
def test_error_without_a_network_has_instructions(scheme, tmp_path):
    address = f"{scheme}://127.0.0.1:{closed_port()}"
    started = time.monotonic()
    with pytest.raises(UserError) as error:
        run(tmp_path / "out", f"{address}/encoder", f"{address}/preprocess")
    assert time.monotonic() - started < 10
    assert_one_line_with_instructions(error, f"{address}/preprocess")
    assert os.listdir(tmp_path / "out") == []
    assert cached(tmp_path / "hub_cache") == []


def test_server_that_never_answers_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(web, "SILENCE_TIMEOUT_S", 0.3)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(UserError) as error:
            run(tmp_path / "out", f"{address}/encoder", f"{address}/preprocess")
    assert_one_line_with_instructions(error, f"{address}/preprocess")


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"\x1f\x8b\x08cut"])
def test_file_that_is_not_an_archive_is_not_kept(content, tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "model").write_bytes(content)
    with web_server(tmp_path / "site") as address:
        with pytest.raises(UserError) as error:
            run(tmp_path / "out", f"{address}/model", f"{address}/model")
    assert_one_line_with_instructions(error, f"{address}/model")
    assert os.listdir(tmp_path / "out") == []
    assert cached(tmp_path / "hub_cache") == []


def test_unsafe_archive_is_an_error_and_nothing_is_written(local, tmp_path):
    (tmp_path / "site").mkdir()
    with tarfile.open(tmp_path / "site" / "model", "w:gz") as tar:
        tar.add(os.path.join(local, "preprocess"), arcname=".")
        tar.addfile(tarfile.TarInfo("../../../../outside"))
    before = sorted(str(path) for path in tmp_path.rglob("*"))
    with web_server(tmp_path / "site") as address:
        with pytest.raises(UserError) as error:
            run(tmp_path / "out", f"{address}/model", f"{address}/model")
    assert f"unsafe archive {address}/model, deleted" in str(error.value)
    assert "its member '../../../../outside' has a path that leaves the folder" in str(error.value)
    after = sorted(str(path) for path in tmp_path.rglob("*") if not path.name.endswith(".fetch"))
    assert set(after) - set(before) == {str(tmp_path / "hub_cache"), str(tmp_path / "out")}


def test_files_and_locks_of_a_killed_download_are_ignored(local, tmp_path):
    (tmp_path / "site").mkdir()
    for part in ("preprocess", "encoder"):
        with tarfile.open(tmp_path / "site" / part, "w:gz") as tar:
            tar.add(os.path.join(local, part), arcname=".")
    with web_server(tmp_path / "site") as address:
        place = tmp_path / "hub_cache" / hashlib.sha1(f"{address}/encoder".encode()).hexdigest()
        half = place.with_suffix(".partial") / "model"
        half.mkdir(parents=True)
        (half / "saved_model.pb").write_bytes(b"half")
        for lock in (".fetch", ".lock"):  # Ours, and TF Hub's, for which it would wait ten minutes.
            place.with_suffix(lock).write_text("stale")
        started = time.monotonic()
        run(tmp_path / "out", f"{address}/encoder", f"{address}/preprocess")
    assert time.monotonic() - started < 60
    assert (place / "saved_model.pb").stat().st_size > 4 and not half.exists()


def test_archive_is_downloaded_once(local, tmp_path):
    (tmp_path / "site").mkdir()
    for part in ("preprocess", "encoder"):
        with tarfile.open(tmp_path / "site" / part, "w") as tar:
            tar.add(os.path.join(local, part), arcname=".")
    with web_server(tmp_path / "site") as address:
        run(tmp_path / "out", f"{address}/encoder", f"{address}/preprocess")
        shutil.rmtree(tmp_path / "site")
        run(tmp_path / "again", f"{address}/encoder", f"{address}/preprocess")


def test_http_error_is_quoted(tmp_path):
    with web_server(tmp_path) as address:
        with pytest.raises(UserError, match="404") as error:
            run(tmp_path / "out", f"{address}/none", f"{address}/none")
    assert_one_line_with_instructions(error, f"{address}/none")


def test_unknown_scheme_is_an_error(tmp_path):
    with pytest.raises(UserError) as error:
        run(tmp_path / "out", "nosuch://bucket/encoder")
    assert_one_line_with_instructions(error, "nosuch://bucket/encoder/preprocess")


def test_component_has_one_model_output():
    component = HubEncoder(handle="bert_multi_cased")
    assert isinstance(component.outputs["encoder"], types.BaseChannel)
    assert component.outputs["encoder"].type is standard_artifacts.Model
    assert component.exec_properties["preprocess"] == ""


@pytest.mark.parametrize("handle", ["xyz", "https://x/enc", "{}/gone", "{}/gone.tar.gz"])
def test_errors_name_the_setting_that_the_handle_is_from(tmp_path, handle):
    with pytest.raises(UserError) as error:
        handles.resolve(handle.format(tmp_path), setting="encoder.pretrain.continue_from")
    assert str(error.value).startswith("encoder.pretrain.continue_from")
    assert "encoder.handle" not in str(error.value)
