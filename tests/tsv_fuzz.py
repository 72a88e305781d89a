"""Generates damaged TSV lines, reproducible by seed, and counts their outcomes in the parser and in TsvExampleGen.

The bundled sample's rows are written in each dialect (quoting and codec), some with a text of several lines, then
damaged: bytes replaced, removed and inserted, rows that are pure noise, one row that is far too long.
"""

import base64
import collections
import csv
import dataclasses
import functools
import gzip
import io
import itertools
import os
import sys
from typing import Collection, Iterator, Mapping, Sequence

import numpy as np

from artifacts.examples import read_rejected
from components.tsv_example_gen import parse
from components.tsv_example_gen.lines import KEPT_BYTES
from components.tsv_example_gen.records import JoinedLines, Record
from core.config import DataConfig
from schema import rejections
from schema.task import make_task

TASK = make_task(("document",), {"0": "negative", "1": "positive"})
COLUMNS = ("document", "label")
SAMPLE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "data/sample/ratings_train.txt")

EXAMPLES = "examples"
# Outcomes that are bugs: the first in the parser, the others in the component.
RAISED, BOTH, NEITHER, TWICE, CHANGED = "raised", "example and rejected", "neither", "twice", "bytes changed"
FAULTS = (RAISED, BOTH, NEITHER, TWICE, CHANGED)

# Average number of damages of each kind per line; about half of the lines stay valid.
_DAMAGE_SHARE = 0.2
_NOISE_SHARE = 0.03
# Longer than the longest field that Python's `csv` reads.
_LONG_BYTES = 140_000
_PIECES = tuple(
    np.frombuffer(piece, np.uint8)
    for piece in (
        *(b"\t", b'"', b"\r", b"\r\n", b"\n", b"\0", b"\x1b[2J", b"\xff", b"\xef\xbb\xbf", b"\xed\xa0\x80"),
        *(b"\xea\xb0", "\u2028".encode(), "\u0085".encode(), "\u3000".encode(), b'"\t"', b"\t\t", b"+AAA-"),
    )
)


@dataclasses.dataclass(frozen=True)
class Dialect:
    """How a file is written; compression and header apply to the component only."""

    quoting: str
    encoding: str
    compressed: bool
    header: bool

    @property
    def name(self) -> str:
        """The name of the test case."""
        return f"{self.quoting} {self.encoding}"

    def data(self, file: str) -> DataConfig:
        """Returns the configuration to read a file; without an id column, an example's id contains its byte offset."""
        return DataConfig(
            train=file,
            id=None,
            header=self.header or COLUMNS,
            quoting=self.quoting,
            encoding=self.encoding,
            max_line_bytes=_LONG_BYTES // 2,
        )


DIALECTS = (
    Dialect("minimal", "utf-8", compressed=False, header=True),
    Dialect("none", "utf-8", compressed=True, header=False),
    Dialect("minimal", "cp949", compressed=True, header=True),
    Dialect("none", "cp949", compressed=False, header=False),
)


def fuzzed_lines(dialect: Dialect, count: int, seed: Sequence[int]) -> list[bytes]:
    """Generates valid and damaged lines.

    Args:
      dialect: how they are written.
      count: number of lines.
      seed: seed of the random generator.

    Returns:
      Exactly `count` lines without their newlines.
    """
    random = np.random.default_rng(seed)
    rows = _rows(dialect)
    lines = [rows[i] for i in random.integers(len(rows), size=count)]
    for place in random.integers(count, size=int(count * _NOISE_SHARE)):
        lines[place] = random.bytes(random.integers(0, 60))
    block = np.frombuffer(b"\n".join(lines), np.uint8)
    lines = _damaged(block, int(count * _DAMAGE_SHARE), random).tobytes().split(b"\n")
    lines = (lines + rows)[:count]  # The damage removed and inserted newlines.
    lines[random.integers(count)] = b"x" * _LONG_BYTES + b"\t1"
    return lines


def ingest_and_compare(dialect: Dialect, start: bytes, records: bytes, folder: str) -> collections.Counter:
    """Ingests a file with TsvExampleGen's executor and counts the outcomes of its lines.

    Args:
      dialect: how the file is read, and whether it is compressed.
      start: the bytes before the first record: a byte order mark, a header.
      records: the rest of the file.
      folder: an empty folder to work in.

    Returns:
      `EXAMPLES`, the reasons of rejections, and `FAULTS` -> number of lines: all lines of a record of several.
    """
    from tfx.types import standard_artifacts

    from components.tsv_example_gen import executor

    file = os.path.join(folder, "lines.tsv.gz" if dialect.compressed else "lines.tsv")
    with gzip.open(file, "wb", compresslevel=1) if dialect.compressed else open(file, "wb") as stream:
        stream.write(start + records)
    examples = standard_artifacts.Examples()
    examples.uri = os.path.join(folder, "examples")
    executor.Executor().Do({}, {"examples": [examples]}, {"data": dialect.data(file).model_dump_json()})
    return _compare(_offsets(records, len(start)), examples.uri, dialect)


