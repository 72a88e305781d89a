"""Millions of damaged lines through the parser, and some through all of TsvExampleGen: none is lost, none is doubled.

    python -m benchmarks.fuzz_tsv --lines 10000000 --executor-lines 100000 --seed 0

The bundled sample's rows are written in each dialect (quoting and codec), then damaged: bytes replaced, removed and
put in, rows of nothing but noise, one far too long. The same seed makes the same lines. Exit status 1 where what came
out is not what went in: a line that was neither read nor rejected, or both, or that raised.
"""

import argparse
import base64
import collections
import concurrent.futures
import csv
import dataclasses
import functools
import gzip
import io
import itertools
import os
import sys
import tempfile
import time
from typing import Iterator, Mapping, Sequence

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np  # noqa: E402
import rich.box  # noqa: E402
import rich.console  # noqa: E402
import rich.table  # noqa: E402

from artifacts.examples import read_rejected
from components.tsv_example_gen import parse  # noqa: E402
from core.config import DataConfig  # noqa: E402
from schema import rejections  # noqa: E402
from schema.task import make_task  # noqa: E402

TASK = make_task(("document",), {"0": "negative", "1": "positive"})
COLUMNS = ("document", "label")
SAMPLE = os.path.join(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "data", "sample", "ratings_train.txt"
)

EXAMPLES = "examples"
# What must not happen: to the parser the first, to the component the others.
DIED, BOTH, NEITHER, TWICE, CHANGED = "died", "example and rejected", "neither", "twice", "bytes changed"
FAULTS = (DIED, BOTH, NEITHER, TWICE, CHANGED)

# Lines that are made at once: some 10 MB.
BLOCK_LINES = 100_000
# Of each kind of damage, per line; about half of the lines stay good.
_DAMAGE_SHARE = 0.2
_NOISE_SHARE = 0.03
# Past what Python's `csv` reads of a field.
_LONG_BYTES = 140_000
_PIECES = tuple(
    np.frombuffer(piece, np.uint8)
    for piece in (
        *(
            b"\t",
            b'"',
            b"\r",
            b"\r\n",
            b"\n",
            b"\0",
            b"\x1b[2J",
            b"\xff",
            b"\xef\xbb\xbf",
            b"\xed\xa0\x80",
            b"\xea\xb0",
        ),
        *("\u2028".encode(), "\u0085".encode(), "\u3000".encode(), b'"\t"', b"\t\t", b"+AAA-"),
    )
)


@dataclasses.dataclass(frozen=True)
class Dialect:
    """How a file is written; `.gz` and a header are for the component alone."""

    quoting: str
    encoding: str
    compressed: bool
    header: bool

    @property
    def name(self) -> str:
        """For the table's head."""
        return f"{self.quoting} {self.encoding}"

    def data(self, file: str) -> DataConfig:
        """The configuration that reads it; without ids, so that each example's id tells its line."""
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


def main() -> int:
    """Runs both and prints a table of each; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=10_000_000, help="through the parser")
    parser.add_argument("--executor-lines", type=int, default=100_000, help="through the component")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    started = time.monotonic()
    parsed = fuzz_parser(arguments.lines, arguments.seed, arguments.processes)
    good = _show("parse_row", parsed, arguments.lines, time.monotonic() - started)
    started = time.monotonic()
    ingested = fuzz_component(arguments.executor_lines, arguments.seed)
    good &= _show("TsvExampleGen", ingested, arguments.executor_lines, time.monotonic() - started)
    return 0 if good else 1


def fuzzed_lines(dialect: Dialect, count: int, seed: Sequence[int]) -> list[bytes]:
    """Makes lines, good and damaged ones.

    Args:
      dialect: how they are written.
      count: how many.
      seed: of what is drawn.

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
    lines = (lines + rows)[:count]  # Newlines were removed, and more put in.
    lines[random.integers(count)] = b"x" * _LONG_BYTES + b"\t1"
    return lines


def fuzz_parser(lines: int, seed: int, processes: int) -> dict[str, collections.Counter]:
    """Parses lines of every dialect; returns dialect -> what they came to."""
    blocks = [(d, size, (seed, d, b)) for d in range(len(DIALECTS)) for b, size in enumerate(_blocks(lines, d))]
    found: dict[str, collections.Counter] = {dialect.name: collections.Counter() for dialect in DIALECTS}
    with concurrent.futures.ProcessPoolExecutor(processes) as pool:
        for name, counts in pool.map(_parse_block, *zip(*blocks, strict=True)):
            found[name].update(counts)
    return found


def fuzz_component(lines: int, seed: int) -> dict[str, collections.Counter]:
    """Ingests a file of every dialect by the real executor; returns dialect -> what its lines came to."""
    found = {}
    for index, dialect in enumerate(DIALECTS):
        with tempfile.TemporaryDirectory() as folder:
            made = fuzzed_lines(dialect, sum(_blocks(lines, index)), (seed, index, 1 << 32))
            start = "\t".join(COLUMNS).encode() + b"\n" if dialect.header else b""
            found[dialect.name] = ingest_and_compare(dialect, start, b"\n".join(made) + b"\n", folder)
    return found


def ingest_and_compare(dialect: Dialect, start: bytes, records: bytes, folder: str) -> collections.Counter:
    """Ingests a file and tells what became of each of its lines.

    Args:
      dialect: how the file is read, and whether it is compressed.
      start: what is before the first record: a byte order mark, a header.
      records: the rest of the file.
      folder: an empty folder to work in.

    Returns:
      `EXAMPLES`, the reasons of rejections, and `FAULTS` -> number of lines.
    """
    from tfx.types import standard_artifacts

    from components.tsv_example_gen import executor

    file = os.path.join(folder, "lines.tsv.gz" if dialect.compressed else "lines.tsv")
    with gzip.open(file, "wb", compresslevel=1) if dialect.compressed else open(file, "wb") as stream:
        stream.write(start + records)
    examples = standard_artifacts.Examples()
    examples.uri = os.path.join(folder, "examples")
    executor.Executor().Do({}, {"examples": [examples]}, {"data": dialect.data(file).model_dump_json()})
    return _compare(_offsets(records, len(start)), examples.uri)


