"""Files in other forms: compressed, wide codecs, JSON Lines, Parquet; or refused with the setting that reads them."""

import bz2
import gzip
import io
import json
import lzma
import os
import subprocess
import sys
import zipfile

import pyarrow
import pyarrow.parquet
import pytest
import zstandard

from components.tsv_example_gen import file_head, parse, reader, sources
from core.config import DataConfig
from core.errors import UserError
from schema.task import make_task

ROWS = [("1", "good film", "1"), ("2", "first\nsecond", "0"), ("3", "좋아요\u2028\x85", "1")]
TABLE = b'id\tdocument\tlabel\n1\tgood film\t1\n2\t"first\nsecond"\t0\n3\t' + ROWS[2][1].encode() + b"\t1\n"
PARSED = [parse.Row(i, (text,), int(label)) for i, text, label in ROWS]


def read(path, range_bytes=10, **fields):
    data = DataConfig(train=str(path), **fields)
    task = make_task((data.text,), data.labels)
    source = sources.SourceFile("train", str(path), str(path))
    head = file_head.read_head(source, data)
    file_head.check_columns(source, head, data, task)
    layout = parse.make_layout(head.columns, data, task, head.keys)
    _, ranges = reader.survey(source, head, data, task, range_bytes)
    return [parse.parse_row(r.content, layout, task) for part in ranges for r in reader.read_records(part, data, task)]


def write(path, content):
    path.write_bytes(content)
    return path


def zipped(names):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in names:
            archive.writestr(name, TABLE)
    return stream.getvalue()


COMPRESSED = {
    "gz": gzip.compress(TABLE[:50]) + gzip.compress(TABLE[50:]),
    "bz2": bz2.compress(TABLE),
    "xz": lzma.compress(TABLE),
    "zst": zstandard.compress(TABLE[:50]) + zstandard.compress(TABLE[50:]),
    "zip": zipped(["reviews/", "reviews/reviews.tsv", "__MACOSX/reviews.tsv"]),
}


@pytest.mark.parametrize("kind", COMPRESSED)
@pytest.mark.parametrize("name", ["x.tsv.{}", "x.tsv"])
def test_a_compressed_file_is_read_whatever_its_name(tmp_path, kind, name):
    assert read(write(tmp_path / name.format(kind), COMPRESSED[kind])) == PARSED


@pytest.mark.parametrize("kind", COMPRESSED)
def test_a_cut_compressed_file_is_named(tmp_path, kind):
    path = write(tmp_path / "x", COMPRESSED[kind][:-5])
    with pytest.raises(UserError, match=f"data.train = {path}: (is truncated|can't be read: .*zip)"):
        read(path)


def test_a_plain_file_may_have_the_name_of_a_compressed_one(tmp_path):
    assert read(write(tmp_path / "x.tsv.gz", TABLE)) == PARSED


@pytest.mark.parametrize(
    "names, message",
    [
        (["a.tsv", "b.tsv"], "a zip archive of 2 files"),
        (["[Content_Types].xml", "xl/workbook.xml"], "an Excel workbook; save it"),
    ],
)
def test_an_archive_of_other_files_is_named(tmp_path, names, message):
    with pytest.raises(UserError, match=message):
        read(write(tmp_path / "x.zip", zipped(names)))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_wide_codecs(tmp_path, encoding, end):
    text = "\ufeff" * (encoding[-3] == "-" and len(encoding) > 6) + TABLE.decode()
    lines = text.replace('"first\nsecond"', '"first second"').replace("\n", end)
    path = write(tmp_path / "x.txt", lines.encode(encoding))
    assert [row.texts[0] for row in read(path, encoding=encoding)] == ["good film", "first second", ROWS[2][1]]


def test_damage_in_a_wide_codec_is_rejected_or_ends_the_file(tmp_path):
    lone = "id\tdocument\tlabel\n1\tbad \ud800 end\t1\n2\tgood\t0\n3\tgood\t1".encode("utf-16", "surrogatepass")
    outcomes = read(write(tmp_path / "x.txt", lone + b"\0"), encoding="utf-16")
    assert [getattr(outcome, "reason", "row") for outcome in outcomes] == ["undecodable", "row", "undecodable"]


OBJECTS = [
    {"id": 1, "document": "good\nfilm", "label": 1, "extra": [1]},
    {"label": "0", "document": 'a "quoted"\ttext', "id": "2"},
    {"id": 3, "document": None, "label": 1},
    {"id": 4, "document": "nul \0", "label": 1},
    {"id": 5, "document": "lone \ud800", "label": 1},
    {"id": 6, "document": "no label"},
]
JSON_OUTCOMES = [
    parse.Row("1", ("good\nfilm",), 1),
    parse.Row("2", ('a "quoted"\ttext',), 0),
    "empty_text",
    "control_character",
    "undecodable",
    "bad_label",
]


def outcomes(rows):
    return [row if isinstance(row, parse.Row) else row.reason for row in rows]


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("fields", [{}, {"format": "jsonl"}])
def test_json_lines(tmp_path, mark, fields):
    lines = [json.dumps(each).encode() for each in OBJECTS] + [b"[1]", b"{", b'"text"', b""]
    path = write(tmp_path / "x", mark + b"\n".join(lines) + b"\n\n")
    assert outcomes(read(path, **fields)) == [*JSON_OUTCOMES, *["bad_json"] * 3, "blank_line", "blank_line"]


