"""`init`: any table that a run can read gets a configuration that reads every row of it as it was written."""

import bz2
import collections
import csv
import gzip
import io
import json
import os

import hypothesis
import pyarrow.parquet
import pytest
import rich.console
from hypothesis import strategies as st

import local_runner
from components.tsv_example_gen import executor, parse
from core import config
from core.errors import UserError
from local import columns, starter, table
from schema.task import make_task

SUBJECTS = {
    "Hangul": ("영화가", "배우들이", "음악이", "이야기는", "결말이"),
    "Latin": ("the plot", "this film", "an actor", "music, and sound", "the end"),
    "Cyrillic": ("фильм", "сюжет", "актёры", "музыка", "конец"),
}
LABELS = (("0", "1"), ("neg", "pos"), ("부정", "긍정"), ("-1", "1"), ("bad", "good"), ("no", "yes"))


def init(file, out):
    console = rich.console.Console(file=io.StringIO(), width=200)
    assert starter.init(str(file), str(out), console) == 0
    return console.file.getvalue()


def write(path, rows, delimiter="\t", encoding="utf-8", quoting="minimal"):
    text = io.StringIO()
    if quoting == "none":
        text.write("".join(delimiter.join(row) + "\n" for row in rows))
    else:
        csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows(rows)
    content = text.getvalue().encode(encoding)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def reviews(count, labels=("0", "1"), script="Latin"):
    """Rows with a text and a label."""
    subjects = SUBJECTS[script]
    return [(f"{subjects[n % 5]} {n}, {subjects[n // 5 % 5]}", labels[n % len(labels)]) for n in range(count)]


def read_as_configured(loaded):
    """The texts and labels of the training file, as a run reads them, and the number of rejected lines."""
    task = make_task(loaded.data.texts, loaded.data.labels)
    outcomes = [
        outcome
        for part in executor.make_plan(loaded.data).ranges
        for _, outcome in executor.parsed_records(part, loaded.data, task)
    ]
    rows = [(outcome.texts[0], outcome.label) for outcome in outcomes if isinstance(outcome, parse.Row)]
    return rows, len(outcomes) - len(rows)


@st.composite
def tables(draw):
    """Rows of (text, label), the cells of the file, and how to write them."""
    script = draw(st.sampled_from(sorted(SUBJECTS)))
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", *(["cp949"] if script == "Hangul" else [])]))
    labels = draw(st.sampled_from([pair for pair in LABELS if script == "Hangul" or "부정" not in pair]))
    rows = reviews(draw(st.integers(150, 400)), labels, script)
    quoting = draw(st.sampled_from(["minimal", "none"]))
    every = draw(st.integers(2, 9))
    # Broken as quoted fields in one dialect, well-formed in the other.
    quote = {"minimal": '5: "{}"', "none": '"{}'}[quoting]
    texts = [quote.format(text) if n % every == 0 else text for n, (text, _) in enumerate(rows)]
    values = {"review": texts, "label": [label for _, label in rows]}
    if draw(st.booleans()):
        values["id"] = [str(10_000 + n) for n in range(len(rows))]
    if draw(st.booleans()):
        values["country"] = [("Korea", "France", "Chile")[n % 3] for n in range(len(rows))]
    order = draw(st.permutations(sorted(values)))
    has_header = draw(st.booleans())
    cells = ([order] if has_header else []) + [list(row) for row in zip(*(values[name] for name in order), strict=True)]
    form = {"encoding": encoding, "quoting": quoting}
    expected = collections.Counter(zip(texts, values["label"], strict=True))
    return cells, form, draw(st.sampled_from(["", ".gz"])), has_header, order, expected, script


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(tables())
def test_a_run_reads_every_row_as_it_was_written(tmp_path_factory, drawn):
    cells, form, suffix, has_header, order, expected, script = drawn
    folder = tmp_path_factory.mktemp("init")
    file = write(folder / f"reviews.tsv{suffix}", cells, **form)
    init(file, folder / "reviews.yaml")
    loaded = config.load_config(str(folder / "reviews.yaml"))
    rows, rejected = read_as_configured(loaded)
    values = list(loaded.data.labels)
    assert collections.Counter((text, values[label]) for text, label in rows) == expected and rejected == 0
    assert loaded.data.header is True if has_header else len(loaded.data.header) == len(order)
    assert (loaded.data.id is None) == ("id" not in order)
    assert loaded.gates.data.min_script_shares == {script: 0.5} and loaded.gates.invariance.pairs == "auto"


