import os

import pytest

from core.files import atomic_write


def test_the_file_is_there_when_the_block_ends_and_not_before(tmp_path):
    path = str(tmp_path / "summary.json")
    with atomic_write(path) as stream:
        stream.write("긍정\r\n")
        assert not os.path.exists(path)
    with open(path, "rb") as stream:
        assert stream.read() == "긍정\r\n".encode()


def test_a_block_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "summary.json"
    path.write_text("old")
    with pytest.raises(ValueError), atomic_write(str(path), "wb") as stream:
        stream.write(b"new")
        raise ValueError
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["summary.json"]


def test_an_address_is_written_through_tensorflow():
    tf = pytest.importorskip("tensorflow")
    with atomic_write("ram://folder/file.json") as stream:
        stream.write("{}")
    with tf.io.gfile.GFile("ram://folder/file.json") as stream:
        assert stream.read() == "{}"
    assert tf.io.gfile.listdir("ram://folder") == ["file.json"]
