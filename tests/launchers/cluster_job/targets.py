"""Targets of the workers in these tests; imports nothing slow."""

import json
import os
import pathlib
import time

from tests.launchers import launched_jobs


def index():
    return json.loads(os.environ["TF_CONFIG"])["task"]["index"]


def join(arguments):
    """Writes the inputs that it read; only worker 0 writes."""
    if index() == 0:
        texts = {str(file.relative_to(root)): file.read_text() for root, file in _files(arguments)}
        out = pathlib.Path(arguments["out"])
        (out / "deep").mkdir(parents=True)
        (out / "deep" / "texts.json").write_text(json.dumps(texts, sort_keys=True))
        (out / "arguments.json").write_text(json.dumps(arguments))


def _files(arguments):
    yield from ((pathlib.Path(p).parent, f) for p in arguments["patterns"] for f in pathlib.Path(p).parent.glob("*"))
    folder = pathlib.Path(arguments["folder"])
    yield from ((folder, file) for file in folder.rglob("*") if file.is_file())


def count(arguments):
    """Worker 0 counts to 60 and saves each number; each needs the other one alive."""
    folder, me = pathlib.Path(arguments["folder"]), index()
    _replace(folder / f"pid-{me}", str(os.getpid()))
    saved = folder / "saved"
    number = int(saved.read_text()) if saved.exists() else 0
    with open(folder / f"starts-{me}", "a") as starts:
        starts.write(f"{number}\n")
    _wait_for_peer(folder / f"pid-{1 - me}")
    while number < 60:
        if not _is_alive(folder / f"pid-{1 - me}"):
            raise launched_jobs.UnavailableError("Socket closed")
        time.sleep(0.02)
        number = number + 1 if me == 0 else int(saved.read_text()) if saved.exists() else 0
        if me == 0:
            _replace(saved, str(number))


def die(arguments):
    """Worker 1 is killed each time that it starts."""
    if index() == 1:
        launched_jobs.kill_self()
    time.sleep(launched_jobs.LONG_S)


def _wait_for_peer(file):
    while not _is_alive(file):
        time.sleep(0.02)


def _is_alive(file):
    try:
        os.kill(int(file.read_text()), 0)
    except (FileNotFoundError, ProcessLookupError):
        return False
    return True


def _replace(file, text):
    part = file.with_suffix(".part")
    part.write_text(text)
    part.replace(file)
