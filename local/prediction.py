"""Predicts label names and probabilities for sentences or the rows of a TSV."""

import contextlib
import csv
import dataclasses
import itertools
import json
import pathlib
import shutil
import sys
import tempfile
from typing import IO, Any, Iterable, Iterator, Mapping, Optional, Sequence

import numpy as np
import tensorflow as tf
import tensorflow_text  # noqa: F401  Registers the ops inside the model.

from artifacts import model_card
from components.tsv_example_gen import parse, reader, sources
from core import escape
from core.config import DataConfig
from core.errors import UserError
from core.files import atomic_write
from local import serving

# Rows that are read and scored at once: sorted by length they need little padding, and they limit the memory.
CHUNK_ROWS = 4096
BATCH_ROWS = 128

ADDED_COLUMNS = ("label_name", "probability")

Score = tuple[str, float]


@dataclasses.dataclass(frozen=True)
class Model:
    """A served model with its card."""

    folder: str
    # Kept, because a signature has only weak references to the variables of its SavedModel.
    loaded: Any
    card: model_card.ModelCard

    def predict(self, texts: Sequence[str]) -> list[Score]:
        """Returns (label name, its probability) for each text, in order."""
        order = np.argsort([len(text) for text in texts], kind="stable")
        scores: dict[int, Score] = {}
        for start in range(0, len(order), BATCH_ROWS):
            rows = order[start : start + BATCH_ROWS]
            outputs = self.loaded.signatures["serving_default"](text=tf.constant([texts[row] for row in rows]))
            batch = self.card.task.predictions({name: tensor.numpy() for name, tensor in outputs.items()})
            scores.update(zip(rows, batch, strict=True))
        return [scores[row] for row in range(len(texts))]


def load_model(folder: Optional[str], root: str) -> Model:
    """Loads a model that a pipeline exported.

    Args:
      folder: the model's folder; None for the newest model pushed under the run root.
      root: the run root.

    Raises:
      UserError: there is no model, or it can't be loaded.
    """
    folder = folder or serving.newest_model(root)
    try:
        card = model_card.read(folder)
        return Model(folder, tf.saved_model.load(folder), card)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"--model {folder}: not a model of this pipeline ({str(error).splitlines()[0]})") from error


def predict_sentences(model: Model, sentences: Sequence[str], as_json: bool) -> int:
    """Scores sentences, or the lines of standard input, and prints the scores; returns the exit status."""
    texts = list(sentences) or [line.rstrip("\n") for line in sys.stdin]
    for text, (label, probability) in zip(texts, model.predict(texts), strict=True):
        if as_json:
            print(json.dumps({"text": text, "label": label, "probability": round(probability, 6)}, ensure_ascii=False))
        else:
            print(f"{escape.line(label)}  {probability:6.1%}  {escape.line(text)}")
    return 0


def predict_file(model: Model, file: str, out: Optional[str], as_json: bool) -> int:
    """Scores the rows of a TSV and writes them in the same order, with two more columns.

    The file is read as in training, with the settings in the model's card, so the texts are the same. Rows that
    training would reject have empty predictions, except that rows without a valid label are scored. A line that can't
    be parsed is written as one field; of a line longer than `data.max_line_bytes`, only the first kibibyte.

    Args:
      model: the model.
      file: the TSV.
      out: the file to write; None for standard output.
      as_json: one JSON object per row instead of a TSV.

    Returns:
      The exit status.

    Raises:
      UserError: the file can't be read, has no text column, or `out` can't be written.
    """
    with _regular_file(_File(sources.TEST, file, file)) as source:
        scorer = _FileScorer(model, source)
        with _destination(out) as stream:
            scorer.write(stream, as_json)
    summary = f"{scorer.rows} rows"
    if scorer.unscored:
        summary += f", {scorer.unscored} without a score (unreadable or no text)"
    if scorer.labelled:
        summary += f"; accuracy {scorer.correct / scorer.labelled:.4f} on {scorer.labelled} labelled rows"
    print(summary, file=sys.stderr)
    return 0


class _File(sources.SourceFile):
    """The file after `--file`."""

    def error(self, text: str) -> UserError:
        return UserError(f"--file {self.name}: {text}")