def test_parquet(tmp_path):
    table = pyarrow.table({"document": [row[1] for row in ROWS], "label": [1, 0, None], "id": [1, 2, 3]})
    for name in ("a.parquet", "b"):
        pyarrow.parquet.write_table(table, tmp_path / name, row_group_size=2)
        assert outcomes(read(tmp_path / name)) == [*PARSED[:2], "bad_label"]


def test_comments_and_lines_before_the_header(tmp_path):
    start, *rows = TABLE.splitlines(keepends=True)
    content = b'Title "\n\n' + b"# a comment\n" + start + b"".join(rows[:1]) + b'# "open\n' + b"".join(rows[1:])
    quoted = b'4\t"\n# in quotes"\t1\n'
    for range_bytes in (1, 10, 1000):
        path = write(tmp_path / "x.tsv", content + quoted)
        read_rows = read(path, range_bytes, skip_lines=2, comment="#")
        assert read_rows == [*PARSED, parse.Row("4", ("\n# in quotes",), 1)]


def test_an_escaped_quote(tmp_path):
    path = write(tmp_path / "x.csv", b'document,label\n"said \\"no\\", twice",1\n"a ""b""\n\\\\",0\n')
    rows = read(path, id=None, delimiter=",", escape="\\")
    assert [row.texts[0] for row in rows] == ['said "no", twice', 'a "b"\n\\']


@pytest.mark.parametrize("delimiter", [",", ";", "|", "\x01"])
def test_delimiters(tmp_path, delimiter):
    path = write(tmp_path / "x.csv", TABLE.replace(b"\t", delimiter.encode()))
    assert read(path, delimiter=delimiter) == PARSED


def test_blanks_around_the_names_of_a_header(tmp_path):
    assert read(write(tmp_path / "x.tsv", TABLE.replace(b"\tdocument\t", b" \t document\t "))) == PARSED


def test_mixed_line_ends_and_carriage_returns(tmp_path):
    path = write(tmp_path / "x.tsv", b'document\tlabel\r\na\t1\nb\t0\r\n"c\rd\r\ne"\t1\r\nf\rg\t1\n')
    assert outcomes(read(path, id=None)) == [
        parse.Row("", ("a",), 1), parse.Row("", ("b",), 0), parse.Row("", ("c\rd\r\ne",), 1), "control_character",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "content, fields, message",
    [
        (b"id;document;label\n1;a;1\n2;b;0\n", {}, "no tab but ';': set data.delimiter=semicolon"),
        (TABLE, {"delimiter": ","}, r"no comma but '\\t': set data.delimiter=tab"),
        (b"<!DOCTYPE html>\n<html>", {}, "is a web page or XML"),
        (b'[{"id": 1},\n{"id": 2}]', {}, "is one JSON array; write one object a line"),
        (b'[\n  {"id": 1},\n{"id": 2}]', {}, "is one JSON array"),
        (b'{"id": 1}\n', {"format": "tsv"}, "has a JSON object in each line; set data.format=jsonl"),
        (b"id\tdocument\tlabel\n", {"format": "jsonl"}, "first line is not a JSON object; set data.format=tsv"),
        (TABLE, {"format": "parquet"}, "is not a Parquet file; set data.format=auto"),
        (b"PAR1....", {"format": "tsv"}, "is a Parquet file; set data.format=auto"),
        (b"PAR1 and then nothing", {}, "can't be read: .*Parquet"),
        (TABLE.replace(b"\n", b"\r"), {}, "ends its lines with carriage returns"),
        (TABLE.decode().encode("utf-16"), {}, "is UTF-16, as its first bytes show; set data.encoding=utf-16"),
        (
            b"ham\tgood film\nspam\tbad film\n",
            {"labels": {"ham": "ham", "spam": "spam"}},
            r"data.header=\[label,document\], and data.id=null",
        ),
        (b"1\tgood film\n0\tbad film\n", {}, r"data.header=\[label,document\], and data.id=null"),
        (b"7\tgood film\t1\n8\tbad film\t0\n", {}, r"data.header=\[column_1,document,label\]"),
        (
            b"1\tgood film\n0\tbad film\n",
            {"header": ["document", "label"], "id": None},
            r"the labels are in column 1, which data.header calls 'document'; set data.header=\[label,document\]",
        ),
        (b"\x7fELF\x02\x01\0\0\n\x01\n", {}, "is a binary file"),
    ],
)
def test_a_file_of_another_form_is_named_with_the_setting_that_reads_it(tmp_path, content, fields, message):
    with pytest.raises(UserError, match=message):
        read(write(tmp_path / "x", content), **fields)


def test_a_run_names_the_file_before_tensorflow_is_imported(tmp_path):
    path = write(tmp_path / "x.csv", TABLE.replace(b"\t", b","))
    code = (
        "import sys, local_runner\n"
        "from local import terminal\n"
        "show = terminal.show_outcome\n"
        "def check(*arguments):\n"
        "    assert not {'tensorflow', 'tfx', 'apache_beam', 'pandas', 'pyarrow'} & sys.modules.keys()\n"
        "    show(*arguments)\n"
        "terminal.show_outcome = check\n"
        f"status = local_runner.main(['run', '--set', 'data.train={path}', '--root', '{tmp_path}'])\n"
        "sys.exit(status)"
    )
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"file:{tmp_path}/mlflow"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert (tmp_path / "mlflow").exists() or "this run was not logged there" in done.stdout, "MLflow gets this run too"
    assert done.returncode == 2 and "set data.delimiter=comma" in " ".join(done.stdout.split()), done.stderr
    (written,) = tmp_path.glob("*/history/*/summary.json")
    assert json.loads(written.read_text())["status"] == "stopped"
