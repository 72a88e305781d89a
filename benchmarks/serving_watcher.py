"""Reads a serving folder in a tight loop while models are published, retired and rolled back in it.

    python -m benchmarks.serving_watcher [--publications 50] [--keep 3] [--kills 30] [--seed 0]

Two processes open every version over and over, the newest first: one holds all its files against the digest in its
record, the other loads it in TensorFlow. A read is bad if that fails, unless the version is out of sight by then and
a newer one there, as a model server would have it; so is a newest version that is older than the one before. Every
fifth publication is rolled back at once. With `--kills` that many publications more are killed at a random moment
and then repeated.
"""

import argparse
import dataclasses
import multiprocessing
import os
import random
import shutil
import tempfile
import time
from multiprocessing.synchronize import Event
from typing import Callable, Optional, Sequence

import rich.console
import rich.table
import tensorflow as tf
from tfx.proto import pusher_pb2
from tfx.types import standard_artifacts
from tfx.utils import json_utils, path_utils, proto_utils

from artifacts import model_files
from components.pusher import record, rollback
from components.pusher.executor import Executor

_ROLLBACK_EVERY = 5

# Processes are forked from one that has imported everything, so that a publication starts at once.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["benchmarks.serving_watcher"])


@dataclasses.dataclass
class Counts:
    """What one watcher saw.

    Attributes:
      reads: versions that were opened.
      newest: those that were the newest.
      versions: different ones among the latter.
      overtaken: reads that failed because the version was retired meanwhile; a newer one was there.
      bad: what was wrong with each bad read.
    """

    reads: int = 0
    newest: int = 0
    versions: int = 0
    overtaken: int = 0
    bad: list[str] = dataclasses.field(default_factory=list)


def check_digest(path: str) -> None:
    """Holds a version's files against its record."""
    pushed = record.read(path)
    if pushed is None or model_files.model_sha256(path) != pushed.model_sha256:
        raise ValueError("its files are not those of its record")


def load(path: str) -> None:
    """Loads a version as a model server does."""
    tf.saved_model.load(path).signatures["serving_default"]


def watch(serving_dir: str, open_version: Callable[[str], None], stop: Event) -> Counts:
    """Opens every version again and again until told to stop."""
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
    except Exception as error:  # Whatever half a model makes TensorFlow say.
        newest = model_files.served_versions(os.path.dirname(path))[-1:]
        if os.path.exists(path) or not newest or int(os.path.basename(newest[0])) < int(os.path.basename(path)):
            counts.bad.append(f"{path}: {str(error).splitlines()[0]}")
        else:
            counts.overtaken += 1


