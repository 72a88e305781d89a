"""The texts of a log of requests. Its kind shows in its content.

| kind                          | how it is recognised, and what is read                                               |
|-------------------------------|--------------------------------------------------------------------------------------|
| TensorFlow Serving's log      | TFRecords of `PredictionLog`; the requests to predict that have the model's texts    |
| the log of `serve`            | lines of JSON that start with an entry of `serve`; those with texts (`--log-texts`)  |
| a table                       | anything else; read as a run would read it                                           |

A row is left out if training would reject it (`schema.rejections`), or if it is not a request with texts.
"""

import collections
import contextlib
import dataclasses
import heapq
import itertools
import json
import zlib
from typing import Any, Iterator, Mapping, Optional, Sequence, Union

import tensorflow as tf
from google.protobuf import message
from tensorflow_serving.apis import prediction_log_pb2

from artifacts.model_card import ModelCard
from components.tsv_example_gen import parse, sources
from components.tsv_example_gen.streams import open_raw, open_stream
from core.errors import UserError
from local import answers, text_rows
from local.prediction import CHUNK_ROWS
from local.served_model import Texts
from schema import rejections
from schema.hashing import text_hash

TF_SERVING, SERVE, TABLE = "TensorFlow Serving's request log", "the log of serve", "a table of texts"

# A TFRecord starts with its length in eight bytes and a checksum of these. Records have less than 4 GiB, and no text
# has four zero bytes there.
_RECORD_HEAD_BYTES, _ZEROS = 12, slice(4, 8)
_START_BYTES = 4096
# Its first bytes, and the number of the format in zlib.
_GZIP, _GZIP_FORMAT = b"\x1f\x8b", 31
# Of the first entry of `serve`'s log: a text comes from a request, which has a few megabytes at most.
_MAX_ENTRY_BYTES = 64 << 20
_SERVE_KEYS = {"time", "model", "version", "method", "status"}

# Reasons for leaving out a record that is not a row with texts.
_OTHER, _WITHOUT_TEXTS, _REFUSED, _DAMAGED = (
    "other kinds of requests",
    "entries without texts",
    "refused requests",
    "damaged lines",
)

_Entry = Union[Texts, parse.Rejection, str]


@dataclasses.dataclass
class Log:
    """A log of requests; the counts grow while it is read.

    Attributes:
      file: the file.
      kind: one of the kinds above.
      entries: the texts of each row, or why it is left out.
      texts: number of rows with texts.
      rejected: reason, as in `schema.rejections` -> rows that training would reject.
      skipped: reason -> records that are not rows with texts.
      damage: a clause about where the file is damaged; empty if it is not.
    """

    file: sources.SourceFile
    kind: str
    entries: Iterator[_Entry]
    texts: int = 0
    rejected: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    skipped: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    damage: str = ""

    def chunks(self) -> Iterator[list[Texts]]:
        """Yields the texts of consecutive rows, up to `CHUNK_ROWS` at once.

        Raises:
          UserError: the file can't be read, or has no texts.
        """
        while part := list(itertools.islice(self.entries, CHUNK_ROWS)):
            self.skipped.update(entry for entry in part if isinstance(entry, str))
            self.rejected.update(entry.reason for entry in part if isinstance(entry, parse.Rejection))
            if texts := [entry for entry in part if isinstance(entry, tuple)]:
                self.texts += len(texts)
                yield texts
        if not self.texts:
            raise self.file.error(self._explain_absence())

    def describe_left_out(self) -> str:
        """Returns a clause about the rows that were left out; empty if none were."""
        counts = self.rejected + self.skipped
        reasons = ", ".join(f"{reason.replace('_', ' ')} {count:,}" for reason, count in counts.most_common())
        return "; ".join(filter(None, [f"left out: {reasons}" if reasons else "", self.damage]))

    def _explain_absence(self) -> str:
        if self.damage:
            return self.damage
        if self.skipped[_WITHOUT_TEXTS]:
            return (
                f"has no texts ({self.skipped[_WITHOUT_TEXTS]:,} entries without); record them with `serve --log FILE "
                "--log-texts`"
            )
        if not self.rejected and not self.skipped:
            return "is empty: no requests"
        hint = "; check --text and --encoding" if self.kind == TABLE else ""
        return f"{self.kind} without a text of this model ({self.describe_left_out()}){hint}"


@dataclasses.dataclass(frozen=True)
class _LogFile(sources.SourceFile):
    """The file after `drift` or `shadow`."""

    def error(self, text: str) -> UserError:
        return UserError(f"{self.name}: {answers.name_options(text)}")


