"""TsvExampleGen: parsing, finding and reading files, splits, and that no line is lost."""

import csv
import gzip
import http.server
import io
import json
import os
import threading

import apache_beam as beam
import hypothesis
import numpy as np
import pydantic
import pytest
import tensorflow as tf
from hypothesis import strategies as st
from tensorflow_data_validation.statistics import stats_options
from tfx import v1 as tfx
from tfx.components.statistics_gen import executor as statistics_gen
from tfx.components.statistics_gen import stats_artifact_utils
from tfx.orchestration.portable import data_types
from tfx.types import artifact_utils, standard_artifacts

from artifacts.examples import Ingest, read_ingest, read_rejected, read_rows, write_ingest
from components.beam_engine import Engine, read_engine
from components.tsv_example_gen import driver, executor, file_head, parse, reader, sources, split
from components.tsv_example_gen.component import TsvExampleGen
from components.tsv_example_gen.lines import KEPT_BYTES
from core.config import DataConfig
from core.errors import UserError
from schema import features, rejections
from schema.hashing import text_hash
from schema.task import make_task

TASK = make_task(("document",), {"0": "negative", "1": "positive"})
HEADER = b"id\tdocument\tlabel\n"
PROPERTY = hypothesis.settings(max_examples=60, deadline=None)


def config(train, test=None, **fields):
    return DataConfig(train=str(train), test=None if test is None else str(test), **fields)


def layout(**fields):
    return parse.make_layout(("id", "document", "label"), config("x", **fields), TASK)


def rows_file(path, count, start=0, line="{0}\ttext number {0}\t{1}\n"):
    """Writes `count` good rows with ids from `start` and alternating labels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(HEADER.decode() + "".join(line.format(i, i % 2) for i in range(start, start + count)))
    return path


def run(tmp_path, data, **properties):
    examples = standard_artifacts.Examples()
    examples.uri = str(tmp_path / "examples")
    executor.Executor().Do({}, {"examples": [examples]}, {"data": data.model_dump_json(), **properties})
    return examples


def read_split(uri, name):
    """Returns the sorted (id, text, label) of a split."""
    shards = tf.io.gfile.glob(os.path.join(uri, f"Split-{name}", "*"))
    rows = []
    for record in tf.data.TFRecordDataset(shards, "GZIP").as_numpy_iterator():
        feature = tf.train.Example.FromString(record).features.feature
        (record_id,), (text,) = feature["id"].bytes_list.value, feature["document"].bytes_list.value
        rows.append((record_id.decode(), text.decode(), *feature["label"].int64_list.value))
    return sorted(rows)


def read_all(uri):
    return {name: read_split(uri, name) for name in features.SPLITS}


# --- pairs ---


def pair_config(train, **fields):
    return config(train, text=("question", "sentence"), labels={"0": "n", "1": "p"}, **fields)


def test_a_pair_becomes_two_features_in_the_configured_order(tmp_path):
    path = tmp_path / "train.tsv"
    rows = [f"{i}\t{i % 2}\tsecond {i}\tfirst {i}\n" for i in range(200)]
    path.write_text("id\tlabel\tsentence\tquestion\n" + "".join(rows) + "x\t0\t \tfirst\nx\t0\tsecond\t\n")
    examples = run(tmp_path, pair_config(path, dev_fraction=0.2, test_fraction=0.2, max_rejected_fraction=1))
    seen = []
    for name in features.SPLITS:
        for ids, texts, labels in read_rows([os.path.join(examples.uri, f"Split-{name}", "*")], 64):
            seen += zip(ids, texts, labels.tolist(), strict=True)
    assert sorted(seen) == sorted(
        (str(i).encode(), (f"first {i}".encode(), f"second {i}".encode()), i % 2) for i in range(200)
    )
    assert read_ingest(examples.uri).rows["train"]["rejected"] == {"empty_text": 2}


def test_the_split_of_a_pair_depends_on_both_texts():
    boundaries = split.make_boundaries(0.4, 0.3)
    for fixed in ([b"same", b"%d"], [b"%d", b"same"]):
        rows = [[part.replace(b"%d", str(i).encode()) for part in fixed] for i in range(100)]
        assert len({split.assign_split(row, boundaries) for row in rows}) == 3


@pytest.mark.parametrize("columns", [("question", "missing"), ("missing", "sentence")])
def test_a_missing_column_of_a_pair_is_named(tmp_path, columns):
    (tmp_path / "t.tsv").write_text("id\tquestion\tsentence\tlabel\n1\ta\tb\t0\n")
    with pytest.raises(UserError, match="data.text = 'missing': missing from the columns 'id', 'question'"):
        executor.make_plan(config(tmp_path / "t.tsv", text=columns))


# --- parse ---


@pytest.mark.parametrize(
    "line, text, label",
    [
        (b"7\tgood\t1", "good", 1),
        (b"7\tgood\t1\r", "good", 1),
        (b"7\tgood\t 1 ", "good", 1),
        (b"7\tgood\t0.0", "good", 0),
        ("7\t재미없다\t0".encode(), "재미없다", 0),
        (b'7\t"he said ""no"""\t0', 'he said "no"', 0),
        (b'7\t"a\ttab"\t0', "a\ttab", 0),
        (b'7\t5" disc\t0', '5" disc', 0),
        (b"7\t  kept as is \t0", "  kept as is ", 0),
        ("7\t\ufeffmark\t0".encode(), "\ufeffmark", 0),
    ],
)
def test_minimal_quoting_rows(line, text, label):
    assert parse.parse_row(line, layout(), TASK) == parse.Row("7", (text,), label)


