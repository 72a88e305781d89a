"""Faults of every other kind: each leaves a job as it found it, having shown what the user saw and what mended it.

A job that a fault is injected into has run once and pushed a model. `RESTING` faults spoil something between two runs;
`RUNNING` ones need a run at work.
"""

import contextlib
import glob
import os
import shutil
import signal
import subprocess
import time
from typing import Callable, Iterator, Optional

from benchmarks.faults.runs import Ended, Place
from benchmarks.faults.table import Row

# What a run may end with, and words that have to be in what it tells.
Expected = tuple[int, str]
Spoil = Callable[[Place], Optional[Callable[[], None]]]

_ANOTHER = "trainer.seed=1"


def resting(place: Place, fault: str, spoil: Spoil, expected: Expected, *settings: str) -> Row:
    """Spoils something, runs, mends it, runs again.

    Args:
      place: a job that ran once.
      fault: what is done, in words.
      spoil: does it; returns what a user would do to mend it, None where nothing is to be done.
      expected: exit status and words of the run after it.
      settings: of both runs.
    """
    mend = spoil(place)
    seen = place.run(*settings)
    if mend:
        mend()
    again = place.run(*settings)
    return judge(fault, seen, expected, again)


def judge(fault: str, seen: Ended, expected: Expected, again: Ended, moment: str = "between two runs") -> Row:
    """Holds what a run told against what it should, and whether the next one finished the work."""
    status, words = expected
    good = seen.status == status and words in seen.told and "Traceback" not in seen.told and again.status == 0
    line = next((line for line in seen.told.splitlines() if words and words in line), seen.last_words)
    return Row(fault, moment, f"exit {seen.status}: {line.strip()}", f"exit {again.status}: {again.last_words}", good)


def all_resting(place: Place, naming: str) -> Iterator[Row]:
    """Injects every fault that is there between two runs and has the word in its name."""
    database = os.path.join(place.run_folder, "metadata.sqlite")
    for fault, spoil, expected, settings in (
        (
            "metadata store cut in the middle",
            lambda p: _cut(database, aside=True),
            (2, "metadata store is damaged"),
            (),
        ),
        ("metadata store overwritten", lambda p: _overwrite(database), (2, "metadata store is damaged"), ()),
        ("metadata store emptied", lambda p: open(database, "w").close(), (0, "all components run again"), ()),
        ("metadata store deleted", lambda p: os.remove(database), (0, "all components run again"), ()),
        (
            "examples deleted",
            lambda p: shutil.rmtree(p.output("TsvExampleGen", "examples")),
            (0, "TsvExampleGen runs again"),
            (),
        ),
        ("trained model deleted", lambda p: shutil.rmtree(p.output("Trainer", "model")), (0, "Trainer runs again"), ()),
        ("statistics cut", lambda p: _cut_some(p.output("StatisticsGen", "statistics")), (0, "had"), ()),
        ("a file of the encoder deleted", lambda p: _remove_some(_weights(p)), (0, "is missing"), ()),
        ("a bit of the encoder's weights flipped", lambda p: _flip(_weights(p)), (2, "digest"), (_ANOTHER,)),
        ("model in serving without its graph", lambda p: _hide_graph(p), (2, "saved_model.pb"), (_ANOTHER,)),
        ("serving folder deleted", lambda p: shutil.rmtree(p.serving), (0, "pushed"), ()),
        ("lock file of a dead run", lambda p: _leave_lock(p), (0, "pushed"), ()),
        ("training file cut in a row", lambda p: _cut(p.train, keep=0.97), (0, ""), ()),
        ("training file in cp949", lambda p: _recode(p.train), (2, "data.encoding"), ()),
        ("training file of one label", lambda p: _one_label(p.train), (2, "label"), ()),
        ("training file empty", lambda p: _write(p.train, b""), (2, "empty"), ()),
        ("training file binary", lambda p: _write(p.train, bytes(range(256)) * 100), (2, "binary"), ()),
        ("training file gone", lambda p: _move(p.train), (2, "no such file"), ()),
        ("training file is a pipe", lambda p: _pipe(p.train), (2, "data.train"), ()),
        ("configuration is no YAML", lambda p: _write(p.config, b"name: [drill"), (2, "not valid YAML"), ()),
    ):
        if naming in fault:
            yield resting(place, fault, spoil, expected, *settings)


