import os

import pytest

from core.files import atomic_write


def test_file_appears_when_the_block_ends(tmp_path):
    path = str(tmp_path / "summary.json")
    with atomic_write(path) as stream:
        stream.write("긍정\r\n")
        assert not os.path.exists(path)
    with open(path, "rb") as stream:
        assert stream.read() == "긍정\r\n".encode()


def test_failed_block_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "summary.json"
    path.write_text("old")
    with pytest.raises(ValueError), atomic_write(str(path), "wb") as stream:
        stream.write(b"new")
        raise ValueError
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["summary.json"]
