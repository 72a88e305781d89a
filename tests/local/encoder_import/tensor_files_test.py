"""Files of weights: formats, lower precisions, damage, and pickles that are no tensors."""

import io
import json
import os
import struct
import zipfile

import numpy as np
import pytest

from core.errors import UserError
from local.encoder_import import tensor_files
from tests.local import encoder_folders

A = np.array([[1.0, -2.5, 0.25], [3.0, 0.0, -1.0]], np.float32)


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_safetensors_are_read_as_float32(tmp_path, dtype):
    path = str(tmp_path / "model.safetensors")
    encoder_folders.write_safetensors(path, {"a": A, "b": A[0]}, dtype)
    tensors = tensor_files.read_safetensors(path)
    np.testing.assert_array_equal(tensors["a"], A)
    np.testing.assert_array_equal(tensors["b"], A[0])
    assert tensors["a"].dtype == np.float32


def damaged_safetensors(kind):
    header = json.dumps({"a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}).encode()
    return {
        "empty": b"",
        "no header": struct.pack("<Q", 40) + b"{}",
        "another format": b"PK\x03\x04" + bytes(20),
        "cut": struct.pack("<Q", len(header)) + header + bytes(20),
        "other shape": struct.pack("<Q", len(header)) + header.replace(b"[2, 3]", b"[2, 4]") + bytes(24),
        "other type": struct.pack("<Q", len(header)) + header.replace(b"F32", b"F99") + bytes(24),
        "not an object": struct.pack("<Q", 2) + b"[]" + bytes(8),
    }[kind]


KINDS = ["empty", "no header", "another format", "cut", "other shape", "other type", "not an object"]


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_safetensors_are_refused_by_name(tmp_path, kind):
    path = tmp_path / "model.safetensors"
    path.write_bytes(damaged_safetensors(kind))
    with pytest.raises(UserError, match=r"model\.safetensors: not a complete safetensors file"):
        tensor_files.read_safetensors(str(path))


# Pickle opcodes, as PyTorch writes them: https://docs.python.org/3/library/pickletools.html
def text(value):
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def numbers(*values):
    return b"(" + b"".join(b"J" + struct.pack("<i", value) for value in values) + b"t"


def tensor(key, kind, count, shape, strides, offset=0):
    storage = b"(" + text("storage") + b"ctorch\n" + kind + b"\n" + text(key) + text("cpu") + b"J"
    storage += struct.pack("<i", count) + b"tQ"
    hooks = b"\x89ccollections\nOrderedDict\n)R"
    view = b"J" + struct.pack("<i", offset) + numbers(*shape) + numbers(*strides)
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + view + hooks + b"tR"


def state(**entries):
    items = b"".join(text(name) + value for name, value in entries.items())
    return b"\x80\x02ccollections\nOrderedDict\n)R(" + items + b"u."


# A transposed view and a part of one storage, and another precision.
STATE = state(
    a=tensor("0", b"FloatStorage", 6, (3, 2), (1, 3)),
    row=tensor("0", b"FloatStorage", 6, (3,), (1,), offset=3),
    half=tensor("1", b"BFloat16Storage", 6, (2, 3), (3, 1)),
)
DATA = {"0": A.tobytes(), "1": encoder_folders.encode(A, "BF16")}


def zipped(pickled, data):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        for key, values in data.items():
            archive.writestr(f"archive/data/{key}", values)
    return content.getvalue()


def streamed(pickled, data):
    """The form before PyTorch 1.6."""
    head = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19." + b"\x80\x02M\xe9\x03." + b"\x80\x02}."
    keys = b"\x80\x02](" + b"".join(map(text, data)) + b"e."
    widths = {"0": 4, "1": 2}
    return head + pickled + keys + b"".join(struct.pack("<q", len(v) // widths[k]) + v for k, v in data.items())


@pytest.mark.parametrize("form", [zipped, streamed])
def test_pytorch_files_are_read_without_pytorch(tmp_path, form):
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(form(STATE, DATA))
    tensors = tensor_files.read_pytorch(str(path))
    np.testing.assert_array_equal(tensors["a"], A.T)
    np.testing.assert_array_equal(tensors["row"], A[1])
    np.testing.assert_array_equal(tensors["half"], A)


@pytest.mark.parametrize("form", [zipped, streamed])
@pytest.mark.parametrize("call", ["posix system", "builtins eval", "torch._utils exit", "os system"])
def test_a_pickle_that_calls_anything_else_is_refused_and_not_executed(tmp_path, form, call):
    module, name = call.split()
    proof = tmp_path / "executed"
    evil = f"c{module}\n{name}\n(".encode() + text(f"touch {proof}") + b"tR"
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(form(state(a=evil), {}))
    with pytest.raises(UserError, match=rf"pytorch_model\.bin: a pickle that wants to call {module}\.{name}"):
        tensor_files.read_pytorch(str(path))
    assert not os.path.exists(proof)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a pickle",
        zipped(STATE, {"0": DATA["0"]}),
        zipped(STATE, {"0": b"", "1": b""}),
        zipped(STATE[:-9], DATA),
        zipped(b"\x80\x02K\x01.", {}),
        zipped(state(a=tensor("0", b"FloatStorage", 6, (3, 2), (-1, 3))), DATA),
        zipped(state(a=tensor("0", b"FloatStorage", 6, (1 << 30, 1 << 30), (0, 0))), DATA),
        streamed(STATE, DATA)[:-4],
        streamed(STATE, {}),
    ],
    ids=["empty", "text", "no data", "short data", "cut", "number", "backwards", "huge", "cut stream", "no keys"],
)
def test_damaged_pytorch_files_are_refused_by_name(tmp_path, content):
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"pytorch_model\.bin: not a complete PyTorch file"):
        tensor_files.read_pytorch(str(path))
