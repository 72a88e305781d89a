"""Every line of any file becomes one example or one rejected row, and the run continues."""

import tempfile

import hypothesis
import pytest
from hypothesis import strategies as st

from tests import tsv_fuzz, tsv_lines

# Enough for rows in every split, and for the file's encoding to be accepted.
GOOD = b"".join(b"text number %d\t%d\n" % (i, i % 2) for i in range(60))

NO_FAULTS = dict.fromkeys(tsv_fuzz.FAULTS, 0)


@st.composite
def files(draw):
    """A dialect, the bytes before the first record, and the records."""
    dialect = tsv_fuzz.Dialect(
        quoting=draw(st.sampled_from(tsv_lines.QUOTINGS)),
        encoding=draw(st.sampled_from(["utf-8", "cp949"])),
        compressed=draw(st.booleans()),
        header=draw(st.booleans()),
    )
    mark = b"\xef\xbb\xbf" if dialect.encoding == "utf-8" and draw(st.booleans()) else b""
    header = b"document\tlabel" + draw(st.sampled_from([b"\n", b"\r\n"])) if dialect.header else b""
    lines = draw(st.lists(tsv_lines.any_line(dialect.quoting, dialect.encoding), max_size=25))
    ends = [draw(st.sampled_from([b"\n", b"\n", b"\r\n"])) for _ in lines]
    records = GOOD + b"".join(line + end for line, end in zip(lines, ends, strict=True))
    return dialect, mark + header, records.removesuffix(b"\n") if draw(st.booleans()) else records


def ingest(dialect, start, records):
    """Checks that each record has one outcome; returns the counts of outcomes."""
    with tempfile.TemporaryDirectory() as folder:
        counts = tsv_fuzz.ingest_and_compare(dialect, start, records, folder)
    assert {fault: counts[fault] for fault in tsv_fuzz.FAULTS} == NO_FAULTS
    assert counts.total() == records.removesuffix(b"\n").count(b"\n") + 1
    return counts


# Each example is a run of Beam.
@hypothesis.settings(max_examples=12, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
@hypothesis.given(files())
def test_every_line_is_an_example_or_a_rejected_row_and_never_both(drawn):
    ingest(*drawn)


def test_other_line_separators_do_not_end_a_line():
    dialect = tsv_fuzz.Dialect("none", "utf-8", compressed=False, header=True)
    marks = (b"\r", "\u2028".encode(), "\u0085".encode(), b"\xef\xbb\xbf", b"\x0b", b"\x1a")
    read = [b"a" + mark + b"b\t1" for mark in marks]
    counts = ingest(dialect, b"document\tlabel\n", GOOD + b"\n".join([*read, b"a\t1\r", b"", b"a\0b\t1", b"last\t1"]))
    assert counts == {"examples": 60 + len(read) + 2, "blank_line": 1, "control_character": 1, **NO_FAULTS}


@pytest.mark.parametrize("line, reason", [(b"a\0b\t1", "control_character"), (b"\xff\t1", "undecodable")])
def test_a_damaged_first_line_is_rejected(line, reason):
    dialect = tsv_fuzz.Dialect("none", "utf-8", compressed=False, header=False)
    assert ingest(dialect, b"", line + b"\n" + GOOD)[reason] == 1


def test_fuzzed_lines_are_of_every_kind_and_the_same_for_a_seed():
    dialect = tsv_fuzz.DIALECTS[0]
    lines = tsv_fuzz.fuzzed_lines(dialect, 3000, (0, 1))
    assert lines == tsv_fuzz.fuzzed_lines(dialect, 3000, (0, 1)) != tsv_fuzz.fuzzed_lines(dialect, 3000, (0, 2))
    assert len(lines) == 3000 and not any(b"\n" in line for line in lines)


def test_comparison_counts_lost_and_duplicate_lines(tmp_path, monkeypatch):
    from components.tsv_example_gen import reader

    read_records = reader.read_records

    def damaged(*arguments):
        for line in read_records(*arguments):
            if line.content == b"lost\t1":
                continue
            if line.content == b"twice\t1":
                yield line
            yield line

    monkeypatch.setattr(reader, "read_records", damaged)
    dialect = tsv_fuzz.Dialect("none", "utf-8", compressed=False, header=True)
    counts = tsv_fuzz.ingest_and_compare(
        dialect, b"document\tlabel\n", GOOD + b"lost\t1\ntwice\t1\nbad\t2\n", str(tmp_path)
    )
    assert (counts[tsv_fuzz.NEITHER], counts[tsv_fuzz.TWICE], counts["bad_label"]) == (1, 1, 1)
