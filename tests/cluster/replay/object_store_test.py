import os

import pytest

from cluster.replay import object_store

URI = "minio://mlpipeline/v2/model"


def test_files_are_uploaded_and_downloaded_but_empty_directories_are_not(tmp_path):
    source = tmp_path / "source"
    for name in ("a/b", "empty/empty"):
        os.makedirs(source / name)
    (source / "a" / "b" / "file").write_text("x")
    objects = object_store.ObjectStore(str(tmp_path / "store"))
    objects.upload(str(source), URI)
    objects.download(URI, str(tmp_path / "target"))
    found = [os.path.relpath(parent, tmp_path / "target") for parent, _, _ in os.walk(tmp_path / "target")]
    assert sorted(found) == [".", "a", "a/b"]
    assert (tmp_path / "store" / "mlpipeline" / "v2" / "model" / "a" / "b" / "file").read_text() == "x"


def test_an_artifact_may_be_a_single_file(tmp_path):
    (tmp_path / "value").write_text("3")
    objects = object_store.ObjectStore(str(tmp_path / "store"))
    objects.upload(str(tmp_path / "value"), URI)
    objects.download(URI, str(tmp_path / "deep" / "value"))
    assert (tmp_path / "deep" / "value").read_text() == "3"


def test_changing_a_downloaded_copy_does_not_change_the_store(tmp_path):
    (tmp_path / "value").write_text("3")
    objects = object_store.ObjectStore(str(tmp_path / "store"))
    objects.upload(str(tmp_path / "value"), URI)
    objects.download(URI, str(tmp_path / "copy"))
    (tmp_path / "copy").write_text("4")
    with open(objects.path(URI), encoding="utf-8") as stream:
        assert stream.read() == "3"


def test_missing_files_are_neither_uploaded_nor_downloaded(tmp_path):
    objects = object_store.ObjectStore(str(tmp_path / "store"))
    objects.upload(str(tmp_path / "nothing"), URI)
    objects.download(URI, str(tmp_path / "target"))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(("uri", "path"), [("minio://b/k", "/minio/b/k"), ("s3://b/k/l", "/s3/b/k/l")])
def test_the_launcher_has_a_folder_for_each_scheme(uri, path):
    assert object_store.container_path(uri) == path


@pytest.mark.parametrize(
    "uri", ["/minio/b/k", "http://b/k", "gs://b/k", "minio:///etc/passwd", "s3://b/../../k", "minio://"]
)
def test_a_uri_outside_of_the_store_is_refused(uri):
    with pytest.raises(ValueError, match="should be"):
        object_store.container_path(uri)
