"""Predictions: a file is read as in training, and control characters are escaped for terminals."""

import bz2
import csv
import gzip
import io
import json
import os
import pathlib
import threading

import hypothesis
import pyarrow
import pyarrow.parquet
import pytest
import tensorflow as tf
from hypothesis import strategies as st
from tfx.types import standard_artifacts

from artifacts import model_card
from components.tsv_example_gen import executor, parse
from components.tsv_example_gen.lines import KEPT_BYTES
from core import config
from core.config import DataConfig
from core.errors import UserError
from local import answers, prediction, predictions, sentences
from schema import rejections
from schema.task import make_task
from tests import tsv_lines

HOSTILE = "\x1b]0;owned\x07\x9b31m\u202e[bold]</title><script>alert(1)</script>"
TASK = make_task(("document",), {"0": "부정", "1": "긍정"})
SAMPLE = pathlib.Path(__file__).parents[2] / "data" / "sample"


class FakeModel:
    """A model that returns the same score for every text and records the texts."""

    def __init__(self, label="긍정", **data):
        layout = {"label": "label", "quoting": "minimal", "header": True, "encoding": "utf-8", **data}
        self.card = model_card.ModelCard(TASK, layout)
        self.label, self.texts = label, []

    def predict(self, rows):
        self.texts += [text for (text,) in rows]
        values = {"label_name": self.label, "probability": 0.75}
        return [predictions.Prediction(values, (0.25, 0.75)) for _ in rows]

    def count_cut(self, texts):
        return 0


def predict(file, out, as_json=False, with_scores=False, options=(), **data):
    """Returns the texts that the model was queried with, and the lines of the output."""
    model = FakeModel(**data)
    form = answers.Format(as_json, with_scores)
    assert prediction.predict_file(model, str(file), str(out), form, dict(options)) == 0
    return model.texts, out.read_text(encoding="utf-8").removesuffix("\n").split("\n")


def test_sentences_and_labels_are_escaped_for_terminals(capsys):
    assert sentences.predict(FakeModel(f"긍정{HOSTILE}"), ["굿\n", HOSTILE], answers.Format()) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and lines[0].startswith("긍정\\x1b]0;owned") and lines[0].endswith("75.0%  굿\\n")
    assert not set("\x1b\x07\x9b\u202e") & set("".join(lines))


def test_json_has_the_exact_text(capsys):
    sentences.predict(FakeModel(), [HOSTILE], answers.Format(as_json=True))
    assert json.loads(capsys.readouterr().out)["text"] == HOSTILE


@st.composite
def files(draw):
    """A layout, whether the file is compressed, and its content."""
    data = {"quoting": draw(st.sampled_from(tsv_lines.QUOTINGS)), "encoding": draw(st.sampled_from(["utf-8", "cp949"]))}
    has_header = draw(st.booleans())
    start = b"\xef\xbb\xbf" if data["encoding"] == "utf-8" and draw(st.booleans()) else b""
    start += b"document\tlabel\r\n" if has_header else b""
    data |= {"delimiter": draw(st.sampled_from("\t,|")), "escape": draw(st.sampled_from([None, "\\"]))}
    lines = draw(st.lists(tsv_lines.any_line(data["quoting"], data["encoding"]), max_size=20))
    ends = [draw(st.sampled_from([b"\n", b"\r\n"])) for _ in lines]
    # Enough good lines that the file's encoding is accepted, even if all others are damaged.
    content = start + b"good\t1\n" * 60 + b"".join(line + end for line, end in zip(lines, ends, strict=True))
    header = True if has_header else ("document", "label")
    content = content.replace(b"\t", data["delimiter"].encode()).removesuffix(b"\n" * draw(st.booleans()))
    return {**data, "header": header}, draw(st.booleans()), content