def second_run(place: Place) -> Row:
    """Starts a second run in the folder of one at work."""
    first = place.start(_ANOTHER)
    first.wait_for("TsvExampleGen")
    second = place.run(_ANOTHER)
    return judge("a second run in the same folder", second, (2, "another run is at work"), first.end(), "during a run")


def two_at_once(place: Place) -> Row:
    """Starts two runs in one new folder at the same moment."""
    running = [place.start(), place.start()]
    ended = sorted((each.end() for each in running), key=lambda end: end.status)
    row = judge("two runs started at once", ended[1], (2, "another run is at work"), ended[0], "at the start")
    return row


def two_roots(one: Place, other: Place) -> Row:
    """Runs two jobs at once that push into the same serving folder."""
    running = [one.start(), other.start(_ANOTHER)]
    ended = [each.end() for each in running]
    again = other.run(_ANOTHER)
    seen = f"exits {ended[0].status} and {ended[1].status}: {ended[1].last_words}; {len(one.versions())} versions"
    good = ended[0].status in (0, 2, 3) and ended[1].status in (0, 2, 3) and again.status in (0, 3)
    return Row("two jobs push into one folder", "both at once", seen, f"exit {again.status}: {again.last_words}", good)


def interrupted(place: Place, sent: signal.Signals, status: int, words: str) -> Row:
    """Sends a signal in the Trainer."""
    running = place.start("trainer.seed=2")
    running.wait_for("EncoderPretrainer")
    running.wait(3.0)
    seen = running.kill(sent)
    return judge(sent.name, seen, (status, words), place.run("trainer.seed=2"), "in the Trainer")


def torn_checkpoint(place: Place) -> Row:
    """Kills a training and cuts its newest checkpoint."""
    running = place.start("trainer.seed=3", "trainer.epochs=40")
    pattern = os.path.join(place.run_folder, "artifacts", "Trainer", "checkpoints", "*", "state-*.data-*")
    while running.process.poll() is None and len(glob.glob(pattern)) < 2:
        time.sleep(0.05)
    seen = running.kill()
    _cut(max(glob.glob(pattern), key=os.path.getmtime))
    again = place.run("trainer.seed=3", "trainer.epochs=40")
    return judge("kill -9, then the newest checkpoint cut", seen, (-9, ""), again, "in the Trainer")


def lost_worker(place: Place) -> Row:
    """Kills one of two workers."""
    running = place.start("trainer.seed=4", "trainer.workers=2", "trainer.epochs=40")
    running.wait_for("EncoderPretrainer")
    victim = None
    while running.process.poll() is None and victim is None:
        listed = subprocess.run(
            ["pgrep", "-P", str(running.process.pid), "-f", "launchers.worker"], capture_output=True
        )
        victim = next(reversed([int(pid) for pid in listed.stdout.split()]), None) if listed.stdout else None
        time.sleep(0.2)
    running.wait(8.0)
    with contextlib.suppress(ProcessLookupError):
        os.kill(victim, signal.SIGKILL)
    again = place.run("trainer.seed=4", "trainer.workers=2", "trainer.epochs=40")
    return judge("one of two workers killed", running.end(), (1, "SIGKILL"), again, "in the Trainer")


def full_disk(folder: str, mebibytes: int) -> Row:
    """Gives a run a disk that is too small, then one that is not."""
    with _mounted(os.path.join(folder, "disk"), mebibytes) as disk:
        place = Place(os.path.join(folder, "full"), root=os.path.join(disk, "runs"))
        seen = place.run()
        subprocess.run(["mount", "-o", "remount,size=2g", disk], check=True)
        return judge(f"run root on a disk of {mebibytes} MiB", seen, (1, "no space is left"), place.run(), "in the run")


def full_serving(folder: str) -> Row:
    """Gives the serving folder a disk that is too small."""
    with _mounted(os.path.join(folder, "serving-disk"), 16) as disk:
        place = Place(os.path.join(folder, "full-serving"))
        settings = f"serving.dir={os.path.join(disk, 'serving')}"
        # A quarter of a megabyte is left; the model has more.
        _write(os.path.join(disk, "filling"), bytes(16_500_000))
        seen = place.run(settings)
        os.remove(os.path.join(disk, "filling"))
        return judge("serving folder on a full disk", seen, (2, "serving.dir"), place.run(settings), "in the Pusher")


