"""Any bytes are parsed into a usable row, or into a rejection from which the bytes can be restored."""

import base64
import encodings.aliases
import json

import hypothesis
import pytest
from hypothesis import strategies as st

from components.tsv_example_gen import executor, parse, records, sources
from core.config import DataConfig
from schema import rejections
from schema.task import make_task
from tests import tsv_lines

TASK = make_task(("document",), {"0": "negative", "1": "positive"})
FILE = sources.SourceFile("train", "/x.tsv", "/x.tsv")


def is_accepted(codec):
    try:
        return bool(DataConfig(train="x", encoding=codec))
    except ValueError:
        return False


# Every codec of Python that the configuration accepts; idna is one, too, but can't encode most reviews.
CODECS = tuple(filter(is_accepted, sorted(set(encodings.aliases.aliases.values()))))


def check(line, quoting, encoding):
    """Parses a line and checks the contract of the outcome; returns the outcome."""
    data = DataConfig(train="x", id=None, quoting=quoting, encoding=encoding)
    outcome = parse.parse_row(line, parse.make_layout(("document", "label"), data, TASK), TASK)
    if isinstance(outcome, parse.Row):
        (text,) = outcome.texts
        assert text.strip() and "\0" not in text and outcome.label in (0, 1)
        assert executor.to_example(outcome, "x:0")
        return outcome
    assert isinstance(outcome, parse.Rejection) and f"`{outcome.reason}`" in rejections.__doc__
    kept = executor._rejected_json(FILE, records.Record(7, 1, line), outcome, data)
    assert b"\n" not in kept
    row = json.loads(kept)
    assert (base64.b64decode(row["bytes"]), row["offset"], row["reason"]) == (line, 7, outcome.reason)
    return outcome


@st.composite
def lines(draw, codecs):
    quoting, encoding = draw(st.sampled_from(tsv_lines.QUOTINGS)), draw(st.sampled_from(codecs))
    return draw(tsv_lines.any_line(quoting, encoding)).replace(b"\n", b""), quoting, encoding


@hypothesis.settings(max_examples=500, deadline=None)
@hypothesis.given(lines(("utf-8", "cp949")))
def test_a_line_is_a_row_or_a_rejection_with_its_bytes(drawn):
    check(*drawn)


@hypothesis.settings(max_examples=200, deadline=None)
@hypothesis.given(lines(CODECS))
def test_every_codec_that_the_configuration_accepts(drawn):
    check(*drawn)


@hypothesis.settings(max_examples=100, deadline=None)
@hypothesis.given(
    st.sampled_from(tsv_lines.QUOTINGS).flatmap(lambda q: st.tuples(tsv_lines.good(q, "utf-8"), st.just(q)))
)
def test_written_records_are_rows(drawn):
    line, quoting = drawn
    outcome = check(line, quoting, "utf-8")
    assert isinstance(outcome, parse.Row) or outcome.reason == "empty_text"


@pytest.mark.parametrize(
    "line, quoting, encoding, reason",
    [
        (b"a+AAA-b\t1", "none", "utf-7", "control_character"),
        (b"a+AAA-b\t1", "minimal", "utf-7", "control_character"),
        (b"\xff\t1", "minimal", "idna", "undecodable"),
    ],
)
def test_regressions(line, quoting, encoding, reason):
    assert check(line, quoting, encoding).reason == reason
