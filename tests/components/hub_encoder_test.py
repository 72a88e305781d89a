"""From a handle to an encoder artifact: names, folders, a web server, and no network at all."""

import contextlib
import functools
import http.server
import os
import re
import shutil
import socket
import tarfile
import threading
import time

import pytest
import rich.console
from tfx import types
from tfx.orchestration import metadata, pipeline
from tfx.orchestration.local import local_dag_runner
from tfx.orchestration.portable import data_types
from tfx.types import standard_artifacts
from tfx.utils import path_utils

from components import encoder_artifact
from components.hub_encoder import driver, executor, fetch, handles
from components.hub_encoder.catalogue import CATALOGUE, table
from components.hub_encoder.component import HubEncoder
from components.model_files import tree_sha256
from pipeline.errors import UserError
from tests import encoders

MULTI = CATALOGUE["bert_multi_cased"]


@pytest.fixture(name="local")
def fixture_local(tmp_path):
    """A folder that a person may have: `preprocess/` and `encoder/`, no card."""
    folder = encoders.save(str(tmp_path / "local"))
    os.remove(os.path.join(folder, encoder_artifact.CARD))
    return folder


@pytest.fixture(autouse=True)
def own_hub_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "hub_cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def run(uri, handle, preprocess=""):
    """Runs the executor; returns the artifact's serving folder."""
    artifact = standard_artifacts.Model()
    artifact.uri = str(uri)
    os.makedirs(artifact.uri)
    executor.Executor().Do({}, {executor.ENCODER: [artifact]}, {"handle": handle, "preprocess": preprocess})
    return path_utils.serving_model_dir(artifact.uri)


def fingerprint(handle, preprocess=""):
    """What the driver adds to the cache key."""
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
def test_a_handle_stands_for_two_locations(handle, preprocess, expected):
    sources = handles.resolve(handle, preprocess)
    assert (sources.preprocess, sources.encoder, sources.heads) == expected


def test_an_unknown_name_gets_the_close_ones_and_the_way_to_the_list():
    with pytest.raises(UserError) as error:
        handles.resolve("bert_multi_case")
    assert str(error.value).startswith("encoder.handle = 'bert_multi_case': not in the catalogue; did you mean bert_m")
    assert "local_runner.py encoders" in str(error.value)


def test_a_name_like_no_other_gets_no_guess():
    with pytest.raises(UserError, match=r"'xyz': not in the catalogue\?"):
        handles.resolve("xyz")


def test_an_unknown_preprocess_name_is_named_by_its_own_field():
    with pytest.raises(UserError, match="^encoder.preprocess = 'bert_zzz'"):
        handles.resolve("bert_multi_cased", "bert_zzz")


def test_an_address_outside_the_catalogue_needs_its_preprocess_model():
    with pytest.raises(UserError, match="^encoder.preprocess: missing; https://x/enc is not in the catalogue"):
        handles.resolve("https://x/enc")


# The catalogue.


def test_multilingual_bert_comes_first():
    assert next(iter(CATALOGUE)) == "bert_multi_cased"


@pytest.mark.parametrize("name", CATALOGUE)
def test_an_entry_agrees_with_its_address(name):
    entry = CATALOGUE[name]
    for address in (entry.encoder, entry.preprocess):
        assert re.fullmatch(r"https://tfhub\.dev/[\w/.-]+/\d+", address)
    sizes = re.search(r"_L-(\d+)_H-(\d+)_A-(\d+)/", entry.encoder)
    if sizes:
        assert tuple(map(int, sizes.groups())) == (entry.layers, entry.hidden, entry.heads)
    assert entry.hidden % entry.heads == 0
    # Cased weights go with a cased vocabulary.
    if "cased" in name:
        assert entry.preprocess.count("uncased") == entry.encoder.count("uncased")


@pytest.mark.parametrize(
    "name, published_m",
    [
        ("bert_multi_cased", 178),
        ("bert_en_uncased", 110),
        ("bert_en_uncased_large", 335),
        ("small_bert_en_uncased_L-2_H-128_A-2", 4.4),
        ("small_bert_en_uncased_L-8_H-512_A-8", 41.4),
        ("albert_en_base", 12),
        ("albert_en_large", 18),
        ("electra_small", 14),
    ],
)
def test_parameter_counts_agree_with_the_papers(name, published_m):
    assert CATALOGUE[name].parameters_m == pytest.approx(published_m, rel=0.04)


def test_the_table_shows_every_entry():
    console = rich.console.Console(width=200, record=True, file=open(os.devnull, "w", encoding="utf-8"))
    console.print(table())
    shown = console.export_text()
    assert all(name in shown for name in CATALOGUE)


# Folders of this machine.