def read_only(folder: str, what: str) -> Row:
    """Makes the run root (`root`) or the serving folder (`serving`) read-only."""
    with _mounted(os.path.join(folder, f"read-only-{what}-disk"), 500) as disk:
        place = Place(
            os.path.join(folder, f"read-only-{what}"), root=os.path.join(disk, "runs") if what == "root" else None
        )
        settings = [f"serving.dir={os.path.join(disk, 'serving')}"] if what == "serving" else []
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        seen = place.run(*settings)
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
        word = "--root" if what == "root" else "serving.dir"
        return judge(f"{what} folder read-only", seen, (2, word), place.run(*settings), "at the start")


@contextlib.contextmanager
def _mounted(disk: str, mebibytes: int) -> Iterator[str]:
    os.makedirs(disk)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", disk], check=True)
    try:
        yield disk
    finally:
        subprocess.run(["umount", disk], check=True)


def _cut(file: str, keep: float = 0.5, aside: bool = False) -> Callable[[], None]:
    """Cuts a file; it is mended by putting it back, or by moving it away."""
    shutil.copy(file, file + ".whole")
    os.truncate(file, int(os.path.getsize(file) * keep))
    return (lambda: os.rename(file, file + ".cut")) if aside else (lambda: os.replace(file + ".whole", file))


def _overwrite(file: str) -> Callable[[], None]:
    _write(file, b"this is no database " * 1000)
    return lambda: os.remove(file)


def _write(file: str, content: bytes) -> Callable[[], None]:
    """Replaces a file's content; it is mended by putting the old one back."""
    if os.path.exists(file):
        os.replace(file, file + ".whole")
    with open(file, "wb") as stream:
        stream.write(content)
    return lambda: os.replace(file + ".whole", file)


def _move(file: str) -> Callable[[], None]:
    os.rename(file, file + ".whole")
    return lambda: os.rename(file + ".whole", file)


def _pipe(file: str) -> Callable[[], None]:
    os.rename(file, file + ".whole")
    os.mkfifo(file)
    return lambda: os.replace(file + ".whole", file)


def _recode(file: str) -> Callable[[], None]:
    with open(file, encoding="utf-8") as stream:
        return _write(file, stream.read().encode("cp949"))


def _one_label(file: str) -> Callable[[], None]:
    with open(file, "rb") as stream:
        lines = stream.read().splitlines(keepends=True)
    return _write(file, b"".join(line for line in lines if not line.endswith(b"\t1\n")))


def _files(folder: str) -> list[str]:
    found = [path for path in glob.glob(os.path.join(folder, "**"), recursive=True) if os.path.isfile(path)]
    return sorted(found, key=os.path.getsize)


def _weights(place: Place) -> str:
    return os.path.join(place.output("EncoderPretrainer", "encoder"), "Format-Serving", "encoder", "variables")


def _cut_some(folder: str) -> None:
    largest = _files(folder)[-1]
    os.truncate(largest, os.path.getsize(largest) // 2)


def _remove_some(folder: str) -> None:
    os.remove(_files(folder)[-1])


def _flip(folder: str) -> Callable[[], None]:
    largest = _files(folder)[-1]
    with open(largest, "r+b") as stream:
        stream.seek(os.path.getsize(largest) // 2)
        byte = stream.read(1)[0]
        stream.seek(-1, os.SEEK_CUR)
        stream.write(bytes([byte ^ 1]))
    # As the error says: delete the artifact, and it is made again.
    return lambda: shutil.rmtree(os.path.dirname(os.path.dirname(os.path.dirname(folder))))


def _hide_graph(place: Place) -> Callable[[], None]:
    return _move(os.path.join(place.serving, place.versions()[-1], "saved_model.pb"))


def _leave_lock(place: Place) -> None:
    with open(os.path.join(place.run_folder, ".lock"), "w", encoding="utf-8") as stream:
        stream.write("4194303\n")
