"""Asks a model: sentences or the rows of a TSV in, label names and probabilities out."""

import codecs
import contextlib
import csv
import dataclasses
import gzip
import itertools
import json
import os
import sys
from typing import Any, Iterable, Iterator, Mapping, Optional, Sequence, TextIO, Union

import numpy as np
import tensorflow as tf
import tensorflow_text  # noqa: F401  Registers the ops inside the model.

from artifacts import model_card
from components.tsv_example_gen.parse import Rejection, parse_fields
from core import escape
from core.errors import UserError
from local import serving

# Rows read before they are scored: sorted by length they pad little, and memory stays flat.
CHUNK_ROWS = 4096
BATCH_ROWS = 128

ADDED_COLUMNS = ("label_name", "probability")

Score = tuple[str, float]


@dataclasses.dataclass(frozen=True)
class Model:
    """A served model with its card."""

    folder: str
    signature: Any
    card: model_card.ModelCard

    def predict(self, texts: Sequence[str]) -> list[Score]:
        """Returns (label name, its probability) for each text, in order."""
        order = np.argsort([len(text) for text in texts], kind="stable")
        found: dict[int, Score] = {}
        for start in range(0, len(order), BATCH_ROWS):
            rows = order[start : start + BATCH_ROWS]
            outputs = self.signature(text=tf.constant([texts[row] for row in rows]))
            scores = self.card.task.predictions({name: tensor.numpy() for name, tensor in outputs.items()})
            found.update(zip(rows, scores, strict=True))
        return [found[row] for row in range(len(texts))]


def load_model(folder: Optional[str], root: str) -> Model:
    """Loads a model of this pipeline.

    Args:
      folder: a model's folder; None takes the newest that was pushed under the run root.
      root: the run root.

    Raises:
      UserError: there is none, or it can't be loaded.
    """
    folder = folder or serving.newest_model(root)
    try:
        card = model_card.read(folder)
        loaded = tf.saved_model.load(folder)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"--model {folder}: not a model of this pipeline ({str(error).splitlines()[0]})") from error
    return Model(folder, _Keeping(loaded), card)