@pytest.mark.parametrize(
    "line, reason",
    [
        (b"", "blank_line"),
        (b"\r", "blank_line"),
        (b"7\tgood", "wrong_column_count"),
        (b"7\tgood\t1\t", "wrong_column_count"),
        (b'7\t"no end\t1', "bad_quoting"),
        (b'7\t"an end"too early\t1', "bad_quoting"),
        (b"7\t\xb1\xdc\t1", "undecodable"),
        (b"7\t\t1", "empty_text"),
        ("7\t \u3000\t1".encode(), "empty_text"),
        (b'7\t""\t1', "empty_text"),
        (b"7\tgood\t2", "bad_label"),
        (b"7\tgood\t1 0", "bad_label"),
        (b"7\tgo\0od\t1", "control_character"),
        (b"7\tgo\rod\t1", "control_character"),
        (b"7\t" + b"x" * csv.field_size_limit() + b"\t1", "line_too_long"),
    ],
)
def test_minimal_quoting_rejections(line, reason):
    rejection = parse.parse_row(line, layout(), TASK)
    assert isinstance(rejection, parse.Rejection) and rejection.reason == reason
    assert f"`{reason}`" in rejections.__doc__


def test_without_quoting_a_quote_is_text():
    row = parse.parse_row(b'7\t"it""s\t1', layout(quoting="none"), TASK)
    assert row == parse.Row("7", ('"it""s',), 1)


def test_columns_are_found_by_name():
    reordered = parse.make_layout(("label", "x", "document"), config("x", id=None), TASK)
    assert parse.parse_row(b"1\tskip\tgood", reordered, TASK) == parse.Row("", ("good",), 1)


@pytest.mark.parametrize(
    "names, message",
    [(("id", "text", "label"), "data.text = 'document': missing"), (("id",) * 2, "missing|appears more than once")],
)
def test_missing_column_is_named(names, message):
    with pytest.raises(UserError, match=message):
        parse.make_layout(names, config("x"), TASK)


LINE_PIECES = st.lists(st.sampled_from([b"\t", b'"', b"\r", b"1", b"+", b"\xb1"]))


@PROPERTY
@hypothesis.given(
    line=st.one_of(st.binary(max_size=60), LINE_PIECES.map(b"".join)),
    quoting=st.sampled_from(["minimal", "none"]),
    encoding=st.sampled_from(["utf-8", "cp949", "latin-1", "utf-7", "iso2022_kr"]),
)
def test_any_bytes_are_a_row_or_a_rejection(line, quoting, encoding):
    outcome = parse.parse_row(line, layout(quoting=quoting, encoding=encoding), TASK)
    if isinstance(outcome, parse.Row):
        assert outcome.texts[0].strip() and outcome.label in (0, 1)
        executor.to_example(outcome, "file:0")
    else:
        assert f"`{outcome.reason}`" in rejections.__doc__