@pytest.mark.parametrize("delimiter, name", [(",", "it's.csv"), (";", "it.tsv"), ("|", "it.txt.gz"), ("\t", "it.bz2")])
@pytest.mark.parametrize("form", ["minimal", "escape"])
def test_any_delimiter_and_texts_of_several_lines_are_read_as_written(tmp_path, delimiter, name, form):
    rows = [(f'{text}{delimiter} "and"\nmore', label) for text, label in reviews(200)]
    text = io.StringIO()
    options = {"escapechar": "\\", "doublequote": False} if form == "escape" else {}
    csv.writer(text, delimiter=delimiter, lineterminator="\n", **options).writerows([("review", "stars"), *rows])
    compress = {".gz": gzip.compress, ".bz2": bz2.compress}.get(os.path.splitext(name)[1], bytes)
    (tmp_path / name).write_bytes(compress(text.getvalue().encode()))
    init(tmp_path / name, tmp_path / "out.yaml")
    read, rejected = read_as_configured(config.load_config(str(tmp_path / "out.yaml")))
    assert [text for text, _ in read] == [text for text, _ in rows] and rejected == 0


@pytest.mark.parametrize("name", ["reviews.tsv", "reviews.tsv.gz"])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_a_codec_of_two_bytes_is_read_as_written(tmp_path, encoding, name):
    rows = reviews(200, script="Hangul")
    file = write(tmp_path / name, [("review", "stars"), *rows], encoding=encoding)
    init(file, tmp_path / "out.yaml")
    texts = [text for text, _ in read_as_configured(config.load_config(str(tmp_path / "out.yaml")))[0]]
    assert texts == [text for text, _ in rows]


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_json_lines_and_parquet_are_read_as_written(tmp_path, kind):
    rows = [{"review": text, "stars": int(label)} for text, label in reviews(200)]
    file = tmp_path / f"reviews.{kind}"
    if kind == "jsonl":
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    init(file, tmp_path / "out.yaml")
    read, rejected = read_as_configured(config.load_config(str(tmp_path / "out.yaml")))
    assert read == [(row["review"], row["stars"]) for row in rows] and rejected == 0


@pytest.mark.parametrize(
    "rows, message",
    [
        (reviews(60), "60 usable rows are too few; a run needs at least 100"),
        ([("same text", "0"), ("other text", "1")] * 100, "200 usable rows are too few; .* with different texts"),
        ([(text, "1") for text, _ in reviews(200)], "no column looks like a label"),
        ([(str(n), str(n % 2)) for n in range(200)], "no column looks like a text; the label is 'label'"),
        (reviews(100) + [("", "1")] * 100, r"50% of the rows can't be used \(empty_text 100\)"),
    ],
)
def test_a_table_that_can_not_be_trained_on_is_named(tmp_path, rows, message):
    file = write(tmp_path / "reviews.tsv", [("review", "label"), *rows])
    with pytest.raises(UserError, match=message):
        init(file, tmp_path / "out.yaml")
    assert os.listdir(tmp_path) == ["reviews.tsv"]


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf\n", "is empty"),
        (b"one\ntwo\nthree\n", "no columns"),
        (b"a\tb\n", "fewer than"),
    ],
)
def test_a_file_without_a_table_is_named(tmp_path, content, message):
    (tmp_path / "reviews.tsv").write_bytes(content)
    with pytest.raises(UserError, match=message):
        init(tmp_path / "reviews.tsv", tmp_path / "out.yaml")


def test_a_missing_file_and_an_existing_output_are_named(tmp_path, capsys):
    assert local_runner.main(["init", str(tmp_path / "none.tsv"), "--out", str(tmp_path / "out.yaml")]) == 2
    assert "none.tsv: No such file or directory; should be a table" in capsys.readouterr().err
    (tmp_path / "out.yaml").write_text("mine")
    file = write(tmp_path / "reviews.tsv", [("review", "label"), *reviews(200)])
    assert local_runner.main(["init", str(file), "--out", str(tmp_path / "out.yaml")]) == 2
    assert "exists already" in capsys.readouterr().err and (tmp_path / "out.yaml").read_text() == "mine"