def training_outcomes(file, data):
    """Rows and rejections of a file, as training parses it."""
    settings = DataConfig(train=str(file), id=None, max_line_bytes=1 << 20, **data)
    ranges = executor.make_plan(settings).ranges
    return [outcome for part in ranges for _, outcome in executor.parsed_records(part, settings, TASK)]


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(files())
def test_any_file_has_the_same_texts_as_in_training(tmp_path_factory, drawn):
    data, compressed, content = drawn
    folder = tmp_path_factory.mktemp("predict")
    file = folder / ("in.tsv.gz" if compressed else "in.tsv")
    file.write_bytes(gzip.compress(content) if compressed else content)
    outcomes = training_outcomes(file, data)
    texts, lines = predict(file, folder / "out.jsonl", as_json=True, **data)
    answers = [json.loads(line)["probability"] for line in lines]
    assert len(answers) == len(outcomes)
    scored = [outcome for outcome, answer in zip(outcomes, answers, strict=True) if answer is not None]
    # A label is not needed to predict it.
    assert all(isinstance(row, parse.Row) or row.reason == rejections.BAD_LABEL for row in scored)
    assert len(scored) == sum(isinstance(row, parse.Row) or row.reason == rejections.BAD_LABEL for row in outcomes)
    assert [text for text, row in zip(texts, scored, strict=True) if isinstance(row, parse.Row)] == [
        row.texts[0] for row in scored if isinstance(row, parse.Row)
    ]


ROWS = [("1", "first\nsecond", "0"), ("2", 'he said "no", | twice', "1"), ("3", "좋아요\u2028", "1")]


def write_form(folder, form):
    """Writes the rows in one of the forms that the reader knows; returns the file and its settings."""
    path = folder / "reviews"
    if form == "jsonl":
        keys = ("id", "document", "label")
        path.write_text("".join(json.dumps(dict(zip(keys, row, strict=True))) + "\n" for row in ROWS))
        return path, {}
    if form == "parquet":
        columns = dict(zip(("id", "document", "label"), map(list, zip(*ROWS, strict=True)), strict=True))
        pyarrow.parquet.write_table(pyarrow.table(columns), path, row_group_size=2)
        return path, {}
    data = {
        "comma": {"delimiter": ","},
        "escape": {"delimiter": "|", "escape": "\\"},
        "utf-16": {"encoding": "utf-16"},
        "skipped": {"skip_lines": 2, "comment": "#"},
    }[form]
    text = io.StringIO("A title\n\n# a comment\n" if form == "skipped" else "", newline="")
    text.seek(0, io.SEEK_END)
    writer = csv.writer(
        text,
        delimiter=data.get("delimiter", "\t"),
        escapechar=data.get("escape"),
        doublequote="escape" not in data,
        lineterminator="\n",
    )
    writer.writerows([(" id", "document ", "label"), *ROWS])
    path.write_bytes(bz2.compress(text.getvalue().encode(data.get("encoding", "utf-8"))))
    return path, data


@pytest.mark.parametrize("form", ["comma", "escape", "utf-16", "skipped", "jsonl", "parquet"])
def test_every_form_has_the_same_texts_as_in_training_by_the_settings_of_the_card(tmp_path, form, capsys):
    path, data = write_form(tmp_path, form)
    card = config.Config(name="x", data={"train": str(path), **data}).data.model_dump(
        include=model_card.LAYOUT - {"label"}
    )
    texts, lines = predict(path, tmp_path / "out", as_json=True, **json.loads(json.dumps(card)))
    assert texts == [row.texts[0] for row in training_outcomes(path, data)] == [text for _, text, _ in ROWS]
    assert len(lines) == len(ROWS) and "accuracy 0.6667 on 3 labelled rows" in capsys.readouterr().err