@contextlib.contextmanager
def open_log(path: str, card: ModelCard, options: Mapping[str, Any]) -> Iterator[Log]:
    """Opens a log.

    Args:
      path: the file, compressed or not.
      card: card of the model that was asked, with its inputs and the layout of its training data.
      options: how to read a table differently, by names of `answers.OPTIONS`.

    Yields:
      The log, not read yet.

    Raises:
      UserError: the file can't be read, or is empty.
    """
    with text_rows.regular_file(_LogFile(sources.TEST, path, path)) as file:
        with sources.reading(file):
            compression = _find_records(file.path)
        if compression is not None:
            log = Log(file, TF_SERVING, iter(()))
            log.entries = _read_records(log, compression, card.task.text_inputs)
            yield log
            return
        with sources.reading(file), open_stream(file.path) as stream:
            first_line = stream.readline(_MAX_ENTRY_BYTES)
        if not first_line:
            raise file.error("is empty: no requests")
        if _SERVE_KEYS <= (_parse_entry(first_line) or {}).keys():
            log = Log(file, SERVE, _read_entries(file, card.task.text_inputs))
        else:
            log = Log(file, TABLE, (texts for _, texts in text_rows.TextRows(card, file, options).read()))
        yield log


def keep_sample(kept: Sequence[tuple[int, Texts]], rows: Sequence[Texts], size: int) -> list[tuple[int, Texts]]:
    """Keeps the rows with the smallest hashes: the same sample in whatever order the requests arrived.

    Args:
      kept: the hashes and rows so far.
      rows: further rows.
      size: how many to keep.
    """
    hashed = ((text_hash([text.encode() for text in texts]), texts) for texts in rows)
    return heapq.nsmallest(size, [*kept, *hashed])


def _find_records(path: str) -> Optional[str]:
    """Returns the compression of a file of TFRecords, as TensorFlow calls it; None for any other file."""
    with open_raw(path) as stream:
        start, compression = stream.read(_START_BYTES), ""
    if start.startswith(_GZIP):
        # Not by `open_stream`, which reads ahead, perhaps to where the file is damaged.
        start, compression = zlib.decompressobj(_GZIP_FORMAT).decompress(start, _RECORD_HEAD_BYTES), "GZIP"
    return compression if len(start) >= _RECORD_HEAD_BYTES and not any(start[_ZEROS]) else None


def _read_records(log: Log, compression: str, inputs: Sequence[str]) -> Iterator[_Entry]:
    """Yields the rows of TensorFlow Serving's log up to its end, or to where it is damaged."""
    records = tf.data.TFRecordDataset(log.file.path, compression).as_numpy_iterator()
    for count in itertools.count():
        try:
            record = next(records, None)
        except tf.errors.OpError:
            log.damage = f"damaged after {count:,} records, the rest was not read"
            return
        if record is None:
            return
        yield from _read_record(record, inputs)


def _read_record(record: bytes, inputs: Sequence[str]) -> Iterator[_Entry]:
    """Yields the rows of a serialised `PredictionLog`."""
    try:
        columns = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request.inputs
        texts = [tf.make_ndarray(columns[name]).ravel().tolist() for name in inputs if name in columns]
        rows = list(zip(*texts, strict=True))
    except (message.DecodeError, TypeError, ValueError):
        rows = []
    if not rows or not all(len(row) == len(inputs) and isinstance(value, bytes) for row in rows for value in row):
        yield _OTHER
        return
    # The model, too, reads what is not UTF-8 as U+FFFD.
    yield from (_check(tuple(value.decode("utf-8", "replace") for value in row)) for row in rows)


def _read_entries(file: sources.SourceFile, inputs: Sequence[str]) -> Iterator[_Entry]:
    """Yields the rows of the log of `serve`."""
    with sources.reading(file), open_stream(file.path) as stream:
        for line in filter(bytes.strip, stream):
            yield _read_entry(_parse_entry(line), inputs)


def _read_entry(entry: Optional[dict[str, Any]], inputs: Sequence[str]) -> _Entry:
    if entry is None:
        return _DAMAGED
    texts = tuple(entry[name] for name in inputs if isinstance(entry.get(name), str))
    if len(texts) < len(inputs):
        return _WITHOUT_TEXTS if entry.get("status") == 200 else _REFUSED
    return _check(texts)


def _parse_entry(line: bytes) -> Optional[dict[str, Any]]:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) else None


def _check(texts: Texts) -> Union[Texts, parse.Rejection]:
    """Rejects what training would reject: blank texts, and what is not Unicode."""
    if not all(text.strip() for text in texts):
        return parse.Rejection(rejections.EMPTY_TEXT, "")
    try:
        "".join(texts).encode()
    except UnicodeEncodeError as error:
        return parse.Rejection(rejections.UNDECODABLE, str(error))
    return texts