class _Keeping:
    """A signature that keeps its SavedModel alive: TensorFlow only holds the variables weakly."""

    def __init__(self, loaded: Any):
        self._loaded = loaded

    def __call__(self, **inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return self._loaded.signatures["serving_default"](**inputs)


def predict_sentences(model: Model, sentences: Sequence[str], as_json: bool) -> int:
    """Scores sentences, or the lines of the standard input, onto the standard output; returns the exit status."""
    texts = list(sentences) or [line.rstrip("\n") for line in sys.stdin]
    for text, (label, probability) in zip(texts, model.predict(texts), strict=True):
        if as_json:
            print(json.dumps({"text": text, "label": label, "probability": round(probability, 6)}, ensure_ascii=False))
        else:
            print(f"{escape.line(label)}  {probability:6.1%}  {escape.line(text)}")
    return 0


def predict_file(model: Model, file: str, out: Optional[str], as_json: bool) -> int:
    """Scores the rows of a TSV: the same rows in the same order, two columns more.

    A line that can't be read, or whose text is empty, is kept with both columns empty.

    Args:
      model: whose card says how the file is laid out.
      file: the TSV.
      out: where to write; None is the standard output.
      as_json: one object a row instead of a TSV.

    Returns:
      The exit status.

    Raises:
      UserError: the file can't be read, lacks the text column, or `out` can't be written.
    """
    scored = _Scored(model, file)
    with _destination(out) as stream:
        scored.write(stream, as_json)
    told = f"{scored.rows} rows"
    if scored.unscored:
        told += f", {scored.unscored} without a score (unreadable, or no text)"
    if scored.labelled:
        told += f"; accuracy {scored.right / scored.labelled:.4f} on {scored.labelled} labelled rows"
    print(told, file=sys.stderr)
    return 0


class _Scored:
    """The rows of one file with their scores, and what was counted on the way."""

    def __init__(self, model: Model, file: str):
        self._model, self._file, self._data = model, file, model.card.data
        self.rows = self.unscored = self.labelled = self.right = 0

    def write(self, stream: TextIO, as_json: bool) -> None:
        """Writes every row to the stream."""
        with _opened(self._file) as lines:
            columns = self._columns(lines)
            if not as_json and self._data["header"] is True:
                _write_tsv(stream, [*columns, *ADDED_COLUMNS], self._data["quoting"])
            while chunk := list(itertools.islice(lines, CHUNK_ROWS)):
                for row, score in self._scored_rows(chunk, columns):
                    if as_json:
                        stream.write(_json_row(columns, row, score))
                    else:
                        _write_tsv(stream, [*row, *_shown(score)], self._data["quoting"])

    def _columns(self, lines: Iterator[bytes]) -> list[str]:
        columns = self._data["header"]
        if columns is True:
            columns = self._fields(next(lines, b"").removeprefix(codecs.BOM_UTF8))
        if isinstance(columns, Rejection):
            raise UserError(f"--file {self._file}: its first line can't be read ({columns.reason}: {columns.detail})")
        text = self._model.card.task.text_columns[0]
        if text not in columns:
            raise UserError(f"--file {self._file}: no column {text!r}; there are {', '.join(map(repr, columns))}")
        return list(columns)

    def _fields(self, line: bytes) -> Union[list[str], Rejection]:
        return parse_fields(line.removesuffix(b"\n"), self._data["quoting"], self._data["encoding"])

    def _scored_rows(self, lines: Sequence[bytes], columns: list[str]) -> Iterator[tuple[list[str], Optional[Score]]]:
        """Yields each line's fields with its score; a line that can't be read is one field, its raw text."""
        text_at = columns.index(self._model.card.task.text_columns[0])
        rows = [self._fields(line) for line in lines]
        usable = [
            i
            for i, row in enumerate(rows)
            if isinstance(row, list) and len(row) == len(columns) and row[text_at].strip()
        ]
        scores = dict(zip(usable, self._model.predict([rows[i][text_at] for i in usable]), strict=True))
        for i, row in enumerate(rows):
            if isinstance(row, Rejection):
                row = [lines[i].rstrip(b"\r\n").decode(self._data["encoding"], "backslashreplace")]
            self._count(dict(zip(columns, row, strict=False)), scores.get(i))
            yield row, scores.get(i)

    def _count(self, row: Mapping[str, str], score: Optional[Score]) -> None:
        self.rows += 1
        if score is None:
            self.unscored += 1
            return
        task = self._model.card.task
        truth = task.parse_label(row.get(self._data["label"], ""))
        if truth is not None:
            self.labelled += 1
            self.right += task.label_names[truth] == score[0]


@contextlib.contextmanager
def _opened(file: str) -> Iterator[Iterator[bytes]]:
    try:
        with gzip.open(file) if file.endswith(".gz") else open(file, "rb") as stream:
            yield iter(stream)
    except (OSError, EOFError) as error:
        raise UserError(f"--file {file}: can't be read ({getattr(error, 'strerror', None) or error})") from error


def _json_row(columns: Sequence[str], row: Sequence[str], score: Optional[Score]) -> str:
    fields = dict(zip(columns, row, strict=True)) if len(row) == len(columns) else {"line": "\t".join(row)}
    added = dict(zip(ADDED_COLUMNS, score or (None, None), strict=True))
    return json.dumps({**fields, **added}, ensure_ascii=False) + "\n"


def _shown(score: Optional[Score]) -> tuple[str, str]:
    return ("", "") if score is None else (score[0], f"{score[1]:.6f}")


@contextlib.contextmanager
def _destination(out: Optional[str]) -> Iterator[TextIO]:
    """Yields a stream on `out`, which appears only when everything is written."""
    if out is None:
        yield sys.stdout
        return
    try:
        with open(out + ".new", "w", encoding="utf-8", newline="") as stream:
            yield stream
        os.replace(out + ".new", out)
    except OSError as error:
        raise UserError(f"--out {out}: can't be written ({error.strerror})") from error
    finally:
        if os.path.exists(out + ".new"):
            os.remove(out + ".new")


def _write_tsv(stream: TextIO, fields: Iterable[str], quoting: str) -> None:
    if quoting == "none":
        stream.write("\t".join(fields) + "\n")
    else:
        csv.writer(stream, delimiter="\t", lineterminator="\n").writerow(list(fields))