def test_the_answers_to_a_table_with_commas_are_one(tmp_path):
    path, data = write_form(tmp_path, "comma")
    predict(path, tmp_path / "out.csv", **data)
    with open(tmp_path / "out.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.reader(stream))
    assert [row[:3] for row in rows[1:]] == [list(row) for row in ROWS] and rows[1][3:] == ["긍정", "0.750000"]


def test_a_delimiter_by_option(tmp_path):
    path, _ = write_form(tmp_path, "comma")
    assert predict(path, tmp_path / "out", options={"delimiter": "comma"})[0] == [text for _, text, _ in ROWS]
    with pytest.raises(UserError, match="no tab but ',': set --delimiter=comma"):
        predict(path, tmp_path / "out")


def test_the_sample_has_the_texts_of_its_examples(tmp_path):
    examples = standard_artifacts.Examples()
    examples.uri = str(tmp_path / "examples")
    data = DataConfig(train=str(SAMPLE / "ratings_train.txt"), test=str(SAMPLE / "ratings_test.txt"))
    executor.Executor().Do({}, {"examples": [examples]}, {"data": data.model_dump_json()})
    shards = tf.io.gfile.glob(os.path.join(examples.uri, "Split-test", "*"))
    records = tf.data.TFRecordDataset(shards, "GZIP").as_numpy_iterator()
    stored = [tf.train.Example.FromString(r).features.feature["document"].bytes_list.value[0] for r in records]
    texts, _ = predict(SAMPLE / "ratings_test.txt", tmp_path / "out.tsv")
    assert len(texts) > 700 and sorted(texts) == sorted(text.decode() for text in stored)


def test_rows_and_columns_are_kept_in_order(tmp_path, capsys):
    source = tmp_path / "in.tsv"
    source.write_bytes(
        b"\xef\xbb\xbfmore\tdocument\tlabel\r\n"
        b'a\t"he said ""no"""\t1\r\n' + b"b\t \t0\nc\t\xff\t1\n\nd\tone\ttoo\tmany\ne\tunlabelled\t\nf\tbad\t0"
    )
    texts, lines = predict(source, tmp_path / "out.tsv")
    assert texts == ['he said "no"', "unlabelled", "bad"]
    assert list(csv.reader(lines, delimiter="\t")) == [
        ["more", "document", "label", "label_name", "probability"],
        ["a", 'he said "no"', "1", "긍정", "0.750000"],
        ["b", " ", "0", "", ""],
        ["c\t\\xff\t1", "", ""],
        ["", "", ""],
        ["d", "one", "too", "many", "", ""],
        ["e", "unlabelled", "", "긍정", "0.750000"],
        ["f", "bad", "0", "긍정", "0.750000"],
    ]
    assert capsys.readouterr().err == (
        "7 rows, 4 without a score (unreadable or no text); accuracy 0.5000 on 2 labelled rows\n"
    )


def test_a_file_without_header_and_quoting_is_scored(tmp_path):
    source = tmp_path / "in.tsv.gz"
    source.write_bytes(gzip.compress('1\t"영화\n0\t별로'.encode("cp949")))
    data = {"quoting": "none", "header": ["label", "document"], "encoding": "cp949"}
    texts, lines = predict(source, tmp_path / "out.tsv", **data)
    assert texts == ['"영화', "별로"]
    assert lines == ['1\t"영화\t긍정\t0.750000', "0\t별로\t긍정\t0.750000"]


def test_a_line_that_is_too_long_is_not_scored_and_the_next_one_is(tmp_path):
    source = tmp_path / "in.tsv"
    source.write_bytes(b"document\n" + b"x" * (1 << 20) + b"x\ngood\n")
    texts, lines = predict(source, tmp_path / "out.tsv")
    assert texts == ["good"]
    assert lines[1:] == ["x" * KEPT_BYTES + "\t\t", "good\t긍정\t0.750000"]


def test_a_pipe_is_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    content = b"document\n" + b"good\n" * 30_000
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(content,))
    writer.start()
    texts, _ = predict(tmp_path / "pipe", tmp_path / "out.tsv")
    writer.join()
    assert texts == ["good"] * 30_000


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "can't be read: No such file or directory"),
        (b"", "is empty"),
        (b"document\n", "has no rows to score"),
        (b"document\n \n\n", "none of the 2 rows could be scored (empty_text 1, blank_line 1); check --text"),
        (b"id\ttext\n1\tx\n", "--text = 'document': missing from the columns 'id', 'text'"),
        (b'"document\nx\n', "the first line is not a valid header (bad_quoting"),
        (b"document\n" + "재미없다\n최고\n".encode("cp949"), "lines can't be decoded with --encoding = utf-8"),
    ],
)
def test_an_unusable_file_is_named_and_nothing_is_written(tmp_path, content, message):
    if content is not None:
        (tmp_path / "in.tsv").write_bytes(content)
    with pytest.raises(UserError) as caught:
        predict(tmp_path / "in.tsv", tmp_path / "out.tsv")
    assert str(caught.value).startswith(f"--file {tmp_path}/in.tsv: ") and message in str(caught.value)
    assert not (tmp_path / "out.tsv").exists()


def test_a_truncated_file_leaves_the_output_as_it_was(tmp_path):
    (tmp_path / "in.tsv.gz").write_bytes(gzip.compress(b"document\n" + os.urandom(1 << 18).hex().encode())[:-8])
    (tmp_path / "out.tsv").write_text("before")
    with pytest.raises(UserError, match="--file .*: is truncated"):
        predict(tmp_path / "in.tsv.gz", tmp_path / "out.tsv")
    assert (tmp_path / "out.tsv").read_text() == "before" and len(os.listdir(tmp_path)) == 2


