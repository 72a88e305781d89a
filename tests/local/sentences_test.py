"""Lines of standard input: answered as they arrive, through real pipes, each with exactly one answer."""

import json
import os
import select
import subprocess
import sys

import hypothesis
import pytest
from hypothesis import strategies as st

import local_runner
from artifacts import model_card
from core.errors import UserError
from local import answers, sentences, served_model
from tests import saved_models

REPO = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LAYOUT = {"label": "label", "quoting": "minimal", "header": True, "encoding": "cp949", "max_line_bytes": 1024}
# A busy machine takes this long to import TensorFlow and to load a model.
TIMEOUT_S = 120


@pytest.fixture(scope="module", name="folder")
def _folder(tmp_path_factory):
    folder = saved_models.save(str(tmp_path_factory.mktemp("model") / "1"))
    model_card.write(folder, model_card.ModelCard(saved_models.TASK, LAYOUT))
    return folder


@pytest.fixture(scope="module", name="model")
def _model(folder):
    return served_model.load(folder, "runs")


def start(folder, *options):
    """Starts `predict` between pipes, with the log level that a user has."""
    command = [sys.executable, os.path.join(REPO, "local_runner.py"), "predict", "--model", folder, *options]
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment)


def predict_lines(model, content, tmp_path, monkeypatch, *form, **options):
    """Predicts with a file as standard input."""
    path = tmp_path / "stdin"
    path.write_bytes(content)
    with open(path) as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        return sentences.predict(model, [], answers.Format(*form), **options)


def test_each_line_of_a_pipe_is_answered_before_the_next_is_written(folder):
    with start(folder, "--json") as running:
        for text in ("정말 최고다", "", "별로다"):
            running.stdin.write(text.encode() + b"\n")
            running.stdin.flush()
            assert select.select([running.stdout], [], [], TIMEOUT_S)[0], "no answer"
            answer = json.loads(running.stdout.readline())
            assert answer["text"] == text and (answer["label"] is None) == (text == "")
        # A batch of lines that wait, the last without a newline.
        rest, errors = running.communicate(b"a\nb\nc", TIMEOUT_S)
    assert [json.loads(line)["text"] for line in rest.splitlines()] == ["a", "b", "c"]
    assert running.returncode == 0 and errors == b""


def test_a_reader_that_stops_early_causes_no_traceback(folder):
    with start(folder) as running:
        running.stdin.write(b"a\n")
        running.stdin.flush()
        running.stdout.readline()
        running.stdout.close()
        running.stdin.write(b"b\n")
        running.stdin.close()
        assert running.stderr.read() == b"" and running.wait(TIMEOUT_S) == 1


@hypothesis.settings(deadline=None)
@hypothesis.given(st.lists(st.binary(max_size=20)), st.integers(4, 12))
def test_any_split_into_blocks_gives_the_same_lines(pieces, limit):
    content = b"".join(pieces)
    read, write = os.pipe()
    try:
        waiting = sentences.read_waiting(read, limit)
        os.write(write, content)
        os.close(write)
        lines = [line for batch in waiting for line in batch]
    finally:
        os.close(read)
    expected = content.split(b"\n")
    expected = expected if expected[-1] else expected[:-1]
    assert len(lines) == len(expected)
    for line, whole in zip(lines, expected, strict=True):
        assert line == whole or (len(line) > limit and whole.startswith(line))


def test_a_line_that_arrives_in_parts_is_one_line():
    read, write = os.pipe()
    waiting = sentences.read_waiting(read, 100)
    os.write(write, b"one\ntw")
    assert next(waiting) == [b"one"]
    os.write(write, b"o\n\nthree")
    assert next(waiting) == [b"two", b""]
    os.close(write)
    assert list(waiting) == [[b"three"]]
    os.close(read)


def test_lines_without_an_answer_keep_their_place(model, tmp_path, monkeypatch, capsys):
    content = b"good\r\n  \n\xff\xfe\n" + b"x" * 2000 + b"\na\tb\n"
    assert predict_lines(model, content, tmp_path, monkeypatch, True) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["text"] for row in rows] == ["good", "  ", "\\xff\\xfe", "x" * 1025, "a\tb"]
    assert [row["label"] is None for row in rows] == [False, True, True, True, False]


def test_scores_has_the_probability_of_every_class(model, capsys):
    sentences.predict(model, ["정말"], answers.Format(as_json=True, with_scores=True))
    answer = json.loads(capsys.readouterr().out)
    assert list(answer["scores"]) == ["부정", "긍정"]
    assert sum(answer["scores"].values()) == pytest.approx(1)
    assert answer["scores"][answer["label"]] == answer["probability"]
    sentences.predict(model, ["정말"], answers.Format(with_scores=True))
    line = capsys.readouterr().out
    assert line == (
        f"{answer['label']}  {answer['probability']:6.1%}  부정 {answer['scores']['부정']:.1%}, "
        f"긍정 {answer['scores']['긍정']:.1%}  정말\n"
    )


def test_standard_input_is_utf8_unless_an_option_says_otherwise(model, tmp_path, monkeypatch, capsys):
    predict_lines(model, "정말\n".encode(), tmp_path, monkeypatch)
    predict_lines(model, "정말\n".encode("cp949"), tmp_path, monkeypatch, encoding="cp949")
    first, second = capsys.readouterr().out.splitlines()
    assert first == second and first.endswith("정말")


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "standard input: has no lines to score"),
        (b"\n \n\n", "standard input: none of the 3 lines could be scored (blank_line 2, empty_text 1); check --text"),
        (b"\xff\n", "standard input: none of the 1 lines could be scored (undecodable 1); check --encoding"),
    ],
)
def test_an_input_without_any_answer_is_an_error(model, tmp_path, monkeypatch, content, message):
    with pytest.raises(UserError) as caught:
        predict_lines(model, content, tmp_path, monkeypatch)
    assert str(caught.value) == message


def test_an_unknown_codec_is_named(model, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="--encoding = 'utf-9': should be a text encoding that Python supports"):
        predict_lines(model, b"a\n", tmp_path, monkeypatch, encoding="utf-9")


def test_a_sentence_that_is_not_utf8_has_no_answer(model, capsys):
    assert sentences.predict(model, ["good", "\udcff"], answers.Format(as_json=True)) == 0
    assert [json.loads(line)["label"] is None for line in capsys.readouterr().out.splitlines()] == [False, True]


def test_out_without_a_file_is_an_error(capsys):
    assert local_runner.main(["predict", "--out", "answers.tsv", "a"]) == 2
    assert "--out: has no effect without --file" in capsys.readouterr().err
