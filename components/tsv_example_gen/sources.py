"""Resolves a configured location to files.

A location is a path or a glob, local or on any file system that `tf.io.gfile` supports (`gs://`), with `{SPAN}` for
digits; or an `https://` address, which is downloaded once into the user's cache folder. Files on `gs://` are read in
place, range by range, because the workers of a cluster share no cache folder.
"""

import contextlib
import dataclasses
import glob
import hashlib
import io
import json
import lzma
import os
import re
import stat
import zipfile
import zlib
from typing import Any, Iterable, Iterator, Optional, Sequence

from components.tsv_example_gen import streams
from core import download
from core.config import DataConfig
from core.errors import UserError

TRAIN = "train"
DEV = "dev"
TEST = "test"
SPAN = "{SPAN}"

# Appended to errors about an address.
_LOCAL_COPY = "; use the path of a local copy instead"


@dataclasses.dataclass(frozen=True)
class SourceFile:
    """One file of the input.

    Attributes:
      role: `train`, `dev` or `test`, the setting under `data` that names the file, or another setting.
      path: path of the file to open.
      name: name in messages: the path, or the address that the file was downloaded from.
    """

    role: str
    path: str
    name: str

    def error(self, text: str) -> UserError:
        """Returns an error about this file."""
        setting = self.role if "." in self.role else f"data.{self.role}"
        return UserError(f"{setting} = {self.name}: {text}")


@dataclasses.dataclass(frozen=True)
class Sources:
    """All files of the input.

    Attributes:
      train: files of the training data, sorted by path.
      test: files of the test data, sorted by path; empty if a test split is held out of the training files.
      span: the training data's span, None if its location has no `{SPAN}`.
      dev: files of the dev data, sorted by path; empty if a dev split is held out of the training files.
    """

    train: tuple[SourceFile, ...]
    test: tuple[SourceFile, ...]
    span: Optional[int]
    dev: tuple[SourceFile, ...] = ()

    @property
    def by_role(self) -> dict[str, tuple[SourceFile, ...]]:
        """Role -> its files."""
        return {TRAIN: self.train, DEV: self.dev, TEST: self.test}


def resolve(data: DataConfig) -> Sources:
    """Finds the files of all locations; downloads those with an `https://` address.

    Raises:
      UserError: a location matches no file, is a folder, can't be downloaded, or has another SHA-256.
    """
    train, span = resolve_location(TRAIN, data.train, data.train_sha256, data.span)
    test = resolve_location(TEST, data.test, data.test_sha256, data.span)[0] if data.test else ()
    dev = resolve_location(DEV, data.dev, data.dev_sha256, data.span)[0] if data.dev else ()
    return Sources(train, test, span, dev)


def fingerprint(digests: Iterable[tuple[str, str]]) -> str:
    """Returns the SHA-256 of (role, SHA-256 of the uncompressed content) of all files, in any order."""
    return hashlib.sha256(json.dumps(sorted(digests)).encode()).hexdigest()


def fetch(file: SourceFile, sha256: Optional[str]) -> str:
    """Downloads a file into the user's cache folder, unless it is there already.

    Args:
      file: the file, whose `name` is the address.
      sha256: expected SHA-256 of the content in hexadecimal; None accepts any.

    Returns:
      The path of the cached copy, which is complete.

    Raises:
      UserError: the download fails, has another SHA-256, or can't be written.
    """
    folder = download.cache_folder("data")
    try:
        return download.fetch(file.name, folder, sha256)
    except download.DownloadError as error:
        raise file.error(f"download failed ({error}){_LOCAL_COPY}") from error
    except download.ChecksumError as error:
        raise file.error(f"its SHA-256 is not data.{file.role}_sha256 = {sha256}") from error
    except OSError as error:
        raise file.error(f"can't be written to {folder}: {_first_line(error)}") from error


