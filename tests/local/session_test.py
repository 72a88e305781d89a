"""The lock of a folder, and the log that captures the output of C libraries."""

import os
import subprocess
import sys

import pytest

from core.errors import UserError
from local import session


def test_second_run_in_the_same_folder_is_an_error(tmp_path):
    folder = str(tmp_path / "job")
    with session.lock(folder):
        with pytest.raises(UserError, match="another run is using this folder"):
            with session.lock(folder):
                pytest.fail("two runs at once")
    with session.lock(folder):
        pass


def test_folder_that_is_a_file_is_named_in_the_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"--root: can't write to .*file/job"):
        with session.lock(str(tmp_path / "file" / "job")):
            pytest.fail("locked a file")


def test_output_of_python_and_c_goes_to_the_log_only(tmp_path):
    script = f"""
import os, sys
from local import session
with session.redirect_output({str(tmp_path)!r}, verbose=False) as screen:
    os.write(2, b"from C\\n")
    print("from Python")
    screen.write("for the user\\n")
print("afterwards")
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": "."}
    )
    assert (done.stdout, done.stderr) == ("for the user\nafterwards\n", "")
    assert (tmp_path / session.LOG_FILE).read_text() == "from C\nfrom Python\n"


def test_verbose_output_stays_on_the_terminal(tmp_path):
    with session.redirect_output(str(tmp_path), verbose=True) as screen:
        assert screen is sys.stdout
    assert not os.listdir(tmp_path)
