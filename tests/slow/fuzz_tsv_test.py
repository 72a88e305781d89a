"""Millions of damaged lines through the parser and TsvExampleGen: no line is lost, doubled or changed.

.venv/bin/python -m pytest -m slow tests/slow/fuzz_tsv_test.py
"""

import collections
import concurrent.futures
import itertools
import multiprocessing

import pytest

from tests import tsv_fuzz

pytestmark = pytest.mark.slow

SEED = 0
BLOCKS, BLOCK_LINES = 25, 100_000
COMPONENT_LINES = 25_000

dialects = pytest.mark.parametrize(
    ("index", "dialect"), list(enumerate(tsv_fuzz.DIALECTS)), ids=[dialect.name for dialect in tsv_fuzz.DIALECTS]
)


def check(counts, lines):
    """Checks that each line was either read or rejected, once and unchanged."""
    assert not any(counts[fault] for fault in tsv_fuzz.FAULTS), counts
    assert counts.total() == lines, counts
    assert counts[tsv_fuzz.EXAMPLES] > lines // 4 and len(+counts) > 5, "valid and damaged lines"


@dialects
def test_the_parser_reads_or_rejects_every_line(index, dialect):
    seeds = [(SEED, index, block) for block in range(BLOCKS)]
    # TensorFlow's threads do not survive a fork.
    with concurrent.futures.ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        blocks = pool.map(tsv_fuzz.parse_lines, itertools.repeat(dialect), itertools.repeat(BLOCK_LINES), seeds)
        check(sum(blocks, collections.Counter()), BLOCKS * BLOCK_LINES)


@dialects
def test_the_component_reads_or_rejects_every_line(index, dialect, tmp_path):
    lines = tsv_fuzz.fuzzed_lines(dialect, COMPONENT_LINES, (SEED, index, 1 << 32))
    start = "\t".join(tsv_fuzz.COLUMNS).encode() + b"\n" if dialect.header else b""
    counts = tsv_fuzz.ingest_and_compare(dialect, start, b"\n".join(lines) + b"\n", str(tmp_path))
    check(counts, COMPONENT_LINES)