@contextlib.contextmanager
def reading(file: SourceFile) -> Iterator[None]:
    """Converts errors in reading a file to a `UserError` that names the file."""
    try:
        yield
    except EOFError as error:
        raise file.error("is truncated: the compressed data ends too early; get a complete copy") from error
    except (OSError, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as error:
        hint = _LOCAL_COPY if "://" in file.path else ""
        raise file.error(f"can't be read: {_first_line(error)}{hint}") from error


def resolve_location(
    role: str, location: str, sha256: Optional[str], span: Optional[int]
) -> tuple[tuple[SourceFile, ...], Optional[int]]:
    """Returns the location's files and their span: `span`, or the largest one if it is None.

    Raises:
      UserError: as for `resolve`.
    """
    whole = SourceFile(role, location, location)
    if location.startswith("https://"):
        return (dataclasses.replace(whole, path=fetch(whole, sha256)),), None
    with reading(whole), _files_of(location) as system:
        paths, chosen = _expand(system, location, span)
        files = tuple(SourceFile(role, path, path) for path in sorted(paths) if not system.isdir(path))
    if not files:
        raise whole.error(_describe_missing(location, span))
    for file in files:
        _require_usable(whole, file)
    if sha256:
        _check_sha256(whole, files, sha256)
    return files, chosen


class _LocalFiles:
    """The functions of `tf.io.gfile` that this module needs, for this machine and without TensorFlow."""

    exists = staticmethod(os.path.exists)
    isdir = staticmethod(os.path.isdir)
    glob = staticmethod(glob.glob)


@contextlib.contextmanager
def _files_of(location: str) -> Iterator[Any]:
    """Yields the file system of a location."""
    if "://" not in location:
        yield _LocalFiles
        return
    with streams.remote_errors():
        yield streams.gfile()


def _expand(system: Any, location: str, span: Optional[int]) -> tuple[list[str], Optional[int]]:
    """Returns the paths that a location matches, and their span."""
    if system.exists(location):
        return [location], None
    if SPAN not in location:
        return system.glob(location), None
    pattern = _span_pattern(location)
    matches = [pattern.fullmatch(path) for path in system.glob(location.replace(SPAN, "*"))]
    spans = {match.string: int(match["span"]) for match in matches if match}
    chosen = max(spans.values(), default=None) if span is None else span
    return [path for path in spans if spans[path] == chosen], chosen


def _span_pattern(location: str) -> re.Pattern[str]:
    """Translates a glob with `{SPAN}` into a regular expression with the group `span`."""
    # A star is non-greedy, so that all digits of the span go to its group.
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


def _describe_missing(location: str, span: Optional[int]) -> str:
    if os.path.isdir(location):
        return f"is a folder; set a file, or a glob such as {os.path.join(location, '*.tsv')}"
    if SPAN in location or re.search(r"[*?\[]", location):
        return "no file matches" if span is None else f"no file matches span {span}"
    return "No such file or directory"


def _require_usable(whole: SourceFile, file: SourceFile) -> None:
    """Rejects names that are not UTF-8, and pipes and devices: opening a pipe without a writer would block forever."""
    try:
        file.path.encode()
    except UnicodeEncodeError as error:
        raise whole.error(f"a file's name is not UTF-8 ({os.fsencode(file.path)!r}); rename it") from error
    with reading(file):
        if "://" in file.path or stat.S_ISREG(os.stat(file.path).st_mode):
            return
    raise file.error("is a pipe, a socket or a device; it must be a regular file, because it is read several times")


def _check_sha256(whole: SourceFile, files: Sequence[SourceFile], sha256: str) -> None:
    if len(files) > 1:
        raise whole.error(f"data.{whole.role}_sha256 requires exactly one file, but {len(files)} match")
    with reading(whole), streams.open_raw(files[0].path) as stream:
        actual = _sha256(stream)
    if actual != sha256:
        raise whole.error(f"its SHA-256 is {actual}, not data.{whole.role}_sha256 = {sha256}")


def _sha256(stream: io.BufferedIOBase) -> str:
    digest = hashlib.sha256()
    while block := stream.read(streams.BLOCK_BYTES):
        digest.update(block)
    return digest.hexdigest()


def _first_line(error: BaseException) -> str:
    message = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return message.splitlines()[0]