@PROPERTY
@hypothesis.given(st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0\n\r")))
def test_csv_round_trip(text):
    stream = io.StringIO()
    csv.writer(stream, delimiter="\t", lineterminator="").writerow(("7", text, "1"))
    outcome = parse.parse_row(stream.getvalue().encode(), layout(), TASK)
    if text.strip():
        assert outcome == parse.Row("7", (text,), 1)
    else:
        assert outcome.reason == "empty_text"


# --- split ---


@PROPERTY
@hypothesis.given(st.lists(st.binary(), min_size=1, max_size=30), st.randoms())
def test_split_depends_on_the_text_alone(texts, random):
    boundaries = split.make_boundaries(0.3, 0.3)
    before = {text: split.assign_split([text], boundaries) for text in texts}
    random.shuffle(texts)
    assert {text: split.assign_split([text], boundaries) for text in texts} == before


def test_split_is_the_same_on_every_machine():
    assert text_hash(["굿".encode()]) == 0x918397EBC0960F43
    assert split.sample_hash(0, "1", ["굿"], 1) == 0x97A1BB5E1B7BFEFC


def test_fractions_and_dev_unchanged_by_a_test_file():
    texts = [[str(i).encode()] for i in range(4000)]
    held_out = [split.assign_split(text, split.make_boundaries(0.1, 0.2)) for text in texts]
    with_test_file = [split.assign_split(text, split.make_boundaries(0.1, None)) for text in texts]
    # Five standard deviations of a binomial of 4,000.
    assert abs(held_out.count("dev") / 4000 - 0.1) < 0.024
    assert abs(held_out.count("test") / 4000 - 0.2) < 0.032
    assert "test" not in with_test_file
    assert [s == "dev" for s in held_out] == [s == "dev" for s in with_test_file]


def test_fractions_without_training_rows():
    with pytest.raises(UserError, match="data.dev_fraction = 0.6 and data.test_fraction = 0.4"):
        split.make_boundaries(0.6, 0.4)


@PROPERTY
@hypothesis.given(
    hashes=st.lists(st.integers(0, split.HASHES - 1), min_size=1, max_size=50),
    count=st.integers(1, 60),
    parts=st.integers(1, 7),
    random=st.randoms(),
)
def test_sample_is_the_smallest_in_any_order_and_any_parts(hashes, count, parts, random):
    expected = sorted(hashes)[:count]
    random.shuffle(hashes)
    pieces = [split.smallest(hashes[i::parts], count) for i in range(parts)]
    assert sorted(split.cut_to_smallest(pieces, count).tolist()) == expected


def test_smallest_over_several_chunks(monkeypatch):
    monkeypatch.setattr(split, "_CHUNK", 4)
    assert sorted(split.smallest(iter(range(100, 0, -1)), 3).tolist()) == [1, 2, 3]


@PROPERTY
@hypothesis.given(st.sets(st.text("ab1", max_size=4), min_size=1), st.integers(1, 20), st.integers(0, 3))
def test_sample_of_distinct_records_has_the_exact_size(ids, count, seed):
    hashes = [split.sample_hash(seed, record_id, ["same"], 1) for record_id in ids]
    threshold = split.sample_threshold(split.smallest(hashes, count), count)
    assert sum(h <= threshold for h in hashes) == min(count, len(ids))


# --- reader ---


def lines_of(path, data, range_bytes):
    file = sources.SourceFile("train", str(path), str(path))
    head = file_head.read_head(file, data)
    _, cut = reader.survey(file, head, data, TASK, range_bytes)
    return [record for part in cut for record in reader.read_records(part, data, TASK)]


FILE_PIECES = (b"\n", b"\r\n", b"\t", b'"', b"a", b"\xef\xbb\xbf", b"\xff", b"xyz" * 9)
FILE_BYTES = st.lists(st.sampled_from(FILE_PIECES), max_size=40).map(b"".join)


@PROPERTY
@hypothesis.given(body=FILE_BYTES, mark=st.booleans(), range_bytes=st.integers(1, 60), zipped=st.booleans())
def test_any_cut_gives_the_same_lines(tmp_path_factory, body, mark, range_bytes, zipped):
    # More good lines than damaged ones can follow, so that the file's encoding is accepted.
    start, body = b"\xef\xbb\xbf" * mark + b"id\tdocument\tlabel\r\n", b"1\tgood\t1\n" * 41 + body
    path = tmp_path_factory.mktemp("cut") / ("x.tsv.gz" if zipped else "x.tsv")
    path.write_bytes(gzip.compress(start + body) if zipped else start + body)
    expected = body.removesuffix(b"\n").split(b"\n")
    whole = lines_of(path, config(path, quoting="none"), 1 << 20)
    assert [line.content for line in whole] == expected
    assert [line.number for line in whole] == list(range(2, 2 + len(expected)))
    assert all((start + body)[line.offset :].startswith(line.content) for line in whole)
    lines = lines_of(path, config(path, quoting="none"), range_bytes)
    assert lines == whole


@pytest.mark.parametrize("range_bytes", [700, 1 << 20])
def test_too_long_line_is_cut_and_the_next_line_is_read(tmp_path, range_bytes):
    path = tmp_path / "x.tsv"
    path.write_bytes(HEADER + b"1\t" + b"y" * 200_000 + b"\t1\n2\tgood\t0\n")
    long, good = lines_of(path, config(path, max_line_bytes=2000), range_bytes)
    assert long.too_long and len(long.content) == KEPT_BYTES and long.offset == len(HEADER)
    assert (good.content, good.too_long) == (b"2\tgood\t0", False)


def test_a_last_line_of_the_largest_size_is_read(tmp_path):
    path = tmp_path / "x.tsv"
    for size, too_long in ((2000, False), (2001, True)):
        path.write_bytes(HEADER + b"1\t" + b"y" * (size - 4) + b"\t1")
        (line,) = lines_of(path, config(path, max_line_bytes=2000), 1 << 20)
        assert line.too_long is too_long


def test_line_of_exactly_the_limit_is_read(tmp_path):
    path = tmp_path / "x.tsv"
    path.write_bytes(HEADER + b"y" * 1024 + b"\n" + b"y" * 1025 + b"\n")
    assert [line.too_long for line in lines_of(path, config(path, max_line_bytes=1024), 1 << 20)] == [False, True]


# --- sources ---


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "is empty: no rows after the header"),
        (b"\xef\xbb\xbf", "is empty"),
        (HEADER, "is empty"),
        (b"id\ttext\tlabel\n1\tx\t1\n", "data.text = 'document': missing from the columns 'id', 'text', 'label'"),
        (b"number\tdocument\tlabel\n1\tx\t1\n", "data.id = 'id': missing .* set data.id=null"),
        (b"id\tdocument\tdocument\tlabel\n1\tx\tx\t1\n", "data.text = 'document': appears more than once"),
        (b"\x7fELF\x02\x01\0\0\n\x01\n", "is a binary file"),
        (b"\x89PNG\r\n\x1a\n\x00", "first line can't be decoded with data.encoding = utf-8: a binary file"),
        (
            HEADER + "1\t재미없다\t0\n2\t최고\t1\n".encode("cp949"),
            "2 of the first 3 lines can't be decoded",
        ),
        (b'id\t"document\tlabel\n1\tx\t1\n', "first line is not a valid header .bad_quoting"),
    ],
)
def test_unusable_file_is_rejected_before_anything_starts(tmp_path, content, message):
    path = tmp_path / "x.tsv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        executor.make_plan(config(path))
    assert f"data.train = {path}" in str(caught.value)