class Watchers:
    """Watching processes, from the start of the context to its end; `counts` has them by name then."""

    def __init__(self, serving_dir: str, openers: Sequence[Callable[[str], None]] = (check_digest, load)):
        self.counts: dict[str, Counts] = {}
        self._queue, self._stop = CONTEXT.Queue(), CONTEXT.Event()
        self._processes = [
            CONTEXT.Process(target=_watch_and_tell, args=(serving_dir, opener, self._stop, self._queue))
            for opener in openers
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


def _watch_and_tell(serving_dir: str, opener: Callable[[str], None], stop: Event, queue: multiprocessing.Queue) -> None:
    queue.put("ready")
    queue.put((opener.__name__, watch(serving_dir, opener, stop)))


def save_models(folder: str, count: int) -> list[str]:
    """Saves that many different models that TensorFlow can load; returns the folders of their artifacts."""
    module = tf.Module()
    module.weights = tf.Variable(tf.zeros([64]))
    module.serve = tf.function(lambda text: {"size": tf.strings.length(text), "weights": module.weights})
    first = os.path.join(folder, "saved")
    serve = module.serve.get_concrete_function(tf.TensorSpec([None], tf.string))
    tf.saved_model.save(module, first, signatures={"serving_default": serve})
    uris = [os.path.join(folder, f"model-{number}") for number in range(count)]
    for uri in uris:
        serving_model = shutil.copytree(first, path_utils.serving_model_dir(uri))
        os.makedirs(os.path.join(serving_model, "assets.extra"))
        with open(os.path.join(serving_model, "assets.extra", "name"), "w", encoding="utf-8") as stream:
            stream.write(uri)
    return uris


def publish(model_uri: str, serving_dir: str, keep: int) -> None:
    """Pushes a model by the component's executor."""
    model, blessing = standard_artifacts.Model(), standard_artifacts.InfraBlessing()
    pushed = standard_artifacts.PushedModel()
    model.uri = model_uri
    blessing.set_int_custom_property("blessed", 1)
    destination = pusher_pb2.PushDestination(filesystem={"base_directory": serving_dir})
    properties = {
        "push_destination": proto_utils.proto_to_json(destination),
        "custom_config": json_utils.dumps({"keep": keep}),
    }
    with tempfile.TemporaryDirectory() as pushed.uri:
        Executor().Do({"model": [model], "infra_blessing": [blessing]}, {"pushed_model": [pushed]}, properties)


class Killer:
    """Publishes in processes that it kills at random moments.

    Attributes:
      kills: publications that were killed before their end.
      torn: those that left a hidden folder behind.
      published: those whose version was there already.
    """

    def __init__(self, seed: int):
        self.kills = self.torn = self.published = 0
        self._random = random.Random(seed)
        self._longest_s = 0.0

    def publish(self, model_uri: str, serving_dir: str, keep: int) -> None:
        """Publishes and lets it end; the time that it takes bounds the moments of the kills after it."""
        started = time.monotonic()
        process = CONTEXT.Process(target=publish, args=(model_uri, serving_dir, keep))
        process.start()
        process.join()
        if process.exitcode:
            raise SystemExit(f"a publication that was left alone ended with {process.exitcode}")
        self._longest_s = time.monotonic() - started

    def kill(self, model_uri: str, serving_dir: str, keep: int) -> None:
        """Starts a publication and kills it."""
        before = model_files.served_versions(serving_dir)[-1:]
        process = CONTEXT.Process(target=publish, args=(model_uri, serving_dir, keep))
        process.start()
        time.sleep(self._random.uniform(0.0, self._longest_s))
        process.kill()
        process.join()
        self.kills += process.exitcode != 0
        self.torn += any(name.startswith(".push-") for name in os.listdir(serving_dir))
        self.published += model_files.served_versions(serving_dir)[-1:] != before


def main(arguments: Optional[Sequence[str]] = None) -> None:
    """Runs the publications under watch and prints the counts."""
    options = _parser().parse_args(arguments)
    console = rich.console.Console()
    with tempfile.TemporaryDirectory() as folder:
        serving_dir = os.path.join(folder, "serving")
        models = save_models(folder, options.publications + options.kills + 1)
        with Watchers(serving_dir) as watchers:
            rollbacks = _publish_all(models[: options.publications], serving_dir, options.keep)
            killed = _kill_all(models[options.publications :], serving_dir, options) if options.kills else None
    console.print(f"{options.publications} publications, {rollbacks} rollbacks, {options.keep} versions kept")
    if killed is not None:
        console.print(
            f"{options.kills} publications killed at a random moment and repeated: {killed.kills} before their end; "
            f"{killed.torn} left a hidden folder, {killed.published} had put their version in serving",
            soft_wrap=True,
        )
    table = rich.table.Table("watcher", "reads", "of the newest", "versions seen", "overtaken", "bad")
    for name, counts in watchers.counts.items():
        figures = (counts.reads, counts.newest, counts.versions, counts.overtaken, len(counts.bad))
        table.add_row(name, *(f"{figure:,}" for figure in figures))
    console.print(table)
    for counts in watchers.counts.values():
        for fault in counts.bad:
            console.print(fault, markup=False)
    if any(counts.bad for counts in watchers.counts.values()):
        raise SystemExit(1)


def _publish_all(models: Sequence[str], serving_dir: str, keep: int) -> int:
    """Publishes each model; returns how many of them were rolled back."""
    rollbacks = 0
    for number, model in enumerate(models, start=1):
        publish(model, serving_dir, keep)
        if number % _ROLLBACK_EVERY == 0:
            rollback.roll_back(serving_dir)
            rollbacks += 1
    return rollbacks


def _kill_all(models: Sequence[str], serving_dir: str, options: argparse.Namespace) -> Killer:
    """Kills and repeats the publication of every model but the first, which says how long one takes."""
    killer = Killer(options.seed)
    killer.publish(models[0], serving_dir, options.keep)
    for model in models[1:]:
        killer.kill(model, serving_dir, options.keep)
        killer.publish(model, serving_dir, options.keep)
    return killer


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--publications", type=int, default=50)
    parser.add_argument("--keep", type=int, default=3, help="versions that stay")
    parser.add_argument("--kills", type=int, default=0, help="publications that are killed, after the others")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    return parser


if __name__ == "__main__":
    main()
