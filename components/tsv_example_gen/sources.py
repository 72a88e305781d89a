"""Where the data is: configured locations to files, opened as streams of bytes.

A location is a path or a glob, here or on any file system that `tf.io.gfile` knows (`gs://`), with `{SPAN}`
for digits; or an `https://` address. An address is fetched once into the user's cache folder. Files on
`gs://` are read where they are, range by range: the workers of a cluster share no cache folder.
"""

import contextlib
import dataclasses
import gzip
import hashlib
import io
import json
import os
import re
import stat
import zlib
from typing import BinaryIO, Iterator, Optional, Sequence

import tensorflow as tf

from core import download, progress
from core.config import DataConfig
from core.errors import UserError

TRAIN = "train"
TEST = "test"
SPAN = "{SPAN}"

# Reads of 1 MiB keep system calls few and memory small.
_BLOCK_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class SourceFile:
    """One file of the input.

    Attributes:
      role: `train` or `test`, after the `data` field that names it.
      path: what is opened.
      name: what a person knows it by: the path, or the address that it was fetched from.
    """

    role: str
    path: str
    name: str

    def fault(self, text: str) -> UserError:
        """Returns the error that says what is wrong with this file."""
        return UserError(f"data.{self.role} = {self.name}: {text}")


@dataclasses.dataclass(frozen=True)
class Sources:
    """All files of the input.

    Attributes:
      train: files of the training data, sorted by path.
      test: files of the test data, sorted by path; none where a test split is held out.
      span: the training data's span, None where its location has no `{SPAN}`.
    """

    train: tuple[SourceFile, ...]
    test: tuple[SourceFile, ...]
    span: Optional[int]

    @property
    def files(self) -> tuple[SourceFile, ...]:
        """Training files, then test files."""
        return self.train + self.test


def resolve(data: DataConfig) -> Sources:
    """Finds the files that the locations stand for; fetches those that are addresses.

    Raises:
      UserError: a location names no file, a folder, or one that can't be fetched or has another SHA-256.
    """
    train, span = _resolve_location(TRAIN, data.train, data.train_sha256, data.span)
    test = _resolve_location(TEST, data.test, data.test_sha256, data.span)[0] if data.test else ()
    return Sources(train, test, span)


def fingerprint(files: Sequence[SourceFile]) -> str:
    """Returns a SHA-256 over the content of all files, uncompressed, whatever their names and times.

    Raises:
      UserError: a file can't be read to its end.
    """
    digests = []
    for index, file in enumerate(files):
        progress.report("fingerprint", index, len(files), file=file.name)
        with reading(file), open_stream(file.path) as stream:
            digests.append((file.role, _sha256(stream)))
    return hashlib.sha256(json.dumps(sorted(digests)).encode()).hexdigest()


def fetch(file: SourceFile, sha256: Optional[str]) -> str:
    """Fetches the address that a file's name is into the user's cache folder, unless it is there.

    Args:
      file: its `name` is the address.
      sha256: what the content should have, in hexadecimal; None: anything.

    Returns:
      The path of the cached copy, which is there whole or not at all.

    Raises:
      UserError: it can't be fetched, is another file, or can't be kept.
    """
    folder = download.cache_folder("data")
    try:
        return download.fetch(file.name, folder, sha256)
    except download.DownloadError as error:
        raise file.fault(
            f"could not be fetched ({error}); give the path of a local copy as data.{file.role}"
        ) from error
    except download.ChecksumError as error:
        raise file.fault(f"is not the file that data.{file.role}_sha256 = {sha256} stands for") from error
    except OSError as error:
        raise file.fault(f"could not be kept in {folder}: {_first_line(error)}") from error


@contextlib.contextmanager
def reading(file: SourceFile) -> Iterator[None]:
    """Turns what can go wrong with reading a file into a `UserError` that names it."""
    try:
        yield
    except EOFError as error:
        raise file.fault("is truncated: the compressed data ends too early; fetch it again") from error
    except UnicodeDecodeError as error:  # By TensorFlow, of a file's name.
        raise file.fault(f"a file's name is not UTF-8 ({error.object!r}); rename it") from error
    except (OSError, tf.errors.OpError, zlib.error) as error:
        cure = f"; give the path of a local copy as data.{file.role}" if "://" in file.path else ""
        raise file.fault(f"cannot be read: {_first_line(error)}{cure}") from error


@contextlib.contextmanager
def open_stream(path: str) -> Iterator[BinaryIO]:
    """Opens a file for reading; one whose name ends in `.gz` is uncompressed on the way.

    Args:
      path: of this machine or of a file system that `tf.io.gfile` knows.

    Yields:
      A buffered, seekable stream of bytes.
    """
    with _open_raw(path) as raw:
        if not is_compressed(path):
            yield raw
            return
        with gzip.GzipFile(fileobj=raw) as stream:
            yield stream


