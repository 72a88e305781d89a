"""The shared cases: small inputs of kinds that people have: read as described, or refused with the reason."""

import pathlib

import pytest

from components.tsv_example_gen import file_head, parse, reader, sources
from core.config import DataConfig
from core.errors import UserError
from schema.task import make_task

CASES = pathlib.Path(__file__).resolve().parents[3] / "shared" / "cases"

pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="the shared cases are not beside this repository")


def read_all(file, **fields):
    """Rows and reasons of rejections, in the order of the file, after the check that comes before everything else."""
    data = DataConfig(train=str(file), **fields)
    task = make_task((data.text,), data.labels)
    file_head.check_local(data, task)
    source = sources.SourceFile("train", str(file), str(file))
    head = file_head.read_head(source, data)
    layout = parse.make_layout(head.columns, data, task, head.keys)
    _, ranges = reader.survey(source, head, data, task, 8)
    outcomes = [
        parse.parse_row(r.content, layout, task) for part in ranges for r in reader.read_records(part, data, task)
    ]
    return [(o.texts[0], o.label) if isinstance(o, parse.Row) else o.reason for o in outcomes]


REVIEWS = [("good film", 1), ("I liked it at first.\nThen it became terrible", 0), ("bad film", 0)]


def test_a_quoted_review_with_a_line_break_is_one_row():
    assert read_all(CASES / "text_first_multiline.tsv", text="review", id=None) == REVIEWS


def test_a_quoted_review_with_a_line_break_after_its_id():
    rows = read_all(CASES / "multiline_quoted.tsv")
    assert rows == [("good film", 1), ("first line\nsecond line", 0), ("bad film", 0)]


def test_a_file_without_a_header():
    with pytest.raises(UserError, match=r"set data.header .* data.header=\[review,label\], and data.id=null"):
        read_all(CASES / "no_header.tsv", text="review", id=None)
    rows = read_all(CASES / "no_header.tsv", text="review", id=None, header=["review", "label"])
    assert rows == [("good film", 1), ("bad film", 0)]


def test_commas():
    with pytest.raises(UserError, match="first line has no tab but ',': set data.delimiter=comma"):
        read_all(CASES / "comma.csv")
    assert read_all(CASES / "comma.csv", delimiter="comma") == [("good, really", 1), ("bad", 0)]


def test_blanks_between_columns():
    with pytest.raises(UserError, match="the first line has no tab: if blanks separate the columns"):
        read_all(CASES / "space_separated.tsv")


def test_utf16():
    with pytest.raises(UserError, match="is UTF-16, .* set data.encoding=utf-16"):
        read_all(CASES / "utf16.tsv")
    assert read_all(CASES / "utf16.tsv", encoding="utf-16") == [("좋아요", 1), ("별로", 0)]


def test_another_codec():
    with pytest.raises(UserError, match="set the file's encoding .often cp949"):
        read_all(CASES / "cp949_ext.tsv")
    assert [label for _, label in read_all(CASES / "cp949_ext.tsv", encoding="cp949")] == [1, 0]
