"""Reads the files of weights that PyTorch users publish, without PyTorch and without executing anything in them.

- safetensors: the length of a JSON header, the header, the bytes. Read here because the library's NumPy reader does not
  know bfloat16.
- `pytorch_model.bin`, a pickle, which could call any function. The unpickler here builds tensors and dictionaries and
  refuses everything else. Its two forms are the zip archive of PyTorch 1.6 and later, and the stream before it.
"""

import collections
import dataclasses
import json
import os
import pickle
import struct
import zipfile
from typing import Any, BinaryIO, Callable, Iterator, Mapping, Optional

import numpy as np

from core.errors import UserError

# By the names in a safetensors header; bfloat16 is the upper half of a float32, and NumPy has no type for it.
_SAFETENSORS_TYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "bfloat16",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U8": "u1",
    "BOOL": "?",
}
# By the names of PyTorch's storage classes.
_STORAGE_TYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
# The library's own limit; a longer header is that of another kind of file.
_MAX_HEADER_BYTES = 100_000_000
# Identifies the stream that PyTorch wrote before 1.6.
_STREAM_MAGIC = 0x1950A86A20F9469CFC6C

Tensors = dict[str, np.ndarray]


def read_safetensors(path: str) -> Tensors:
    """Reads the tensors of a safetensors file, floating-point ones as float32.

    Raises:
      UserError: the file can't be read or is damaged.
    """
    try:
        with open(path, "rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > _MAX_HEADER_BYTES:
                raise ValueError(f"its header would have {length} bytes")
            header = json.loads(stream.read(length))
        data = np.memmap(path, np.uint8, "r", offset=8 + length)
        return {name: _slice(data, entry) for name, entry in header.items() if name != "__metadata__"}
    except (OSError, struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, "safetensors", error) from error


def _slice(data: np.ndarray, entry: Mapping[str, Any]) -> np.ndarray:
    start, end = entry["data_offsets"]
    if not 0 <= start <= end <= data.size:
        raise ValueError(f"it ends at byte {data.size} of its data, but should have {end}")
    return _decode(data[start:end].tobytes(), _SAFETENSORS_TYPES[entry["dtype"]]).reshape(entry["shape"])


def read_pytorch(path: str) -> Tensors:
    """Reads the tensors of a `pytorch_model.bin`, floating-point ones as float32.

    Raises:
      UserError: the file can't be read, is damaged, or holds anything but tensors.
    """
    try:
        with open(path, "rb") as stream:
            is_zip = zipfile.is_zipfile(stream)
            stream.seek(0)
            found = _read_zip(stream) if is_zip else _read_stream(stream)
        if not isinstance(found, dict):
            raise pickle.UnpicklingError(f"it holds a {type(found).__name__}")
        return {str(name): value.array() for name, value in found.items() if isinstance(value, _Tensor)}
    except _ForbiddenError as error:
        raise UserError(
            f"{path}: a pickle that wants to call {error}; should hold only tensors. Nothing was executed; save the "
            "weights as model.safetensors"
        ) from error
    except Exception as error:  # A damaged pickle can raise any error.
        raise _damaged(path, "PyTorch", error) from error


def _damaged(path: str, kind: str, error: BaseException) -> UserError:
    if isinstance(error, OSError) and error.strerror:
        return UserError(f"{path}: {error.strerror}")
    return UserError(f"{path}: not a complete {kind} file ({str(error) or type(error).__name__}); copy it again")


def _decode(data: bytes, dtype: str) -> np.ndarray:
    if dtype == "bfloat16":
        return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
    values = np.frombuffer(data, dtype)
    return values.astype(np.float32) if values.dtype.kind == "f" else values


class _ForbiddenError(Exception):
    """The pickle names a class or function that is not one of a tensor."""


@dataclasses.dataclass
class _Storage:
    """Numbers in a file; those of the stream are read after the pickle that names them."""

    dtype: str
    data: Optional[bytes] = None


@dataclasses.dataclass
class _Tensor:
    """A view of a storage."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self) -> np.ndarray:
        values = _decode(self.storage.data or b"", self.storage.dtype)
        last = self.offset + sum((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))
        if 0 in self.shape:
            return np.zeros(self.shape, values.dtype)
        if self.offset < 0 or min(self.strides, default=0) < 0 or last >= values.size:
            raise ValueError(f"a tensor of the shape {self.shape} has only {values.size} numbers")
        strides = tuple(stride * values.itemsize for stride in self.strides)
        return np.lib.stride_tricks.as_strided(values[self.offset :], self.shape, strides, writeable=False).copy()


def _rebuild_tensor(storage: _Storage, offset: int, shape: tuple[int, ...], strides: Any, *_: Any) -> _Tensor:
    return _Tensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))


def _rebuild_parameter(tensor: _Tensor, *_: Any) -> _Tensor:
    return tensor


# All that a state dictionary needs.
_ALLOWED: Mapping[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    **{("torch", name): dtype for name, dtype in _STORAGE_TYPES.items()},
}


class _Unpickler(pickle.Unpickler):
    """Builds tensors and dictionaries, and nothing else."""

    def __init__(self, stream: BinaryIO, load_storage: Callable[[Any], Any]):
        super().__init__(stream, encoding="utf-8")
        self._load_storage = load_storage

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise _ForbiddenError(f"{module}.{name}")
        return _ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> Any:
        return self._load_storage(pid)


def _read_zip(stream: BinaryIO) -> Any:
    with zipfile.ZipFile(stream) as archive:
        (pickled,) = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        folder = os.path.dirname(pickled)
        storages: dict[str, _Storage] = {}

        def load(pid: Any) -> _Storage:
            _, dtype, key, *_ = pid
            if key not in storages:
                storages[key] = _Storage(dtype, archive.read(f"{folder}/data/{key}"))
            return storages[key]

        with archive.open(pickled) as file:
            return _Unpickler(file, load).load()  # type: ignore[arg-type]


def _read_stream(stream: BinaryIO) -> Any:
    """Reads pickles of a magic number, a version, the machine, the tensors, and the storages' keys; then their data."""
    storages: dict[str, _Storage] = {}

    def load(pid: Any) -> _Storage:
        _, dtype, key, *_ = pid
        return storages.setdefault(key, _Storage(dtype))

    def unpickle() -> Any:
        return _Unpickler(stream, load).load()

    if unpickle() != _STREAM_MAGIC:
        raise pickle.UnpicklingError("it is a pickle of another program")
    unpickle(), unpickle()
    tensors = unpickle()
    for key, data in zip(keys := unpickle(), _storage_data(stream, storages, keys), strict=True):
        storages[key].data = data
    return tensors


def _storage_data(stream: BinaryIO, storages: Mapping[str, _Storage], keys: list[str]) -> Iterator[bytes]:
    for key in keys:
        (count,) = struct.unpack("<q", stream.read(8))
        width = 2 if storages[key].dtype == "bfloat16" else np.dtype(storages[key].dtype).itemsize
        data = stream.read(count * width)
        if len(data) < count * width:
            raise EOFError("it ends in the middle of a tensor")
        yield data
