"""Messages of the command line."""

import pytest

import local_runner

HOSTILE = "\x1b]0;owned\x07\x9b31m\u202e[bold]</title><script>alert(1)</script>"


def test_name_of_a_file_is_escaped_in_an_error(tmp_path, capsys):
    assert local_runner.main(["run", "--config", f"{HOSTILE}\n.yaml"]) == 2
    text = capsys.readouterr().err
    assert text.startswith("error: \\x1b]0;owned") and text.count("\n") == 1
    assert not set("\x1b\x07\x9b\u202e") & set(text)


def test_argument_is_escaped_in_a_usage_error(capsys):
    with pytest.raises(SystemExit) as exit_:
        local_runner.main(["encoders", HOSTILE])
    assert exit_.value.code == 2
    text = capsys.readouterr().err
    assert "unrecognized arguments: \\x1b]0;owned" in text and not set("\x1b\x07\x9b\u202e") & set(text)