def test_an_output_that_can_not_be_written_is_named(tmp_path):
    (tmp_path / "in.tsv").write_text("document\ngood\n")
    with pytest.raises(UserError, match="--out .*no/out.tsv: can't be written .No such file or directory"):
        predict(tmp_path / "in.tsv", tmp_path / "no" / "out.tsv")


def test_options_take_precedence_over_the_card(tmp_path, capsys):
    (tmp_path / "in.tsv").write_bytes('review\tstars\n"영화\t1\n별로\t0\n'.encode("cp949"))
    options = {"text": "review", "label": "stars", "quoting": "none", "encoding": "cp949"}
    texts, lines = predict(tmp_path / "in.tsv", tmp_path / "out.tsv", options=options)
    assert texts == ['"영화', "별로"] and lines[0] == "review\tstars\tlabel_name\tprobability"
    assert "accuracy 0.5000 on 2 labelled rows" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options, message",
    [
        ({"encoding": "utf-9"}, "--encoding = 'utf-9': should be a text encoding that Python supports"),
        ({"text": "review"}, "--file .*: --text = 'review': missing from the columns 'document'"),
        ({"header": "id,review"}, "--file .*: --text = 'document': missing from the columns 'id', 'review'"),
        ({"header": "id,id"}, "--header = 'id,id': should be true, or the column names of a file without a header"),
        ({"header": ""}, "--header = '': should be true, or the column names"),
        ({"header": "id,document", "label": "stars"}, "--label = 'stars': missing from the columns 'id', 'document'"),
    ],
)
def test_a_wrong_option_is_named(tmp_path, options, message):
    (tmp_path / "in.tsv").write_text("document\ngood\n")
    with pytest.raises(UserError, match=message):
        predict(tmp_path / "in.tsv", tmp_path / "out.tsv", options=options)


def test_an_option_names_a_column_of_a_file_without_a_header(tmp_path):
    (tmp_path / "in.tsv").write_text("1\tgood\tbad\n")
    header = ["label", "document", "reply"]
    texts, _ = predict(tmp_path / "in.tsv", tmp_path / "out.tsv", options={"text": "reply"}, header=header)
    assert texts == ["bad"]
    with pytest.raises(UserError, match="--text = 'review': missing from the columns 'label', 'document', 'reply'"):
        predict(tmp_path / "in.tsv", tmp_path / "out.tsv", options={"text": "review"}, header=header)


def test_names_after_header_are_those_of_a_file_without_one(tmp_path, capsys):
    (tmp_path / "in.tsv").write_text("7\tgood\n8\tbad\n")
    texts, lines = predict(tmp_path / "in.tsv", tmp_path / "out.tsv", options={"header": "id,document"})
    assert texts == ["good", "bad"] and lines[0].startswith("7\tgood\t긍정")
    assert "accuracy" not in capsys.readouterr().err, "a file to score needs no label"


def test_a_file_with_a_header_can_be_scored_by_a_model_from_one_without(tmp_path):
    (tmp_path / "in.tsv").write_text("stars\tdocument\n1\tgood\n")
    options = {"header": "true", "label": "stars"}
    texts, lines = predict(tmp_path / "in.tsv", tmp_path / "o", options=options, header=["document", "label"])
    assert texts == ["good"] and lines[0] == "stars\tdocument\tlabel_name\tprobability"


def test_the_longest_line_is_that_of_the_training(tmp_path):
    (tmp_path / "in.tsv").write_text("document\n" + "x" * 2000 + "\ngood\n")
    assert predict(tmp_path / "in.tsv", tmp_path / "out.tsv", max_line_bytes=1024)[0] == ["good"]


def test_scores_are_columns_or_an_object(tmp_path):
    (tmp_path / "in.tsv").write_text("document\ngood\n\n")
    lines = predict(tmp_path / "in.tsv", tmp_path / "out.tsv", with_scores=True)[1]
    assert lines[0].split("\t")[1:] == ["label_name", "probability", "probability_부정", "probability_긍정"]
    assert lines[1].split("\t")[1:] == ["긍정", "0.750000", "0.250000", "0.750000"]
    assert lines[2] == '""' + "\t" * 4 or lines[2] == "\t" * 4
    rows = [json.loads(line) for line in predict(tmp_path / "in.tsv", tmp_path / "o", True, True)[1]]
    assert [row["scores"] for row in rows] == [{"부정": 0.25, "긍정": 0.75}, None]
