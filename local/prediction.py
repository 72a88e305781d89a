"""Scores the rows of a TSV."""

import csv
import itertools
import json
import sys
from typing import IO, Any, Iterable, Iterator, Mapping, Optional, Sequence, Union

from components.tsv_example_gen import parse, sources
from components.tsv_example_gen.dialect import Dialect
from core.errors import UserError
from local import answers, output_file, text_rows
from local.predictions import Prediction
from local.served_model import Model, Texts
from schema.labels import LeftOut

# Rows that are read and scored at once: sorted by length they need little padding, and they limit the memory.
CHUNK_ROWS = 4096

# With the name of a class: one of the columns of `--scores`.
SCORE_COLUMN = "probability_"


def predict_file(
    model: Model, file: str, out: Optional[str], form: answers.Format, options: Mapping[str, Any] = {}
) -> int:
    """Scores the rows of a TSV and writes them in the same order, with more columns.

    The file is read as in training, with the settings in the model's card, so the texts are the same. Rows that
    training would reject have empty predictions, except that rows without a valid label are scored. A line that can't
    be parsed is written as one field; of a line longer than `data.max_line_bytes`, only the first kibibyte.

    Args:
      model: the model.
      file: the TSV.
      out: the file to write; None for standard output.
      form: the format of the answers; by default a TSV.
      options: settings that differ from the card's, by names of `answers.OPTIONS`.

    Returns:
      The exit status.

    Raises:
      UserError: an option is wrong; the file can't be read or has no text column; no row could be scored; `out` is the
        same file, or can't be written.
    """
    output_file.check(file, out)
    with text_rows.regular_file(_File(sources.TEST, file, file)) as source:
        scorer = _FileScorer(model, source, form, options)
        with output_file.open_stream(out) as stream:
            scorer.write(stream)
            if not scorer.counts.scored:
                raise source.error(scorer.counts.describe_failure("rows"))
    print(scorer.describe(), file=sys.stderr)
    scorer.counts.report_cut(model.card)
    return 0


class _File(sources.SourceFile):
    """The file after `--file`."""

    def error(self, text: str) -> UserError:
        return UserError(f"--file {self.name}: {answers.name_options(text)}")


class _FileScorer:
    """Scores and counts the rows of one file."""

    def __init__(
        self, model: Model, file: sources.SourceFile, form: answers.Format, options: Mapping[str, Any]
    ) -> None:
        self._rows = text_rows.TextRows(model.card, file, options)
        self._model, self._form = model, form
        self.counts = answers.Counts()
        self._labelled, self._quality = 0, 0.0

    def write(self, stream: IO[str]) -> None:
        """Writes every row with its prediction to the stream."""
        dialect = self._rows.dialect
        if not self._form.as_json and self._rows.data.header is True:
            _write_row(stream, [*self._rows.columns, *self._added_columns()], dialect)
        for fields, prediction in self._scored_rows():
            if self._form.as_json:
                stream.write(self._format_json(fields, prediction))
            else:
                _write_row(stream, [*fields, *self._format_fields(prediction)], dialect)

    def describe(self) -> str:
        """Returns the numbers of rows and the accuracy on those with a label."""
        unscored = self.counts.failures.total()
        summary = f"{self.counts.scored + unscored} rows"
        if unscored:
            summary += f", {unscored} without a score (unreadable or no text)"
        if self._labelled:
            quality = f"{self._model.card.task.answer_quality} {self._quality / self._labelled:.4f}"
            summary += f"; {quality} on {self._labelled} labelled rows"
        return summary

    def _scored_rows(self) -> Iterator[tuple[list[str], Optional[Prediction]]]:
        """Yields each row's fields and its prediction, None for rejected rows."""
        names = [name.strip() for name in self._rows.columns]
        read = self._rows.read()
        while chunk := list(itertools.islice(read, CHUNK_ROWS)):
            predictions = self.counts.predict(self._model, [self._count(texts) for _, texts in chunk])
            for (fields, _), prediction in zip(chunk, predictions, strict=True):
                if prediction is not None:
                    self._compare(dict(zip(names, fields, strict=False)), prediction)
                yield fields, prediction

    def _count(self, texts: Union[Texts, parse.Rejection]) -> Optional[Texts]:
        """Counts a rejected row, for which it returns None."""
        if isinstance(texts, parse.Rejection):
            self.counts.failures[texts.reason] += 1
            return None
        return texts

    def _compare(self, row: Mapping[str, str], prediction: Prediction) -> None:
        """Compares the prediction with the row's label, if it has one."""
        task = self._model.card.task
        label = task.parse_label(row.get(self._rows.data.label.strip(), ""))
        if label is not None and not isinstance(label, LeftOut):
            self._labelled += 1
            self._quality += task.rate_answer(label, prediction.values)

    def _added_columns(self) -> list[str]:
        task = self._model.card.task
        names = task.label_names if self._form.with_scores else ()
        return [*task.answer_columns, *(SCORE_COLUMN + name for name in names)]

    def _format_fields(self, prediction: Optional[Prediction]) -> list[str]:
        if prediction is None:
            return [""] * len(self._added_columns())
        scores = prediction.class_probabilities if self._form.with_scores else ()
        values = (*prediction.values.values(), *scores)
        return [value if isinstance(value, str) else f"{value:.6f}" for value in values]

    def _format_json(self, fields: Sequence[str], prediction: Optional[Prediction]) -> str:
        columns = self._rows.columns
        row = dict(zip(columns, fields, strict=True)) if len(fields) == len(columns) else {"line": "\t".join(fields)}
        empty: Mapping[str, Any] = dict.fromkeys(self._model.card.task.answer_columns)
        added = dict(prediction.values if prediction else empty)
        if self._form.with_scores:
            added["scores"] = answers.scores(self._model.card, prediction)
        return json.dumps({**row, **added}, ensure_ascii=False) + "\n"


def _write_row(stream: IO[str], fields: Iterable[str], dialect: Dialect) -> None:
    """Writes a row in the input's dialect; of JSON Lines and Parquet, as a quoted TSV."""
    if dialect.quoting == "none" and dialect.escape is None:
        stream.write(dialect.delimiter.join(fields) + "\n")
        return
    quoting = csv.QUOTE_NONE if dialect.quoting == "none" else csv.QUOTE_MINIMAL
    form: Any = {"delimiter": dialect.delimiter, "escapechar": dialect.escape, "quoting": quoting}
    csv.writer(stream, lineterminator="\n", **form).writerow(list(fields))
