"""The output is never the input, and never replaces what is not a regular file."""

import os
import threading

import pytest

import local_runner
from core.errors import UserError
from local import output_file

LINKS = {
    "same path": lambda source, link: source,
    "other spelling": lambda source, link: source.parent / "." / source.name,
    "symlink": lambda source, link: (link.symlink_to(source), link)[1],
    "hard link": lambda source, link: (os.link(source, link), link)[1],
}


@pytest.mark.parametrize("kind", LINKS)
def test_an_output_that_is_the_input_is_refused_before_anything_is_read(tmp_path, capsys, kind):
    source = tmp_path / "in.tsv"
    source.write_text("document\ngood\n")
    out = LINKS[kind](source, tmp_path / "out.tsv")
    # No model is there either, which would be the next error.
    arguments = ["predict", "--model", str(tmp_path / "none"), "--file", str(source), "--out", str(out)]
    assert local_runner.main(arguments) == 2
    assert "the same file as --file" in capsys.readouterr().err
    assert source.read_text() == "document\ngood\n"


def test_a_file_is_replaced_only_at_the_end(tmp_path):
    out = tmp_path / "out.tsv"
    out.write_text("before")
    with pytest.raises(ZeroDivisionError), output_file.open_stream(str(out)) as stream:
        stream.write("half")
        raise ZeroDivisionError
    assert out.read_text() == "before" and os.listdir(tmp_path) == ["out.tsv"]
    with output_file.open_stream(str(out)) as stream:
        stream.write("after")
    assert out.read_text() == "after"


def test_a_pipe_is_written_and_stays_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    content = []
    reading = threading.Thread(target=lambda: content.append((tmp_path / "pipe").read_text()))
    reading.start()
    with output_file.open_stream(str(tmp_path / "pipe")) as stream:
        stream.write("text")
    reading.join()
    assert content == ["text"] and (tmp_path / "pipe").is_fifo()


def test_a_folder_is_not_an_output(tmp_path):
    with (
        pytest.raises(UserError, match="--out .*: can't be written .Is a directory"),
        output_file.open_stream(str(tmp_path)),
    ):
        pass
