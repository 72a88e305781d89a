"""Records: what Python's csv reads in strict mode is read the same, in ranges of any size; damage costs one line."""

import csv
import io

import hypothesis
import pytest
from hypothesis import strategies as st

from components.tsv_example_gen import file_head, parse, reader, records, sources
from components.tsv_example_gen.dialect import make_dialect
from core.config import DataConfig
from schema.task import make_task

TASK = make_task(("document",), {"0": "negative", "1": "positive"})
HEADER = b"id\tdocument\tlabel\n"
PROPERTY = hypothesis.settings(max_examples=300, deadline=None)

# Few different characters, so that quotes, delimiters and line ends meet often.
CELLS = st.text(st.sampled_from(list('ab"\t,;|\n\r\\가\x85\u2028 ')), max_size=8)
TABLES = st.lists(st.lists(CELLS, min_size=1, max_size=4), max_size=12)


@st.composite
def forms(draw):
    """Delimiter, escape character and codec."""
    return {
        "delimiter": draw(st.sampled_from("\t,;|")),
        "escape": draw(st.sampled_from([None, "\\"])),
        "encoding": draw(st.sampled_from(["utf-8", "cp949", "shift_jis", "utf-7", "iso2022_jp"])),
    }


def csv_form(form):
    """The same form for Python's csv."""
    return {"delimiter": form["delimiter"], "escapechar": form["escape"]}


def read_file(path, data, range_bytes, columns=("any",)):
    """The records of all ranges of a file that are as large as `range_bytes` allows, and the number of ranges."""
    file = sources.SourceFile("train", str(path), str(path))
    # Names that the configuration does not know: no line is a row by itself.
    head = file_head.FileHead(columns, 0, 1, path.stat().st_size > 0)
    _, ranges = reader.survey(file, head, data, TASK, range_bytes)
    return [record for part in ranges for record in reader.read_records(part, data, TASK)], len(ranges)


def config(**fields):
    return DataConfig(train="x", id=None, **{"header": ("document", "label"), **fields})


def check_as_csv(path, text, form):
    """Compares a file with what csv reads of it, in ranges of every size; csv must be able to read it."""
    data = config(**form)
    path.write_bytes(text.encode(form["encoding"]))
    # With this newline, `\r` does not end a line.
    expected = list(csv.reader(io.StringIO(text, newline="\n"), strict=True, **csv_form(form)))
    whole, _ = read_file(path, data, 1 << 20)
    fields = [parse.parse_fields(record.content, make_dialect(data)) for record in whole]
    assert [one if isinstance(one, list) else [] for one in fields] == expected
    for range_bytes in range(1, len(path.read_bytes()) + 1):
        assert read_file(path, data, range_bytes)[0] == whole
    check_lines(path.read_bytes(), whole)


def check_lines(content, whole):
    """Every line belongs to one record, whose number and offset are right."""
    lines = content.removesuffix(b"\n").split(b"\n") if content else []
    assert b"\n".join(record.content for record in whole) == b"\n".join(lines)
    assert sum(record.lines for record in whole) == len(lines)
    for record in whole:
        assert content[record.offset :].startswith(record.content)
        assert content[: record.offset].count(b"\n") + 1 == record.number


@PROPERTY
@hypothesis.given(TABLES, forms(), st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]), st.sampled_from(["\n", "\r\n"]))
def test_a_table_that_csv_writes_is_read_as_csv_reads_it(tmp_path_factory, table, form, quoting, end):
    stream = io.StringIO()
    try:
        csv.writer(stream, lineterminator=end, quoting=quoting, **csv_form(form)).writerows(table)
        stream.getvalue().encode(form["encoding"])
        list(csv.reader(io.StringIO(stream.getvalue(), newline="\n"), strict=True, **csv_form(form)))
    except (csv.Error, UnicodeError):  # csv writes some escapes that it can't read.
        hypothesis.reject()
    check_as_csv(tmp_path_factory.mktemp("csv") / "x.tsv", stream.getvalue(), form)


@st.composite
def texts(draw):
    """A text that csv may read, as no writer would write it, and its form."""
    form = draw(forms())
    escaped = [form["escape"] + each for each in 'a"\n,\\'] if form["escape"] else []
    inside = st.lists(st.sampled_from(["a", '""', "\n", "\r", "\r\n", ",", "가", *escaped]), max_size=6).map("".join)
    plain = st.lists(st.sampled_from(["a", '"', '""', " ", "가", *escaped]), max_size=4).map("".join)
    field = st.one_of(inside.map('"{}"'.format), plain, st.just(' "a"'))
    line = st.lists(field, min_size=1, max_size=3).map(form["delimiter"].join)
    lines = draw(st.lists(st.tuples(line, st.sampled_from(["\n", "\r\n", "\n\n"])), max_size=8))
    return "".join(one + end for one, end in lines).removesuffix("\n" * draw(st.booleans())), form


