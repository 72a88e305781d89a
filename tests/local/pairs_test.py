"""`predict` and `inspect` with pairs of texts."""

import io
import json
import sys

import pytest
import rich.console

from artifacts import model_card
from core import config
from core.errors import UserError
from local import answers, inspection, prediction, predictions, sentences
from schema.task import make_task
from tests import encoders

TASK = make_task(("question", "sentence"), {"0": "no", "1": "yes"})
LAYOUT = {"label": "label", "quoting": "minimal", "header": True, "encoding": "utf-8", "max_line_bytes": 1024}


class PairModel:
    """Says yes if the second text contains the first."""

    card = model_card.ModelCard(TASK, LAYOUT, 16)

    def predict(self, rows):
        scores = [0.75 if first in second else 0.25 for first, second in rows]
        return [
            predictions.Prediction(
                {"label_name": ("no", "yes")[score > 0.5], "probability": max(score, 1 - score)}, (1 - score, score)
            )
            for score in scores
        ]

    def count_cut(self, rows):
        return len(rows) - 1


def test_two_sentences_are_a_pair(capsys):
    assert sentences.predict(PairModel(), ["a", "a b", "c\x1b", "a\tb"], answers.Format()) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines() == ["yes   75.0%  a | a b", "no   75.0%  c\\x1b | a\\tb"]
    assert captured.err.startswith("1 of 2 pairs have more than 16 tokens")


def test_an_odd_number_of_sentences_is_refused():
    with pytest.raises(UserError, match="SENTENCE: 3 is an odd number of sentences; the model takes pairs"):
        sentences.predict(PairModel(), ["a", "b", "c"], answers.Format())


def read_lines(content, tmp_path, monkeypatch):
    (tmp_path / "stdin").write_bytes(content)
    with open(tmp_path / "stdin") as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        return sentences.predict(PairModel(), [], answers.Format(as_json=True))


def test_a_line_of_standard_input_is_both_texts_with_a_tab_between_them(tmp_path, monkeypatch, capsys):
    assert read_lines(b"a\ta b\r\nalone\n\tb\na\tb\tc\n\xff\tb\nx\ty", tmp_path, monkeypatch) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["text"], row["text_pair"], row["label"]) for row in rows] == [
        ("a", "a b", "yes"),
        ("alone", None, None),
        ("\tb", None, None),
        ("a\tb\tc", None, None),
        ("\\xff\tb", None, None),
        ("x", "y", "no"),
    ]


def test_lines_without_a_pair_name_the_format(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="wrong_column_count 1.*two texts on a line, with a tab between them"):
        read_lines(b"alone\n", tmp_path, monkeypatch)


def predict_file(tmp_path, content, **options):
    (tmp_path / "in.tsv").write_text(content)
    form = answers.Format()
    assert prediction.predict_file(PairModel(), str(tmp_path / "in.tsv"), str(tmp_path / "out.tsv"), form, options) == 0
    return (tmp_path / "out.tsv").read_text().splitlines()


def test_a_file_is_read_by_the_columns_of_the_pair(tmp_path, capsys):
    content = "sentence\tquestion\tlabel\na b\ta\t1\nb\ta\t1\n\ta\t0\n"
    assert predict_file(tmp_path, content) == [
        "sentence\tquestion\tlabel\tlabel_name\tprobability",
        "a b\ta\t1\tyes\t0.750000",
        "b\ta\t1\tno\t0.750000",
        "\ta\t0\t\t",
    ]
    assert "accuracy 0.5000 on 2 labelled rows" in capsys.readouterr().err


def test_other_columns_are_named_after_text(tmp_path):
    assert predict_file(tmp_path, "x\ty\na\ta b\n", text=["x", "y"])[1] == "a\ta b\tyes\t0.750000"
    with pytest.raises(UserError, match="--text x: should be 2 of the columns, as the model takes text and text_pair"):
        predict_file(tmp_path, "x\ty\na\ta b\n", text=["x"])
    with pytest.raises(UserError, match="--text = 'z': missing from the columns 'x', 'y'"):
        predict_file(tmp_path, "x\ty\na\ta b\n", text=["x", "z"])


def test_inspect_shows_both_segments_of_a_pair(tmp_path):
    folder = encoders.save(str(tmp_path / "encoder"))
    seen = inspection.describe_sentence(["정말 재미있는", "영화"], folder)
    types = seen["inputs"]["input_type_ids"]["values"]
    end = seen["tokens"].index("[SEP]")
    assert types == [0] * (end + 1) + [1] * (len(seen["tokens"]) - end - 1)
    assert "".join(seen["tokens"]).replace("##", "") == "[CLS]정말재미있는[SEP]영화[SEP]"


def test_inspect_data_shows_both_columns(tmp_path):
    (tmp_path / "t.tsv").write_text(
        "id\tquestion\tsentence\tlabel\n" + "".join(f"{i}\ta{i}\tb{i}\t0\n" for i in range(9))
    )
    (tmp_path / "job.yaml").write_text("name: job\ndata: {train: t.tsv, text: [question, sentence]}\n")
    console = rich.console.Console(file=io.StringIO(), width=120)
    assert inspection.inspect_data(config.load_config(str(tmp_path / "job.yaml")), console) == 0
    lines = [line.split() for line in console.file.getvalue().splitlines()]
    assert ["id", "question", "sentence", "label", "name"] in lines and ["3", "a3", "b3", "0", "부정"] in lines