def is_compressed(path: str) -> bool:
    """Whether `open_stream` uncompresses the file."""
    return path.endswith(".gz")


def size_bytes(path: str) -> int:
    """Returns the size of a file as it is stored."""
    return tf.io.gfile.stat(path).length


class _GFileReader(io.RawIOBase):
    """A file of `tf.io.gfile` as a raw stream, so that `io.BufferedReader` gives it bounded `readline`."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._file = tf.io.gfile.GFile(path, "rb")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:
        block = self._file.read(len(buffer))
        buffer[: len(block)] = block
        return len(block)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._file.seek(offset, whence)
        return self.tell()

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self._file.close()
        super().close()


def _open_raw(path: str) -> BinaryIO:
    if "://" in path:
        return io.BufferedReader(_GFileReader(path), _BLOCK_BYTES)
    return open(path, "rb", buffering=_BLOCK_BYTES)


def _resolve_location(
    role: str, location: str, sha256: Optional[str], wanted_span: Optional[int]
) -> tuple[tuple[SourceFile, ...], Optional[int]]:
    """Returns the location's files and its span."""
    whole = SourceFile(role, location, location)
    if location.startswith("https://"):
        return (dataclasses.replace(whole, path=fetch(whole, sha256)),), None
    with reading(whole):
        paths, span = _expand(location, wanted_span)
        found = tuple(SourceFile(role, path, path) for path in sorted(paths) if not tf.io.gfile.isdir(path))
    if not found:
        raise whole.fault(_why_no_file(location, wanted_span))
    for file in found:
        _require_regular(file)
    if sha256:
        _check_sha256(whole, found, sha256)
    return found, span


def _expand(location: str, wanted_span: Optional[int]) -> tuple[list[str], Optional[int]]:
    """Returns the paths that a location stands for, and its span: the largest where none is wanted."""
    if tf.io.gfile.exists(location):
        return [location], None
    if SPAN not in location:
        return tf.io.gfile.glob(location), None
    pattern = _span_pattern(location)
    matches = [pattern.fullmatch(path) for path in tf.io.gfile.glob(location.replace(SPAN, "*"))]
    spans = {match.string: int(match["span"]) for match in matches if match}
    chosen = max(spans.values(), default=None) if wanted_span is None else wanted_span
    return [path for path, span in spans.items() if span == chosen], chosen


def _span_pattern(location: str) -> re.Pattern[str]:
    """Translates a glob with `{SPAN}` into a regular expression with the group `span`."""
    # A star takes as little as it can, so that the span's first digits are the span's.
    wildcards = {"*": "[^/]*?", "?": "[^/]"}
    translated = ""
    for piece in re.split(r"(\{SPAN\}|[*?]|\[[^\]]+\])", location):
        if piece == SPAN:
            translated += "(?P=span)" if "(?P<span>" in translated else r"(?P<span>\d+)"
        elif piece.startswith("["):
            translated += piece.replace("[!", "[^", 1)
        else:
            translated += wildcards.get(piece, re.escape(piece))
    return re.compile(translated)


def _why_no_file(location: str, wanted_span: Optional[int]) -> str:
    if tf.io.gfile.isdir(location):
        return f"is a folder; name a file, or a glob such as {os.path.join(location, '*.tsv')}"
    if SPAN in location or re.search(r"[*?\[]", location):
        return "no file matches" if wanted_span is None else f"no file matches with span {wanted_span}"
    return "no such file"


def _require_regular(file: SourceFile) -> None:
    """Refuses what a file of this machine may be else; opening a pipe that nobody writes to would wait for ever."""
    with reading(file):
        if "://" in file.path or stat.S_ISREG(os.stat(file.path).st_mode):
            return
    raise file.fault("is a pipe, a socket or a device; should be a file, for it is read several times")


def _check_sha256(whole: SourceFile, found: Sequence[SourceFile], sha256: str) -> None:
    if len(found) > 1:
        raise whole.fault(f"data.{whole.role}_sha256 is of one file, and {len(found)} match")
    with reading(whole), _open_raw(found[0].path) as stream:
        actual = _sha256(stream)
    if actual != sha256:
        raise whole.fault(f"its SHA-256 is {actual}, not data.{whole.role}_sha256 = {sha256}")


def _sha256(stream: BinaryIO) -> str:
    digest = hashlib.sha256()
    while block := stream.read(_BLOCK_BYTES):
        digest.update(block)
    return digest.hexdigest()


def _first_line(error: BaseException) -> str:
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return words.splitlines()[0]