@hypothesis.settings(PROPERTY, suppress_health_check=[hypothesis.HealthCheck.filter_too_much])
@hypothesis.given(texts())
def test_any_text_that_csv_reads_is_read_as_csv_reads_it(tmp_path_factory, drawn):
    text, form = drawn
    try:
        text.encode(form["encoding"])
        list(csv.reader(io.StringIO(text, newline="\n"), strict=True, **csv_form(form)))
    except (csv.Error, UnicodeError):
        hypothesis.reject()
    check_as_csv(tmp_path_factory.mktemp("csv") / "x.tsv", text, form)


@PROPERTY
@hypothesis.given(st.text(st.sampled_from(list('aa"",,\n\n\r\\1')), max_size=60), forms(), st.booleans())
def test_any_text_has_the_same_records_in_ranges_of_any_size(tmp_path_factory, text, form, labelled):
    path, data = tmp_path_factory.mktemp("any") / "x.tsv", config(**form)
    path.write_bytes(text.encode(form["encoding"]))
    columns = ("document", "label") if labelled else ("any",)
    whole, _ = read_file(path, data, 1 << 20, columns)
    check_lines(path.read_bytes(), whole)
    for range_bytes in range(1, len(path.read_bytes()) + 1):
        assert read_file(path, data, range_bytes, columns)[0] == whole


def records_of(path, body, **fields):
    path.write_bytes(HEADER + body)
    data = DataConfig(train=str(path), **fields)
    file = sources.SourceFile("train", str(path), str(path))
    _, ranges = reader.survey(file, file_head.read_head(file, data), data, TASK, 7)
    return [(r.number, r.content) for part in ranges for r in reader.read_records(part, data, TASK)]


GOOD = [b"%d\tgood %d\t1" % (n, n) for n in range(5, 25)]


@pytest.mark.parametrize(
    "lines, opened",
    [
        ([b'3\t"no end\t1', *GOOD], [0]),  # To the end of the file.
        ([b'3\t"no end\t1', b'4\t"quoted\ttext"\t0', *GOOD], [0]),
        ([b'3\t"no end\t1', b'4\t"said ""no"""\t0', *GOOD], [0]),
        ([b'3\t"no end\t1', b'4\t5" disc\t0', *GOOD], [0]),
        ([b'3\t"no end\t1', *GOOD[:4], b'4\tsize 5"\t0', *GOOD], [0]),  # A stray quote closes it.
        ([b'3\t"no end\t1', b'4\t"no end\t1', b'5\t"no end either\t0', *GOOD], [0, 1, 2]),
        ([b'"', *GOOD], [0]),
        ([*GOOD, b'3\t"no end'], [len(GOOD)]),
        ([b'3\t"early"end\t1', *GOOD], [0]),
        ([b'3\t"', b"5" * 2000, b'6"\t1', *GOOD], [0]),  # A line in it is too long.
        ([b'3\t"', *[b"x" * 900] * 200, b'6"\t1', *GOOD], [0]),  # Longer than csv reads.
    ],
)
def test_an_open_quote_damages_one_line(tmp_path, lines, opened):
    read = records_of(
        tmp_path / "x.tsv", b"\n".join(lines) + b"\n", max_line_bytes=1024 if len(lines) < 100 else 1 << 20
    )
    assert [number for number, _ in read] == list(range(2, 2 + len(lines)))
    layout = parse.make_layout(("id", "document", "label"), DataConfig(train="x"), TASK)
    outcomes = [parse.parse_row(content, layout, TASK) for _, content in read]
    assert all(outcomes[line] == parse.Rejection("bad_quoting", outcomes[line].detail) for line in opened)
    assert [outcome.id for outcome in outcomes if isinstance(outcome, parse.Row)][-len(GOOD) :] == [
        line.split(b"\t")[0].decode() for line in lines if line in GOOD
    ][-len(GOOD) :]


@pytest.mark.parametrize(
    "record",
    [
        b'3\t"first\nsecond"\t1',
        b'3\t"first\r\nsecond\r\n"\t1\r',
        b'"3\n"\t"a ""quoted"" word\n\n\nend"\t1',
        b'3\t"1\tgood\n2\tbad"\t1',
        b'3\t"\n"\t1',
    ],
)
def test_a_record_spans_lines_inside_quotes(tmp_path, record):
    read = records_of(tmp_path / "x.tsv", GOOD[0] + b"\n" + record + b"\n" + GOOD[1])
    assert read == [(2, GOOD[0]), (3, record), (4 + record.count(b"\n"), GOOD[1])]


def test_without_quoting_a_line_is_a_record(tmp_path):
    assert records_of(tmp_path / "x.tsv", b'1\t"a\n2\tb"\t1\n', quoting="none") == [(2, b'1\t"a'), (3, b'2\tb"\t1')]


def test_a_record_of_several_lines_is_limited(tmp_path):
    text = b"x" * (records.MAX_SPAN_BYTES // 2)
    fits, long = (b'1\t"%b\n%b"\t1' % (text, text[:-size]) for size in (20, 1))
    assert records_of(tmp_path / "x.tsv", fits) == [(2, fits)]
    assert [number for number, _ in records_of(tmp_path / "x.tsv", long)] == [2, 3]