def test_few_damaged_lines_are_accepted(tmp_path):
    path = rows_file(tmp_path / "x.tsv", 5)
    path.write_bytes(path.read_bytes() + b"9\t\xff\t1\n")
    assert executor.make_plan(config(path)).ranges


@pytest.mark.parametrize(
    "location, message",
    [
        ("no.tsv", "No such file or directory"),
        ("", "is a folder; set a file, or a glob such as .*/\\*.tsv"),
        ("no-*.tsv", "no file matches"),
        ("no-{SPAN}.tsv", "no file matches"),
    ],
)
def test_location_without_a_file(tmp_path, location, message):
    with pytest.raises(UserError, match=message) as caught:
        sources.resolve(config(rows_file(tmp_path / "x.tsv", 1), test=tmp_path / location))
    assert f"data.test = {tmp_path / location}" in str(caught.value)


def test_configured_span_has_priority_over_a_larger_one(tmp_path):
    for span in (6, 7, 12):
        rows_file(tmp_path / f"a-{span}.tsv", 1)
    resolved = sources.resolve(config(tmp_path / "a-{SPAN}.tsv", span=7))
    assert ([os.path.basename(file.path) for file in resolved.train], resolved.span) == (["a-7.tsv"], 7)
    with pytest.raises(UserError, match="no file matches span 8"):
        sources.resolve(config(tmp_path / "a-{SPAN}.tsv", span=8))


def test_span_without_a_placeholder():
    with pytest.raises(pydantic.ValidationError, match="a.tsv contains no {SPAN}"):
        config("a.tsv", span=7)


@pytest.mark.skipif(not os.path.exists("/proc/self/mem"), reason="needs Linux: a file that opens and can't be read")
def test_unreadable_file():
    with pytest.raises(UserError, match="data.train = /proc/self/mem: can't be read: Input/output error"):
        executor.make_plan(config("/proc/self/mem"))


@pytest.mark.parametrize("kept", [-8, 30])
def test_truncated_gzip(tmp_path, kept):
    path = tmp_path / "x.tsv.gz"
    path.write_bytes(gzip.compress(rows_file(tmp_path / "x.tsv", 50).read_bytes())[:kept])
    with pytest.raises(UserError, match=f"data.train = {path}: is truncated"):
        executor.make_plan(config(path))


def test_damaged_gzip(tmp_path):
    path = tmp_path / "x.tsv.gz"
    path.write_bytes(gzip.compress(HEADER)[:10] + b"\xff" * 20)
    with pytest.raises(UserError, match="can't be read: Error -3 while decompressing"):
        executor.make_plan(config(path))


@pytest.mark.parametrize(
    "names, location, chosen, span",
    [
        (["a-1.tsv", "a-2.tsv"], "a-*.tsv", ["a-1.tsv", "a-2.tsv"], None),
        (["a-9.tsv", "a-10.tsv"], "a-{SPAN}.tsv", ["a-10.tsv"], 10),
        (["a-07.tsv", "a-7.tsv", "a-6.tsv"], "a-{SPAN}.tsv", ["a-07.tsv", "a-7.tsv"], 7),
        (["d3/x.tsv", "d12/x.tsv", "d12/y.tsv"], "d{SPAN}/*.tsv", ["d12/x.tsv", "d12/y.tsv"], 12),
        (["day12.tsv", "day9.tsv", "day.tsv"], "*{SPAN}.tsv", ["day12.tsv"], 12),
        (["3/a-3.tsv", "4/a-3.tsv"], "{SPAN}/a-{SPAN}.tsv", ["3/a-3.tsv"], 3),
        (["a[1].tsv", "a1.tsv"], "a[1].tsv", ["a[1].tsv"], None),
        (["a1.tsv", "b1.tsv", "c2.tsv"], "[ab]?.tsv", ["a1.tsv", "b1.tsv"], None),
    ],
)
def test_location_resolves_to_files(tmp_path, names, location, chosen, span):
    for name in names:
        rows_file(tmp_path / name, 1)
    resolved = sources.resolve(config(tmp_path / location))
    assert [os.path.relpath(file.path, tmp_path) for file in resolved.train] == chosen
    assert resolved.span == span


def test_empty_part_of_a_glob_is_skipped_and_parts_have_their_own_headers(tmp_path):
    (tmp_path / "a.tsv").write_bytes(b"")
    (tmp_path / "b.tsv").write_bytes(b"label\tdocument\tid\n1\tgood\t7\n")
    rows_file(tmp_path / "c.tsv", 1)
    ranges = executor.make_plan(config(tmp_path / "*.tsv")).ranges
    assert [os.path.basename(r.file.path) for r in ranges] == ["b.tsv", "c.tsv"]
    assert [r.columns.index("label") for r in ranges] == [0, 2]


def test_fingerprint_is_of_the_content(tmp_path):
    def fingerprint(path, test=None):
        return executor.make_plan(config(path, test)).fingerprint

    first = rows_file(tmp_path / "a.tsv", 3)
    same = rows_file(tmp_path / "b.tsv", 3)
    os.utime(same, (1, 1))
    zipped = tmp_path / "c.tsv.gz"
    zipped.write_bytes(gzip.compress(first.read_bytes()))
    other = rows_file(tmp_path / "d.tsv", 4)
    assert fingerprint(first) == fingerprint(same) == fingerprint(zipped) != fingerprint(other)
    assert fingerprint(first, other) != fingerprint(other, first)
    assert fingerprint(first, same) != fingerprint(first)


