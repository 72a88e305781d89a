"""Remote files, which are written through TensorFlow."""

import pytest
import tensorflow as tf

from core.files import atomic_write


def test_address_is_written_through_tensorflow():
    with atomic_write("ram://folder/file.json") as stream:
        stream.write("{}")
    with pytest.raises(ValueError), atomic_write("ram://folder/file.json") as stream:
        stream.write("half")
        raise ValueError
    with tf.io.gfile.GFile("ram://folder/file.json") as stream:
        assert stream.read() == "{}"
    assert tf.io.gfile.listdir("ram://folder") == ["file.json"]