def test_bounds_are_relaxed_as_far_as_the_table_needs(tmp_path):
    rows = [(f"a good film, number {n}", "1" if n % 25 else "0") for n in range(1500)] + [("", "1")] * 60
    file = write(tmp_path / "reviews.tsv", [("review", "label"), *rows])
    output = init(file, tmp_path / "out.yaml")
    loaded = config.load_config(str(tmp_path / "out.yaml"))
    assert 0.038 < loaded.data.max_rejected_fraction < 0.06
    assert 0 < loaded.gates.data.min_label_share < 0.04
    assert loaded.gates.data.max_label_share == 1 - loaded.gates.data.min_label_share
    assert "left out: empty_text 60" in output and "0 (60), 1 (1,500)" in output


def test_any_number_of_labels_makes_a_configuration(tmp_path):
    rows = [("review", "stars"), *reviews(300, ("1", "2", "10"))]
    init(write(tmp_path / "stars.tsv", rows), tmp_path / "out.yaml")
    data = config.load_config(str(tmp_path / "out.yaml")).data
    assert list(data.labels) == ["1", "2", "10"] and data.task == "classification"


def test_values_that_are_typos_are_no_labels(tmp_path):
    rows = [*reviews(400), ("one odd row", "nan"), ("another one", "O")]
    file = write(tmp_path / "reviews.tsv", [("review", "label"), *rows])
    assert "left out: bad_label 2" in init(file, tmp_path / "out.yaml")
    assert dict(config.load_config(str(tmp_path / "out.yaml")).data.labels) == {"0": "0", "1": "1"}


def test_a_hostile_name_stays_in_its_comment(tmp_path):
    hostile = "label\n]: evil: {\u2028\x1b[31m #"
    rows = [(*row, str(n % 3)) for n, row in enumerate(reviews(200))]
    quoted = write(tmp_path / "reviews.tsv", [("review", "stars", hostile.replace("\n", "")), *rows])
    init(quoted, tmp_path / "out.yaml")
    assert config.load_config(str(tmp_path / "out.yaml")).data.label == "stars"


@pytest.mark.parametrize(
    "values, order",
    [
        (("pos", "neg"), ["neg", "pos"]),
        (("긍정", "부정"), ["부정", "긍정"]),
        (("1", "-1"), ["-1", "1"]),
        (("10", "9"), ["9", "10"]),
        (("unhappy", "happy"), ["unhappy", "happy"]),
    ],
)
def test_the_negative_class_comes_first(values, order):
    rows = [list(row) for row in reviews(200, values)]
    seen = table.Table("f", "utf-8", "\t", "minimal", ("text", "label"), rows, collections.Counter(), True)
    assert columns.frequent_labels(columns.describe(seen)[1]) == order


@pytest.mark.parametrize(
    "file, name",
    [
        ("ratings_train.tsv.gz", "ratings"),
        ("/a/b/My Reviews (2).csv", "my-reviews-2"),
        ("리뷰.txt", "reviews"),
        ("reviews", "reviews"),
        ("-_-.tsv", "reviews"),
    ],
)
def test_a_run_is_named_after_its_file(file, name):
    assert starter.run_name(file) == name


@pytest.mark.parametrize(
    "names",
    [("question", "sentence"), ("sentence1", "sentence2"), ("premise", "hypothesis"), ("#1 String", "#2 String")],
)
def test_two_columns_named_like_a_pair_are_one(tmp_path, names):
    rows = [(f"{text} or not", text, label) for text, label in reviews(200)]
    init(write(tmp_path / "t.tsv", [(*names, "label"), *rows]), tmp_path / "t.yaml")
    loaded = config.load_config(str(tmp_path / "t.yaml"))
    assert loaded.data.texts == names and loaded.data.id is None
    assert executor.make_plan(loaded.data).ranges


@pytest.mark.parametrize(
    "names", [("title", "review"), ("sentence", "question"), ("text1", "text3"), ("note", "note2")]
)
def test_other_columns_are_not_a_pair(tmp_path, names):
    rows = [(text, f"{text} or not", label) for text, label in reviews(200)]
    init(write(tmp_path / "t.tsv", [(*names, "label"), *rows]), tmp_path / "t.yaml")
    assert config.load_config(str(tmp_path / "t.yaml")).data.texts == (names[1],)


def test_the_first_columns_of_a_table_without_a_header_are_not_a_pair(tmp_path):
    rows = [(text, f"{text} or not", label) for text, label in reviews(200)]
    init(write(tmp_path / "t.tsv", rows), tmp_path / "t.yaml")
    assert config.load_config(str(tmp_path / "t.yaml")).data.texts == ("text",)