def test_sha256_of_a_local_file(tmp_path):
    path = rows_file(tmp_path / "a.tsv", 3)
    right = "6" * 64
    with pytest.raises(UserError, match=f"its SHA-256 is .*, not data.train_sha256 = {right}"):
        sources.resolve(config(path, train_sha256=right))
    rows_file(tmp_path / "b.tsv", 3)
    with pytest.raises(UserError, match="requires exactly one file, but 2 match"):
        sources.resolve(config(tmp_path / "*.tsv", train_sha256=right))


def test_file_on_a_remote_file_system(tmp_path):
    content = rows_file(tmp_path / "a.tsv", 30).read_bytes()
    local = executor.make_plan(config(tmp_path / "a.tsv"))
    for name, stored in (("x-1.tsv", b"old"), ("x-2.tsv", content), ("y.tsv.gz", gzip.compress(content))):
        with tf.io.gfile.GFile(f"ram://reviews/{name}", "wb") as stream:
            stream.write(stored)
    for location in ("ram://reviews/x-{SPAN}.tsv", "ram://reviews/y.tsv.gz"):
        data = config(location)
        plan = executor.make_plan(data)
        (whole,) = plan.ranges
        assert plan.fingerprint == local.fingerprint
        assert len(list(reader.read_records(whole, data, TASK))) == 30
        _, parts = reader.survey(whole.file, file_head.read_head(whole.file, data), data, TASK, 100)
        assert len(parts) == (1 if location.endswith(".gz") else 6)
        assert sum(len(list(reader.read_records(part, data, TASK))) for part in parts) == 30


def test_unknown_file_system():
    with pytest.raises(UserError, match="data.train = nosuch://x/y.tsv: .*nosuch.*local copy instead"):
        sources.resolve(config("nosuch://x/y.tsv"))


def test_address_without_network(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    address = "https://127.0.0.1:1/ratings.txt"
    with pytest.raises(UserError, match="download failed .*refused.*; use the path of a local copy instead"):
        sources.resolve(config(rows_file(tmp_path / "x.tsv", 1), test=address))
    assert not [name for *_, files in os.walk(tmp_path / "reviews") for name in files]


class _Server(http.server.BaseHTTPRequestHandler):
    """Serves `/whole`; disconnects in the middle of `/part`."""

    def do_GET(self):
        body = HEADER + b"1\tgood\t1\n"
        self.send_response(200 if self.path != "/none" else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:5] if self.path == "/part" else body)

    def log_message(self, *_):
        """Suppresses the log."""


