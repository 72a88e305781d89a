"""Processes that publish models, some of which are killed, and processes that read the serving folder meanwhile."""

import dataclasses
import multiprocessing
import os
import pathlib
import random
import shutil
import signal
import time
from multiprocessing.synchronize import Event
from typing import Callable, Sequence

import tensorflow as tf
from tfx.types import standard_artifacts
from tfx.utils import io_utils, path_utils

from artifacts import model_files
from components.pusher import origin, publication, record
from tests import pushes, saved_models

# Processes are forked from one that has imported everything, so that publications start at once.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.slow.serving_watcher"])

# Moment -> the call in which the process dies.
MOMENTS = {
    "nothing is copied yet": (io_utils, "copy_dir"),
    "only the SavedModel is copied": (origin, "copy_profile"),
    "all is copied": (publication, "_flush"),
    "the state is not written yet": (os, "replace"),
    "the state is written": (os, "rename"),
    "the version is in serving": (publication, "retire"),
    "an old version is hidden": (shutil, "rmtree"),
}
# Many files, so that a reader finds some of them during a copy or a removal.
_EXTRA_FILES = 100


@dataclasses.dataclass
class Counts:
    """The counts of one watcher.

    Attributes:
      reads: number of versions that it opened.
      newest: number of rounds with a version in the folder.
      versions: number of different newest versions.
      overtaken: reads that failed because the version had been retired in favour of a newer one.
      bad: the error of every other failed read, and every newest version older than the one before.
    """

    reads: int = 0
    newest: int = 0
    versions: int = 0
    overtaken: int = 0
    bad: list[str] = dataclasses.field(default_factory=list)


def check_digest(path: str) -> None:
    """Compares a version's files with the digest in its record."""
    pushed = record.read(path)
    if pushed is None or model_files.model_sha256(path) != pushed.model_sha256:
        raise ValueError("files differ from the digest in the record")


def load(path: str) -> None:
    """Loads a version as a model server does."""
    tf.saved_model.load(path).signatures["serving_default"]


def watch(serving_dir: str, open_version: Callable[[str], None], stop: Event) -> Counts:
    """Opens every version, the newest first, over and over until `stop` is set."""
    counts, newest = Counts(), -1
    while not stop.is_set():
        paths = model_files.served_versions(serving_dir)
        number = int(os.path.basename(paths[-1])) if paths else -1
        if number < newest:
            counts.bad.append(f"version {newest} was the newest, now it is {number}")
        counts.versions += number > newest
        newest = max(newest, number)
        counts.newest += bool(paths)
        for path in reversed(paths):
            _read(path, open_version, counts)
    return counts


def _read(path: str, open_version: Callable[[str], None], counts: Counts) -> None:
    counts.reads += 1
    try:
        open_version(path)
    except Exception as error:  # For an incomplete model TensorFlow may raise any exception.
        newest = model_files.served_versions(os.path.dirname(path))[-1:]
        if os.path.exists(path) or not newest or int(os.path.basename(newest[0])) < int(os.path.basename(path)):
            counts.bad.append(f"{path}: {str(error).splitlines()[0]}")
        else:
            counts.overtaken += 1


class Watchers:
    """Watches in processes while the context is open; afterwards `counts` maps each opener's name to its counts."""

    def __init__(self, serving_dir: str, openers: Sequence[Callable[[str], None]] = (check_digest, load)):
        self.counts: dict[str, Counts] = {}
        self._queue, self._stop = CONTEXT.Queue(), CONTEXT.Event()
        self._processes = [
            CONTEXT.Process(target=_report, args=(serving_dir, opener, self._stop, self._queue)) for opener in openers
        ]

    def __enter__(self) -> "Watchers":
        for process in self._processes:
            process.start()
        for _ in self._processes:
            self._queue.get()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self.counts = dict(self._queue.get() for _ in self._processes)
        for process in self._processes:
            process.join()


def _report(serving_dir: str, opener: Callable[[str], None], stop: Event, queue: multiprocessing.Queue) -> None:
    queue.put("ready")
    queue.put((opener.__name__, watch(serving_dir, opener, stop)))


def save_models(folder: pathlib.Path, count: int) -> list[str]:
    """Saves different models that TensorFlow can load; returns the URIs of their artifacts."""
    first = saved_models.save(str(folder / "saved"))
    uris = [str(folder / str(number)) for number in range(count)]
    for uri in uris:
        extra = pathlib.Path(shutil.copytree(first, path_utils.serving_model_dir(uri)), "assets.extra")
        extra.mkdir()
        for number in range(_EXTRA_FILES):
            (extra / str(number)).write_text(uri)
    return uris


def publish(model_uri: str, serving_dir: str, keep: int) -> None:
    """Pushes a model with the component's executor."""
    model = standard_artifacts.Model()
    model.uri = model_uri
    pushes.push(model, serving_dir, keep=keep)


def publish_and_die(moment: str, model_uri: str, serving_dir: str, keep: int) -> None:
    """Pushes a model and kills its own process at one of `MOMENTS`."""
    owner, name = MOMENTS[moment]
    setattr(owner, name, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
    publish(model_uri, serving_dir, keep)


class Killer:
    """Publishes in processes and kills them at random moments.

    Attributes:
      kills: number of publications killed before they finished.
      torn: number of publications that left a hidden folder behind.
    """

    def __init__(self, seed: int):
        self.kills = self.torn = 0
        self._random = random.Random(seed)
        self._longest_s = 0.0

    def publish(self, model_uri: str, serving_dir: str, keep: int) -> None:
        """Publishes without a kill; its duration becomes the maximum delay of the following kills."""
        started = time.monotonic()
        process = CONTEXT.Process(target=publish, args=(model_uri, serving_dir, keep))
        process.start()
        process.join()
        assert process.exitcode == 0
        self._longest_s = time.monotonic() - started

    def kill(self, model_uri: str, serving_dir: str, keep: int) -> None:
        """Starts a publication and kills it."""
        process = CONTEXT.Process(target=publish, args=(model_uri, serving_dir, keep))
        process.start()
        time.sleep(self._random.uniform(0.0, self._longest_s))
        process.kill()
        process.join()
        self.kills += process.exitcode != 0
        self.torn += any(name.startswith(".push-") for name in os.listdir(serving_dir))
