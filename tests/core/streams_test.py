"""What libraries print does not reach the terminal."""

import io
import os
import subprocess
import sys

import pytest
import rich.console
import rich.progress

from core import streams

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def test_streams_stay_in_place_while_progress_is_shown():
    before, stream = (sys.stdout, sys.stderr), io.StringIO()
    console = rich.console.Console(file=stream, force_terminal=True)
    with streams.show_spinner(console, "loading"):
        assert (sys.stdout, sys.stderr) == before
    with streams.make_progress(console, rich.progress.SpinnerColumn()) as bar:
        bar.add_task("", total=None)
        assert (sys.stdout, sys.stderr) == before
    assert "loading" in stream.getvalue()


@pytest.mark.parametrize("options", [{}, {"force_terminal": True, "force_interactive": False}])
def test_spinner_is_not_drawn_in_a_pipe_or_among_other_output(options):
    stream = io.StringIO()
    with streams.show_spinner(rich.console.Console(file=stream, **options), "loading"):
        pass
    assert stream.getvalue() == ""


@pytest.mark.parametrize("keep", [True, False])
def test_output_of_libraries_and_children_is_discarded_unless_it_is_to_be_kept(keep):
    script = f"""
import logging, os, subprocess, sys
print("before")
with streams.discard_output(keep={keep}) as (out, error):
    logging.basicConfig()
    logging.error("chatter")
    print("chatter")
    os.write(2, b"chatter")
    subprocess.run([sys.executable, "-c", "print('chatter')"])
    print("answer", file=out)
    print("note", file=error)
logging.error("afterwards")
"""
    done = subprocess.run(
        [sys.executable, "-c", f"from core import streams\n{script}"], capture_output=True, text=True, cwd=ROOT
    )
    chatter = done.stdout.count("chatter") + done.stderr.count("chatter")
    assert chatter == (4 if keep else 0)
    if not keep:
        assert (done.stdout, done.stderr) == ("before\nanswer\n", "note\nERROR:root:afterwards\n")


@pytest.mark.parametrize("terminal", [True, False])
def test_sentence_is_wrapped_between_words_on_a_terminal_only(terminal):
    stream = io.StringIO()
    console = rich.console.Console(file=stream, width=20, force_terminal=terminal, color_system=None)
    streams.print_sentence(console, r"영화가 [bold]not[/] blessed: \[see] /a/path/longer/than/a/row", indent=2)
    lines = [line.rstrip() for line in stream.getvalue().splitlines()]
    if terminal:
        assert lines == ["  영화가 not", "  blessed: [see]", "  /a/path/longer/than/a/row"]
    else:
        assert lines == ["  영화가 not blessed: [see] /a/path/longer/than/a/row"]


def test_messages_of_the_interpreters_shutdown_go_to_the_log(tmp_path):
    script = """
import os, sys
from core import streams

class Library:
    def __del__(self, write=os.write):
        write(2, b"late message")

streams_kept = Library()
with streams.redirect_output(sys.argv[1]) as (out, error):
    print("verdict", file=out)
sys.modules["kept until the end"] = streams_kept
"""
    log = tmp_path / "run.log"
    done = subprocess.run([sys.executable, "-c", script, str(log)], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr, log.read_text()) == ("verdict\n", "", "late message")


@pytest.mark.parametrize("error", ["", "raise ImportError('no such library')", "import ctypes; ctypes.string_at(0)"])
def test_what_imports_print_is_only_shown_if_they_fail(error):
    script = f"""
import logging, os, sys, warnings
from core import streams
with streams.hold_output():
    handler = logging.StreamHandler()
    warnings.warn("chatter")
    os.write(1, b"chatter from C++")
    {error or "pass"}
logging.getLogger().addHandler(handler)
logging.error("afterwards")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    if not error:
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "afterwards\n")
    elif "ImportError" in error:
        assert done.stderr.count("chatter") >= 2 and "no such library" in done.stderr
    else:
        assert "Segmentation fault" in done.stderr and "string_at" in done.stderr
