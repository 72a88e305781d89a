"""A run's folder: one run at a time, and a log that catches what C writes."""

import os
import subprocess
import sys

import pytest

from core.errors import UserError
from local import session


def test_a_second_run_in_the_same_folder_is_refused_with_a_sentence(tmp_path):
    folder = str(tmp_path / "job")
    with session.locked(folder):
        with pytest.raises(UserError, match="another run is at work"):
            with session.locked(folder):
                pytest.fail("two runs at once")
    with session.locked(folder):
        pass


def test_a_folder_that_is_a_file_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"--root: .*file/job"):
        with session.locked(str(tmp_path / "file" / "job")):
            pytest.fail("locked a file")


def test_output_of_every_kind_goes_to_the_log_and_the_screen_stays_clean(tmp_path):
    script = f"""
import os, sys
from local import session
with session.output({str(tmp_path)!r}, verbose=False) as screen:
    os.write(2, b"from C\\n")
    print("from Python", flush=True)
    screen.write("for a person\\n")
print("afterwards")
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": "."}
    )
    assert (done.stdout, done.stderr) == ("for a person\nafterwards\n", "")
    assert (tmp_path / session.LOG_FILE).read_text() == "from C\nfrom Python\n"


def test_the_log_before_is_kept(tmp_path):
    (tmp_path / session.LOG_FILE).write_text("before")
    with session.output(str(tmp_path), verbose=True):
        assert (tmp_path / session.LOG_FILE).read_text() == "before"
    with session._redirected(str(tmp_path / "other.log")):
        pass
    with session.output(str(tmp_path), verbose=False):
        pass
    assert (tmp_path / f"{session.LOG_FILE}.1").read_text() == "before"
