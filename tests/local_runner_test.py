"""Messages of the command line."""

import json
import subprocess
import sys

import pytest

import local_runner
from core import versions

HOSTILE = "\x1b]0;owned\x07\x9b31m\u202e[bold]</title><script>alert(1)</script>"


def test_name_of_a_file_is_escaped_in_an_error(tmp_path, capsys):
    assert local_runner.main(["run", "--config", f"{HOSTILE}\n.yaml"]) == 2
    text = capsys.readouterr().err
    assert text.startswith("error: \\x1b]0;owned") and text.count("\n") == 1
    assert not set("\x1b\x07\x9b\u202e") & set(text)


def test_argument_is_escaped_in_a_usage_error(capsys):
    with pytest.raises(SystemExit) as exit_:
        local_runner.main(["encoders", f"--{HOSTILE}"])
    assert exit_.value.code == 2
    text = capsys.readouterr().err
    assert "unrecognized arguments: --\\x1b]0;owned" in text and not set("\x1b\x07\x9b\u202e") & set(text)


@pytest.mark.parametrize(
    "words, message",
    [
        (["rn"], "rn: no such command; did you mean run?"),
        (["train-it"], "train-it: no such command; available: run, predict"),
        (["run", "--verbsoe", "--wrkers", "2"], "--wrkers 2; did you mean --verbose and --workers?"),
        (["--confg", "nsmc"], "unrecognized arguments: --confg nsmc; did you mean --config?"),
        (["encoders", "--frobnicate"], "unrecognized arguments: --frobnicate\n"),
    ],
)
def test_misspelt_word_gets_a_suggestion(words, message, capsys):
    with pytest.raises(SystemExit) as exit_:
        local_runner.main(words)
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err


def test_version_names_the_packages_without_importing_them(capsys):
    with pytest.raises(SystemExit) as exit_:
        local_runner.main(["--version"])
    assert exit_.value.code == 0
    text = capsys.readouterr().out
    assert (
        text.startswith(f"local_runner.py {versions.VERSION} (Python 3.")
        and "TensorFlow 2." in text
        and "TFX 1." in text
    )


def test_encoders_as_json_are_one_object_per_line(capsys):
    assert local_runner.main(["encoders", "ko", "--json"]) == 0
    record, bundled = map(json.loads, capsys.readouterr().out.splitlines())
    assert record["handle"] == "bert_multi_cased" and record["layers"] == 12 and "ko" in record["languages"]
    assert bundled["handle"] == "ko_reviews_small" and bundled["languages"] == ["ko"]


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_is_a_script_with_the_commands_and_options(shell, capsys):
    with pytest.raises(SystemExit) as exit_:
        local_runner.main(["--print-completion", shell])
    script = capsys.readouterr().out
    assert not exit_.value.code and "predict" in script and "--scores" in script


def test_completion_for_bash_offers_commands_by_their_start(tmp_path):
    script = subprocess.run(
        [sys.executable, local_runner.__file__, "--print-completion", "bash"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    (tmp_path / "completion").write_text(script)
    words = "COMP_WORDS=(local_runner.py pre); COMP_CWORD=1; COMP_LINE='local_runner.py pre'; COMP_POINT=19"
    ask = f'source {tmp_path}/completion; {words}; $(complete -p local_runner.py | sed "s/.*-F \\([^ ]*\\).*/\\1/"); '
    done = subprocess.run(["bash", "-c", ask + 'printf "%s\\n" "${COMPREPLY[@]}"'], capture_output=True, text=True)
    assert done.stdout.split() == ["predict"], done.stderr