def test_a_folder_with_both_models_is_copied_and_links_become_files(local, tmp_path):
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


def test_an_encoder_that_this_pipeline_made_keeps_its_heads(tmp_path):
    assert handles.resolve(encoders.save(str(tmp_path / "made"))).heads == encoders.CONFIG.heads


def test_an_encoders_own_folder_goes_with_a_preprocess_folder(local):
    preprocess, encoder = (os.path.join(local, part) for part in ("preprocess", "encoder"))
    assert handles.resolve(encoder, preprocess) == handles.Sources(preprocess, encoder)
    assert handles.resolve(local) == handles.Sources(preprocess, encoder)


def test_a_folder_without_a_model_is_refused_with_the_file_named(tmp_path):
    missing = os.path.join(str(tmp_path), "preprocess", "saved_model.pb")
    with pytest.raises(UserError, match=f"^encoder.handle: {re.escape(missing)} does not exist"):
        fingerprint(str(tmp_path))


def test_a_missing_preprocess_folder_is_named_by_its_own_field(local):
    with pytest.raises(UserError, match="^encoder.preprocess: /nowhere/saved_model.pb does not exist"):
        handles.resolve(os.path.join(local, "encoder"), "/nowhere")


def test_a_broken_model_is_refused_by_its_path_and_leaves_nothing(local, tmp_path):
    os.truncate(os.path.join(local, "encoder", "saved_model.pb"), 100)
    with pytest.raises(UserError, match=f"^{re.escape(os.path.join(local, 'encoder'))}: can't be loaded"):
        run(tmp_path / "out", local)
    assert os.listdir(tmp_path / "out") == []


def test_the_fingerprint_follows_a_local_folders_contents(local):
    before = fingerprint(local)
    assert fingerprint(local) == before
    with open(os.path.join(local, "encoder", "assets", "vocab.txt"), "a", encoding="utf-8") as file:
        file.write("x\n")
    assert fingerprint(local) != before


def test_the_fingerprint_of_an_address_asks_no_network():
    assert fingerprint("https://127.0.0.1:9/enc", "bert_multi_cased").split(" ") == [
        MULTI.preprocess, "https://127.0.0.1:9/enc",
    ]


def test_in_a_pipeline_only_changed_contents_miss_the_cache(local, tmp_path):
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


def assert_one_line_with_the_way_out(error, location):
    assert str(error.value).startswith(f"encoder.handle: {location} could not be fetched (")
    assert "set encoder.handle to a folder that holds preprocess/ and encoder/" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("scheme", ["https", "http"])
def test_without_a_network_one_line_says_how_to_do_without(scheme, tmp_path):
    address = f"{scheme}://127.0.0.1:{closed_port()}"
    started = time.monotonic()
    with pytest.raises(UserError) as error:
        run(tmp_path / "out", f"{address}/encoder", f"{address}/preprocess")
    assert time.monotonic() - started < 10
    assert_one_line_with_the_way_out(error, f"{address}/preprocess")
    assert os.listdir(tmp_path / "out") == []
    assert os.listdir(tmp_path / "hub_cache") == []


def test_a_server_that_never_answers_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "_SILENCE_TIMEOUT_S", 0.3)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(UserError) as error:
            run(tmp_path / "out", f"{address}/encoder", f"{address}/preprocess")
    assert_one_line_with_the_way_out(error, f"{address}/preprocess")
    assert socket.getdefaulttimeout() is None


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"\x1f\x8b\x08cut"])
def test_what_is_no_archive_is_refused_and_not_kept(content, tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "model").write_bytes(content)
    with web_server(tmp_path / "site") as address:
        with pytest.raises(UserError) as error:
            run(tmp_path / "out", f"{address}/model", f"{address}/model")
    assert_one_line_with_the_way_out(error, f"{address}/model")
    assert os.listdir(tmp_path / "out") == []
    assert os.listdir(tmp_path / "hub_cache") == []


def test_a_refusing_server_is_quoted(tmp_path):
    with web_server(tmp_path) as address:
        with pytest.raises(UserError, match="404") as error:
            run(tmp_path / "out", f"{address}/none", f"{address}/none")
    assert_one_line_with_the_way_out(error, f"{address}/none")


def test_an_address_that_tensorflow_can_not_read_is_refused(tmp_path):
    with pytest.raises(UserError) as error:
        run(tmp_path / "out", "nosuch://bucket/encoder")
    assert_one_line_with_the_way_out(error, "nosuch://bucket/encoder/preprocess")


def test_the_component_has_one_model_output():
    component = HubEncoder(handle="bert_multi_cased")
    assert isinstance(component.outputs["encoder"], types.BaseChannel)
    assert component.outputs["encoder"].type is standard_artifacts.Model
    assert component.exec_properties["preprocess"] == ""