def _compare(lines: Mapping[int, bytes], uri: str) -> collections.Counter:
    """Holds the lines of a file, by byte offset, against an Examples artifact."""
    from components.tsv_example_gen import reader

    read = collections.Counter(_example_offsets(uri))
    rejected = read_rejected(uri, sys.maxsize)
    refused = collections.Counter(row["offset"] for row in rejected)
    counts = collections.Counter(row["reason"] for row in rejected)
    counts[EXAMPLES] = read.total()
    counts[DIED] = 0  # Or there would be no artifact.
    counts[BOTH] = len(read.keys() & refused.keys())
    counts[NEITHER] = len(lines.keys() ^ (read.keys() | refused.keys()))
    counts[TWICE] = sum(n > 1 for n in (*read.values(), *refused.values()))
    counts[CHANGED] = 0
    for row in rejected:
        kept = base64.b64decode(row["bytes"])
        line = lines.get(row["offset"], b"")
        counts[CHANGED] += kept != (line[: reader.KEPT_BYTES] if row["reason"] == rejections.LINE_TOO_LONG else line)
    return counts


def _example_offsets(uri: str) -> Iterator[int]:
    import tensorflow as tf

    shards = tf.io.gfile.glob(os.path.join(uri, "Split-*", "*"))
    for record in tf.data.TFRecordDataset(shards, "GZIP").as_numpy_iterator():
        (example_id,) = tf.train.Example.FromString(record).features.feature["id"].bytes_list.value
        yield int(example_id.rpartition(b":")[2])


def _offsets(records: bytes, start: int) -> dict[int, bytes]:
    """Byte offset -> line; what a line is, is said in `components.tsv_example_gen.reader`."""
    lines = records.removesuffix(b"\n").split(b"\n")
    return dict(zip(itertools.accumulate((len(line) + 1 for line in lines), initial=start), lines, strict=False))


def _blocks(lines: int, dialect: int) -> list[int]:
    """Sizes of a dialect's blocks: the dialects share the lines evenly, the first ones take the rest."""
    share = lines // len(DIALECTS) + (dialect < lines % len(DIALECTS))
    return [min(BLOCK_LINES, share - start) for start in range(0, share, BLOCK_LINES)]


def _parse_block(dialect: int, count: int, seed: Sequence[int]) -> tuple[str, collections.Counter]:
    chosen = DIALECTS[dialect]
    layout = parse.make_layout(COLUMNS, chosen.data(""), TASK)
    return chosen.name, collections.Counter(_outcome(line, layout) for line in fuzzed_lines(chosen, count, seed))


def _outcome(line: bytes, layout: parse.Layout) -> str:
    try:
        outcome = parse.parse_row(line, layout, TASK)
        if isinstance(outcome, parse.Rejection):
            return outcome.reason
        usable = outcome.texts[0].strip() and outcome.texts[0].encode() and outcome.label in (0, 1)
        return EXAMPLES if usable else DIED
    except Exception:  # Whatever it is, it is what is looked for.
        return DIED


@functools.cache
def _rows(dialect: Dialect) -> list[bytes]:
    """The sample's rows as a writer of the dialect writes them."""
    with open(SAMPLE, encoding="utf-8", newline="") as stream:
        records = [(row["document"], row["label"]) for row in csv.DictReader(stream, dialect="excel-tab")]
    return [_written(text, label, dialect) for text, label in records]


def _written(text: str, label: str, dialect: Dialect) -> bytes:
    stream = io.StringIO()
    if dialect.quoting == "minimal":
        csv.writer(stream, delimiter="\t", lineterminator="").writerow((text, label))
    else:
        stream.write(f"{text}\t{label}")
    return stream.getvalue().encode(dialect.encoding, "replace")


def _damaged(block: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    """Replaces and removes bytes of uint8[n] anywhere, and inserts pieces between characters; `count` times each."""
    block = block.copy()
    block[random.integers(len(block), size=count)] = random.integers(256, size=count)
    block = np.delete(block, random.integers(len(block), size=count))
    pieces = [_PIECES[i] for i in random.integers(len(_PIECES), size=count)]
    places = np.repeat(random.choice(np.flatnonzero(block < 0x80), size=count), [len(piece) for piece in pieces])
    return np.insert(block, places, np.concatenate(pieces))


def _show(title: str, found: Mapping[str, collections.Counter], lines: int, seconds: float) -> bool:
    """Prints the table; returns whether all that went in came out, once and whole."""
    total = sum(found.values(), collections.Counter())
    reasons = sorted(total.keys() - {EXAMPLES, *FAULTS}, key=lambda reason: -total[reason])
    out = total[EXAMPLES] + sum(total[reason] for reason in reasons)
    numbers = [rich.table.Column(name, justify="right") for name in (*found, "all")]
    table = rich.table.Table(title, *numbers, box=rich.box.SIMPLE_HEAD)
    for row in (EXAMPLES, *reasons, *FAULTS):
        table.add_row(row, *(f"{counts[row]:,}" for counts in (*found.values(), total)))
    console = rich.console.Console(width=110)
    console.print(table)
    same = out == lines and not any(total[fault] for fault in FAULTS)
    console.print(f"{lines:,} lines in, {out:,} out ({seconds:.0f} s): {'the same' if same else 'NOT THE SAME'}\n")
    return same


if __name__ == "__main__":
    sys.exit(main())