def _compare(lines: Mapping[int, bytes], uri: str, dialect: Dialect) -> collections.Counter:
    """Compares the lines of a file, by byte offset, with an Examples artifact."""

    accepted_offsets = collections.Counter(_example_offsets(uri))
    rejected = read_rejected(uri, sys.maxsize)
    rejected_offsets = collections.Counter(row["offset"] for row in rejected)
    records = _records(lines, accepted_offsets.keys() | rejected_offsets.keys())
    counts: collections.Counter = collections.Counter()
    for row in rejected:
        counts[row["reason"]] += len(records.get(row["offset"], [b""]))
    counts[EXAMPLES] = sum(len(records.get(offset, [b""])) for offset in accepted_offsets.elements())
    counts[RAISED] = 0  # The executor would have raised.
    counts[BOTH] = len(accepted_offsets.keys() & rejected_offsets.keys())
    strange = (accepted_offsets.keys() | rejected_offsets.keys()) - lines.keys()
    swallowed = [offset for offset in accepted_offsets if not _is_one_record(records.get(offset, []), dialect)]
    counts[NEITHER] = (
        len(strange) + len(swallowed) + (min(lines) not in accepted_offsets.keys() | rejected_offsets.keys())
    )
    counts[TWICE] = sum(n > 1 for n in (*accepted_offsets.values(), *rejected_offsets.values()))
    counts[CHANGED] = 0
    for row in rejected:
        kept = base64.b64decode(row["bytes"])
        record = b"\n".join(records.get(row["offset"], []))
        counts[CHANGED] += kept != (record[:KEPT_BYTES] if row["reason"] == rejections.LINE_TOO_LONG else record)
    return counts


def _records(lines: Mapping[int, bytes], begins: Collection[int]) -> dict[int, list[bytes]]:
    """Returns offset of a record -> its lines, up to the next record."""
    records: dict[int, list[bytes]] = {}
    begin = min(lines)
    for offset, line in lines.items():
        begin = offset if offset in begins else begin
        records.setdefault(begin, []).append(line)
    return records


def _is_one_record(lines: Sequence[bytes], dialect: Dialect) -> bool:
    """Returns whether lines are one record for Python's csv too; a single line needs no proof."""
    if len(lines) < 2:
        return True
    text = b"\n".join(lines).decode(dialect.encoding)
    return len(list(csv.reader(io.StringIO(text, newline="\n"), delimiter="\t", strict=True))) == 1


def _example_offsets(uri: str) -> Iterator[int]:
    import tensorflow as tf

    shards = tf.io.gfile.glob(os.path.join(uri, "Split-*", "*"))
    for record in tf.data.TFRecordDataset(shards, "GZIP").as_numpy_iterator():
        (example_id,) = tf.train.Example.FromString(record).features.feature["id"].bytes_list.value
        yield int(example_id.rpartition(b":")[2])


def _offsets(records: bytes, start: int) -> dict[int, bytes]:
    """Maps byte offset to line, as `components.tsv_example_gen.reader` defines a line."""
    lines = records.removesuffix(b"\n").split(b"\n")
    return dict(zip(itertools.accumulate((len(line) + 1 for line in lines), initial=start), lines, strict=False))


def parse_lines(dialect: Dialect, count: int, seed: Sequence[int]) -> collections.Counter:
    """Joins `count` fuzzed lines to records and parses these; returns the number of lines with each outcome."""
    data = dialect.data("")
    layout = parse.make_layout(COLUMNS, data, TASK)
    lines = (
        Record(0, number, line, len(line) > data.max_line_bytes)
        for number, line in enumerate(fuzzed_lines(dialect, count, seed), start=1)
    )
    is_row = parse.make_row_test(COLUMNS, data, TASK)
    outcomes: collections.Counter = collections.Counter()
    for record in JoinedLines(lines, layout.dialect, is_row, data.max_line_bytes):
        outcomes[_outcome(record.content, layout)] += record.lines
    return outcomes


def _outcome(line: bytes, layout: parse.Layout) -> str:
    try:
        outcome = parse.parse_row(line, layout, TASK)
        if isinstance(outcome, parse.Rejection):
            return outcome.reason
        usable = outcome.texts[0].strip() and outcome.texts[0].encode() and outcome.label in (0, 1)
        return EXAMPLES if usable else RAISED
    except Exception:  # Any exception is the bug that the test looks for.
        return RAISED


@functools.cache
def _rows(dialect: Dialect) -> list[bytes]:
    """Returns the sample's rows, written in the dialect."""
    with open(SAMPLE, encoding="utf-8", newline="") as stream:
        records = [(row["document"], row["label"]) for row in csv.DictReader(stream, dialect="excel-tab")]
    if dialect.quoting == "minimal":
        # Quotes and a label inside the text, too, as in a text that cites a table.
        records += [(text.replace(" ", "\n", 1), label) for text, label in records[::5]]
        records += [(f'{text}\n"\n\n{text}\t{label}\r\n', label) for text, label in records[::20]]
    return [_written(text, label, dialect) for text, label in records]


def _written(text: str, label: str, dialect: Dialect) -> bytes:
    stream = io.StringIO()
    if dialect.quoting == "minimal":
        csv.writer(stream, delimiter="\t", lineterminator="").writerow((text, label))
    else:
        stream.write(f"{text}\t{label}")
    return stream.getvalue().encode(dialect.encoding, "replace")


def _damaged(block: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    """Replaces and removes bytes of uint8[n], and inserts pieces between characters, `count` times each."""
    block = block.copy()
    block[random.integers(len(block), size=count)] = random.integers(256, size=count)
    block = np.delete(block, random.integers(len(block), size=count))
    pieces = [_PIECES[i] for i in random.integers(len(_PIECES), size=count)]
    places = np.repeat(random.choice(np.flatnonzero(block < 0x80), size=count), [len(piece) for piece in pieces])
    return np.insert(block, places, np.concatenate(pieces))