class _FileScorer:
    """Scores and counts the rows of one file."""

    def __init__(self, model: Model, file: sources.SourceFile) -> None:
        task = model.card.task
        (text_column,) = task.text_columns
        # Without ids, which the file may not have.
        self._data = DataConfig(train=file.path, id=None, text=text_column, labels=task.labels, **model.card.data)
        self._model, self._file = model, file
        self._head = reader.read_head(file, self._data)
        if not self._head.columns:
            raise file.error("is empty")
        try:
            self._text = parse.find_column(self._head.columns, "data.text", text_column)
        except UserError as error:
            raise file.error(str(error)) from error
        self.rows = self.unscored = self.labelled = self.correct = 0

    def write(self, stream: IO[str], as_json: bool) -> None:
        """Writes every row with its score to the stream."""
        columns, quoting = self._head.columns, self._data.quoting
        if not as_json and self._data.header is True:
            _write_tsv(stream, [*columns, *ADDED_COLUMNS], quoting)
        for fields, score in self._scored_rows():
            if as_json:
                stream.write(_format_json(columns, fields, score))
            else:
                _write_tsv(stream, [*fields, *_format_score(score)], quoting)

    def _scored_rows(self) -> Iterator[tuple[list[str], Optional[Score]]]:
        """Yields each row's fields and its score, which is None for rejected rows."""
        ranges = reader.cut_into_ranges(self._file, self._head)
        lines = itertools.chain.from_iterable(reader.read_lines(part, self._data.max_line_bytes) for part in ranges)
        while chunk := [self._parse(line) for line in itertools.islice(lines, CHUNK_ROWS)]:
            scores = iter(self._model.predict([text for _, text in chunk if text is not None]))
            for fields, text in chunk:
                score = None if text is None else next(scores)
                self._count(dict(zip(self._head.columns, fields, strict=False)), score)
                yield fields, score

    def _parse(self, line: reader.Line) -> tuple[list[str], Optional[str]]:
        """Returns a line's fields and its text, None if training would reject it."""
        fields = None if line.too_long else parse.parse_fields(line.content, self._data.quoting, self._data.encoding)
        if not isinstance(fields, list):
            return [parse.readable(line.content.rstrip(b"\r"), self._data.encoding)], None
        texts = parse.pick_texts(fields, len(self._head.columns), (self._text,))
        return fields, None if isinstance(texts, parse.Rejection) else texts[0]

    def _count(self, row: Mapping[str, str], score: Optional[Score]) -> None:
        self.rows += 1
        if score is None:
            self.unscored += 1
            return
        task = self._model.card.task
        label = task.parse_label(row.get(self._data.label, ""))
        if label is not None:
            self.labelled += 1
            self.correct += task.label_names[label] == score[0]


@contextlib.contextmanager
def _regular_file(file: _File) -> Iterator[_File]:
    """Yields a file, or a temporary copy of a pipe, because the reader opens a file more than once."""
    if not pathlib.Path(file.path).is_fifo():
        yield file
        return
    with tempfile.NamedTemporaryFile(suffix=pathlib.Path(file.path).suffix) as copy:
        with sources.reading(file), open(file.path, "rb") as pipe:
            shutil.copyfileobj(pipe, copy)
        copy.flush()
        yield dataclasses.replace(file, path=copy.name)


@contextlib.contextmanager
def _destination(out: Optional[str]) -> Iterator[IO[str]]:
    if out is None:
        yield sys.stdout
        return
    try:
        with atomic_write(out) as stream:
            yield stream
    except OSError as error:
        raise UserError(f"--out {out}: can't be written ({error.strerror})") from error


def _format_json(columns: Sequence[str], fields: Sequence[str], score: Optional[Score]) -> str:
    row = dict(zip(columns, fields, strict=True)) if len(fields) == len(columns) else {"line": "\t".join(fields)}
    added = dict(zip(ADDED_COLUMNS, score or (None, None), strict=True))
    return json.dumps({**row, **added}, ensure_ascii=False) + "\n"


def _format_score(score: Optional[Score]) -> tuple[str, str]:
    return ("", "") if score is None else (score[0], f"{score[1]:.6f}")


def _write_tsv(stream: IO[str], fields: Iterable[str], quoting: str) -> None:
    if quoting == "none":
        stream.write("\t".join(fields) + "\n")
    else:
        csv.writer(stream, delimiter="\t", lineterminator="\n").writerow(list(fields))