def test_download_is_complete_or_fails(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    server = http.server.HTTPServer(("127.0.0.1", 0), _Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def fetch(path, sha256=None):
        address = f"http://127.0.0.1:{server.server_port}/{path}"
        return sources.fetch(sources.SourceFile("train", address, address), sha256)

    for path, sha256, message in (
        ("none", None, "HTTP status 404"),
        ("part", None, "download failed"),
        ("whole", "6" * 64, "its SHA-256 is not data.train_sha256 = 6666"),
    ):
        with pytest.raises(UserError, match=message):
            fetch(path, sha256)
        assert not [name for *_, files in os.walk(tmp_path) for name in files]
    with open(fetch("whole"), "rb") as stream:
        assert stream.read() == HEADER + b"1\tgood\t1\n"
    server.shutdown()
    server.server_close()
    assert os.path.exists(fetch("whole"))  # From the cache: the server is closed.


@pytest.mark.parametrize("location", ["pipe", "*e"])
def test_pipe_is_rejected_without_blocking(tmp_path, location):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match=f"data.train = {tmp_path}/pipe: is a pipe, a socket or a device"):
        executor.make_plan(config(tmp_path / location))


def test_device_is_rejected_without_reading_it():
    with pytest.raises(UserError, match="data.train = /dev/zero: is a pipe, a socket or a device"):
        executor.make_plan(config("/dev/zero"))


def test_file_name_that_is_not_utf8(tmp_path):
    rows_file(tmp_path / os.fsdecode(b"\xff.tsv"), 3)
    with pytest.raises(UserError, match=r"data.train = .*\*.tsv: a file's name is not UTF-8 .*xff.tsv.*; rename it"):
        sources.resolve(config(tmp_path / "*.tsv"))


# --- executor ---


def test_quoted_file_with_damaged_rows(tmp_path):
    rows = [f'{i}\t"row ""{i}"", here"\t{i % 2}'.encode() for i in range(60)]
    damaged = [b'90\t"unclosed\t1', b"91\t\t0", b"92\tx\t9", b"93\t\xb1\xdc\t1", b"94\t" + b"y" * 3000 + b"\t1"]
    train = tmp_path / "train.tsv"
    train.write_bytes(b"\xef\xbb\xbf" + HEADER + b"\r\n".join(rows + damaged) + b"\r\n")
    test = rows_file(tmp_path / "test.tsv", 3, start=200, line="{0}\ttest {0}\t{1}\r\n")
    test.write_bytes(test.read_bytes() + b"300\tno label\r\n")
    examples = run(tmp_path, config(train, test, dev_fraction=0.3, max_line_bytes=2000), fingerprint="given")

    splits = read_all(examples.uri)
    assert splits["test"] == [(str(i), f"test {i}", i % 2) for i in range(200, 203)]
    assert sorted(splits["train"] + splits["dev"]) == sorted((str(i), f'row "{i}", here', i % 2) for i in range(60))
    assert splits["train"] and splits["dev"]

    outcome = read_ingest(examples.uri)
    assert outcome.rows["train"] == {
        "accepted": len(splits["train"]),
        "rejected": {"bad_label": 1, "bad_quoting": 1, "empty_text": 1, "line_too_long": 1, "undecodable": 1},
        "left_out": 0,
    }
    assert outcome.rows["dev"] == {"accepted": len(splits["dev"]), "rejected": {}, "left_out": 0}
    assert outcome.rows["test"] == {"accepted": 3, "rejected": {"wrong_column_count": 1}, "left_out": 0}
    assert (outcome.files, outcome.span) == (
        {"train": [str(train)], "dev": [], "test": [str(test)]},
        None,
    )
    assert outcome.fingerprint == "given" == examples.get_string_custom_property("input_fingerprint")

    kept = {(row["file"], row["line"]): row for row in read_rejected(examples.uri, 10)}
    assert set(kept) == {*((str(train), 62 + i) for i in range(5)), (str(test), 5)}
    undecodable = kept[str(train), 65]
    assert undecodable["raw"] == "93\t\\xb1\\xdc\t1\r" and undecodable["reason"] == "undecodable"
    assert train.read_bytes()[undecodable["offset"] :].startswith(damaged[3])
    assert len(kept[str(train), 66]["raw"]) == KEPT_BYTES


def test_a_dev_file_is_the_dev_split(tmp_path):
    train, dev, test = (
        rows_file(tmp_path / f"{name}.tsv", count, start=start)
        for name, count, start in (("train", 40, 0), ("dev", 6, 100), ("test", 5, 200))
    )
    dev.write_bytes(dev.read_bytes() + b"107\t\t1\n")
    data = config(train, test, dev=str(dev), sample_size=30)
    examples = run(tmp_path, data)
    splits, outcome = read_all(examples.uri), read_ingest(examples.uri)
    # Only the training file is sampled, and none of its rows are held out.
    assert [len(splits[name]) for name in ("train", "dev", "test")] == [30, 6, 5]
    assert {row_id for row_id, *_ in splits["dev"]} == {str(i) for i in range(100, 106)}
    assert outcome.rows["dev"] == {"accepted": 6, "rejected": {"empty_text": 1}, "left_out": 0}
    assert outcome.files == {"train": [str(train)], "dev": [str(dev)], "test": [str(test)]}
    before = executor.make_plan(data).fingerprint
    dev.write_bytes(dev.read_bytes() + b"108\tnew\t1\n")
    assert executor.make_plan(data).fingerprint != before


def test_faults_of_a_dev_file_name_its_setting(tmp_path):
    train = rows_file(tmp_path / "train.tsv", 40)
    gone = config(train, dev=str(tmp_path / "gone.tsv"))
    for find in (file_head.check_local, lambda data, task: executor.make_plan(data)):
        with pytest.raises(UserError, match="^data.dev = .*gone.tsv: No such file"):
            find(gone, TASK)
    other = tmp_path / "other.tsv"
    other.write_text("id\ttext\tlabel\n1\tx\t1\n")
    with pytest.raises(UserError, match="^data.dev = .*other.tsv: data.text = 'document': missing from the columns"):
        file_head.check_local(config(train, dev=str(other)), TASK)
    dev = rows_file(tmp_path / "dev.tsv", 3)
    with pytest.raises(UserError, match="^data.dev = .*dev.tsv: its SHA-256 is .*, not data.dev_sha256 = 0{64}$"):
        sources.resolve(config(train, dev=str(dev), dev_sha256="0" * 64))
    dev.write_bytes(HEADER + b"1\tx\t9\n")
    with pytest.raises(UserError, match="^data.dev = .*dev.tsv: no rows for dev .*'9' .1.; check data.labels"):
        run(tmp_path / "run", config(train, rows_file(tmp_path / "test.tsv", 3), dev=str(dev)))


def test_plain_dialect_without_header_in_cp949_gzip(tmp_path):
    train = tmp_path / "train.tsv.gz"
    lines = [f'{i % 2}\t"영화 {i}' for i in range(40)]
    train.write_bytes(gzip.compress("\n".join(lines).encode("cp949")))
    data = config(train, quoting="none", header=("label", "document"), id=None, encoding="cp949", dev_fraction=0.3)
    splits = read_all(run(tmp_path, data).uri)
    rows = [row for split_rows in splits.values() for row in split_rows]
    assert sorted((text, label) for _, text, label in rows) == sorted((f'"영화 {i}', i % 2) for i in range(40))
    assert all(splits.values())  # No test file: a test split is held out.
    assert (f"{train}:0", '"영화 0', 0) in rows
    assert len({record_id for record_id, *_ in rows}) == 40


@pytest.fixture(scope="module")
def sampled(tmp_path_factory):
    """Two files by glob and span, sampled into a folder with leftovers of a restarted write."""
    folder = tmp_path_factory.mktemp("sampled")
    leftover = folder / "examples" / "Split-train" / "beam-temp-data_tfrecord-1"
    leftover.mkdir(parents=True)
    (leftover / "part").write_bytes(b"half")
    for name, start in (("3/a.tsv", 0), ("3/b.tsv", 50), ("2/a.tsv", 900)):
        rows_file(folder / name, 50, start)
    (folder / "3" / "b.tsv").write_bytes((folder / "3" / "b.tsv").read_bytes() + b"99\t\t1\n")
    test = rows_file(folder / "test.tsv", 5, start=500)
    data = config(folder / "{SPAN}" / "*.tsv", test, sample_size=40, seed=5, dev_fraction=0.3)
    return folder, data, run(folder, data)


def test_sample_has_the_exact_size(sampled):
    _, _, examples = sampled
    outcome = read_ingest(examples.uri)
    assert outcome.rows["train"]["accepted"] + outcome.rows["dev"]["accepted"] == 40
    assert outcome.not_sampled == 60
    assert outcome.rows["train"]["rejected"] == {"empty_text": 1}  # Of all rows, not of the sample.
    assert outcome.rows["test"]["accepted"] == 5
    assert examples.span == outcome.span == 3


@pytest.mark.parametrize("size", [95, 100, 5000])
def test_sample_of_almost_all_rows_or_more_than_all(tmp_path, size):
    # The threshold then needs all 64 bits.
    train = rows_file(tmp_path / "train.tsv", 100)
    rows = read_ingest(run(tmp_path, config(train, sample_size=size)).uri).rows
    assert sum(split["accepted"] for split in rows.values()) == min(size, 100)


def test_sample_does_not_depend_on_ranges_and_their_order(sampled, tmp_path):
    _, data, examples = sampled
    plan = executor.make_plan(data)
    cut = [
        part
        for whole in plan.ranges
        for part in reader.survey(whole.file, file_head.read_head(whole.file, data), data, TASK, 300)[1]
    ]
    assert len(cut) > len(plan.ranges)
    with beam.Pipeline() as pipeline:
        executor.ingest_ranges(pipeline, cut[::-1], plan.boundaries, data, str(tmp_path))
    assert read_all(str(tmp_path)) == read_all(examples.uri)


def test_statistics_gen_reads_the_artifact(sampled, tmp_path):
    _, _, examples = sampled
    assert artifact_utils.decode_split_names(examples.split_names) == ["train", "dev", "test"]
    statistics = standard_artifacts.ExampleStatistics()
    statistics.uri = str(tmp_path)
    # As in the pipeline, with sketches.
    options = {"stats_options_json": stats_options.StatsOptions(use_sketch_based_topk_uniques=True).to_json()}
    statistics_gen.Executor().Do({"examples": [examples]}, {"statistics": [statistics]}, options)
    for name, count in (("train", read_ingest(examples.uri).rows["train"]["accepted"]), ("test", 5)):
        view = stats_artifact_utils.load_statistics(statistics, name).proto().datasets[0]
        assert view.num_examples == count
        by_name = {feature.path.step[0]: feature for feature in view.features}
        assert by_name.keys() == {"id", "document", "label"}
        assert by_name["document"].string_stats.unique == count


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_shards_have_a_stated_number_whatever_the_file_is(tmp_path, suffix):
    path = rows_file(tmp_path / "train.tsv", 60)
    if suffix:
        path = tmp_path / "train.tsv.gz"
        path.write_bytes(gzip.compress((tmp_path / "train.tsv").read_bytes()))
    data = config(path)
    plan = executor.make_plan(data, workers=2)
    with beam.Pipeline() as pipeline:
        executor.ingest_ranges(pipeline, plan.ranges, plan.boundaries, data, str(tmp_path / "out"), shards=3)
    assert [len(os.listdir(tmp_path / "out" / f"Split-{name}")) for name in features.SPLITS] == [3, 3, 3]
    assert sum(len(rows) for rows in read_all(str(tmp_path / "out")).values()) == 60


def test_ranges_and_shards_by_bytes_and_workers():
    mebibyte = 1 << 20
    assert reader.choose_range_bytes(20 * mebibyte, 1) == reader.RANGE_BYTES == 64 * mebibyte
    assert reader.choose_range_bytes(16 * mebibyte, 2) == 2 * mebibyte
    assert reader.choose_range_bytes(100, 50) == mebibyte
    assert reader.choose_range_bytes(10**12, 50) == 64 * mebibyte
    assert executor.choose_shards(100, 4) == 4
    assert executor.choose_shards(64 * 9 * mebibyte + 1, 4) == 10


@pytest.mark.parametrize(
    ("flags", "engine"),
    [
        ([], Engine(True, 1)),
        (["--runner=DirectRunner", "--direct_num_workers=3"], Engine(True, 3)),
        (["--runner=FlinkRunner", "--parallelism=2", "--flink_master=a:1"], Engine(False, 2)),
        (["--runner=SparkRunner"], Engine(False, 8)),
        (["--runner=DataflowRunner", "--max_num_workers=50"], Engine(False, 50)),
    ],
)
def test_the_engine_by_its_flags(flags, engine):
    assert read_engine(flags) == engine


def test_the_words_of_a_rows_hash_are_parts_of_one_number():
    digests = [split.rows_digest({"train": words}) for words in ([1, 0, 0, 0], [0, 1, 0, 0], [1 << 32, 0, 0, 0])]
    assert digests[0] != digests[1] == digests[2]
    words = split.row_hash("1", ("good",), 1)
    assert len(words) == 4 and all(0 <= word < 1 << 32 for word in words)


def test_the_digest_is_of_the_rows_in_any_order_and_any_files(tmp_path):
    lines = [f"text number {i}\t{i % 2}\n" for i in range(60)]

    def digest(name, records, files):
        for part in range(files):
            (tmp_path / f"{name}-{part}.tsv").write_text("document\tlabel\n" + "".join(records[part::files]))
        return read_ingest(run(tmp_path / name, config(tmp_path / f"{name}-*.tsv", id=None)).uri).digest

    one = digest("one", lines, 1)
    assert digest("seven", lines[::-1], 7) == one
    assert (
        len({one, digest("twice", [*lines, lines[0]], 1), digest("other", [*lines[1:], "text number 0\t1\n"], 1)}) == 3
    )


def test_empty_split_stops_with_counts_and_rows(tmp_path):
    train = rows_file(tmp_path / "train.tsv", 30, line="{0}\ttext\x07 {0}\tgood\n")
    with pytest.raises(UserError) as caught:
        run(tmp_path, config(train))
    message = str(caught.value)
    assert f"data.train = {train}: no rows for train and dev and test" in message
    assert "rejected: bad_label 30)" in message and "check data.labels" in message
    assert "values that are not in data.labels: 'good' (30)" in message
    assert "line 2 (bad_label) '0\\ttext\\x07 0\\tgood'; line 3" in message and "line 5" not in message


def test_ratings_are_merged_and_left_out(tmp_path):
    train = rows_file(tmp_path / "train.tsv", 0)
    values = ["1", "2", "3", "4", "5.0", " 5", "6", "6", "none"]
    train.write_text(HEADER.decode() + "".join(f"{i}\ttext {i}\t{values[i % 9]}\n" for i in range(180)))
    labels = {"1": "negative", "2": "negative", "4": "positive", "5": "positive"}
    examples = run(tmp_path, config(train, labels=labels, ignore_labels=[3], dev_fraction=0.3))
    expected = {str(i): 0 if i % 9 < 2 else 1 for i in range(180) if i % 9 in (0, 1, 3, 4, 5)}
    assert {row[0]: row[2] for rows in read_all(examples.uri).values() for row in rows} == expected
    outcome = read_ingest(examples.uri)
    assert (outcome.rows["train"]["left_out"], outcome.rows["train"]["rejected"]) == (20, {"bad_label": 60})
    assert outcome.unknown_labels == {"train": {"'6'": 40, "'none'": 20}}


def test_leftovers_of_restarted_writes_are_removed(sampled):
    _, _, examples = sampled
    names = [name for _, folders, files in os.walk(examples.uri) for name in folders + files]
    assert "Split-train" in names and not [name for name in names if name.startswith("beam-temp")]


# --- component ---


def test_cache_hits_the_same_content_and_misses_a_changed_one(tmp_path):
    train = rows_file(tmp_path / "train.tsv", 60)
    metadata = tfx.orchestration.metadata.sqlite_metadata_connection_config(str(tmp_path / "db"))

    def run_pipeline():
        component = TsvExampleGen(data=config(train, dev_fraction=0.3).model_dump_json())
        pipeline = tfx.dsl.Pipeline(
            pipeline_name="reviews",
            pipeline_root=str(tmp_path / "root"),
            components=[component],
            enable_cache=True,
            metadata_connection_config=metadata,
        )
        tfx.orchestration.LocalDagRunner().run(pipeline)
        return sorted(os.listdir(tmp_path / "root" / "TsvExampleGen" / "examples"))

    first = run_pipeline()
    os.utime(train, (1, 1))
    assert run_pipeline() == first
    rows_file(train, 61)
    assert len(run_pipeline()) == 2


def test_driver_rejects_a_missing_file(tmp_path):
    properties = {"data": config(tmp_path / "no.tsv").model_dump_json()}
    with pytest.raises(UserError, match="No such file or directory"):
        driver.Driver(None).run(data_types.ExecutionInfo(exec_properties=properties))


def test_largest_hash_fits_numpy():
    assert split.smallest([split.HASHES - 1], 1).dtype == np.uint64


def test_ingest_round_trip(tmp_path):
    outcome = Ingest({"train": {"accepted": 1, "rejected": {}}}, 0, {"train": ["굿.tsv"]}, None, "f")
    write_ingest(str(tmp_path), outcome)
    assert read_ingest(str(tmp_path)) == outcome
    assert json.loads((tmp_path / "ingest.json").read_text(encoding="utf-8"))["files"] == {"train": ["굿.tsv"]}


def test_rejected_row_in_an_error_is_quoted_and_escaped(tmp_path):
    train = rows_file(tmp_path / "\x1b[2Jtrain.tsv", 30, line="{0}\t\x1b]0;owned\x07\u202e {0}\t\x1b[31m\n")
    with pytest.raises(UserError) as caught:
        run(tmp_path, config(train))
    message = str(caught.value)
    assert "\\x1b[2Jtrain.tsv" in message and "\\x1b]0;owned\\x07\\u202e" in message
    assert not set("\x1b\x07\u202e") & set(message)
