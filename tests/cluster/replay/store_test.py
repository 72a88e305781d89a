import os

import pytest

from cluster.replay import store

URI = "minio://mlpipeline/v2/model"


def test_files_go_to_the_store_and_back_and_directories_alone_do_not(tmp_path):
    source = tmp_path / "source"
    for name in ("a/b", "empty/empty"):
        os.makedirs(source / name)
    (source / "a" / "b" / "file").write_text("x")
    objects = store.Store(str(tmp_path / "store"))
    objects.upload(str(source), URI)
    objects.download(URI, str(tmp_path / "target"))
    found = [os.path.relpath(parent, tmp_path / "target") for parent, _, _ in os.walk(tmp_path / "target")]
    assert sorted(found) == [".", "a", "a/b"]
    assert (tmp_path / "store" / "mlpipeline" / "v2" / "model" / "a" / "b" / "file").read_text() == "x"


def test_an_artifact_can_be_one_file(tmp_path):
    (tmp_path / "value").write_text("3")
    objects = store.Store(str(tmp_path / "store"))
    objects.upload(str(tmp_path / "value"), URI)
    objects.download(URI, str(tmp_path / "deep" / "value"))
    assert (tmp_path / "deep" / "value").read_text() == "3"


def test_a_task_that_changes_its_copy_does_not_change_the_store(tmp_path):
    (tmp_path / "value").write_text("3")
    objects = store.Store(str(tmp_path / "store"))
    objects.upload(str(tmp_path / "value"), URI)
    objects.download(URI, str(tmp_path / "copy"))
    (tmp_path / "copy").write_text("4")
    with open(objects.path(URI), encoding="utf-8") as stream:
        assert stream.read() == "3"


def test_what_is_not_there_is_neither_uploaded_nor_downloaded(tmp_path):
    objects = store.Store(str(tmp_path / "store"))
    objects.upload(str(tmp_path / "nothing"), URI)
    objects.download(URI, str(tmp_path / "target"))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("uri", "path"), [("minio://b/k", "/minio/b/k"), ("s3://b/k/l", "/s3/b/k/l"), ("gs://b/k", "/gcs/b/k")]
)
def test_the_launcher_has_a_folder_for_each_scheme(uri, path):
    assert store.container_path(uri) == path


@pytest.mark.parametrize("uri", ["/minio/b/k", "http://b/k", "minio:///etc/passwd", "s3://b/../../k", "minio://"])
def test_a_uri_without_a_place_in_the_store_is_refused(uri):
    with pytest.raises(ValueError, match="should be"):
        store.container_path(uri)
