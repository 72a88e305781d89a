"""The rows of a table of texts, read as a run reads its training data."""

import contextlib
import dataclasses
import pathlib
import shutil
import tempfile
from typing import Any, Iterator, Mapping, TypeVar, Union

from artifacts.model_card import ModelCard
from components.tsv_example_gen import file_head, parse, reader, records, sources
from components.tsv_example_gen.dialect import make_dialect
from core.errors import UserError
from local import answers
from local.served_model import Texts
from schema import rejections

_File = TypeVar("_File", bound=sources.SourceFile)


class TextRows:
    """A table with the text columns of a model.

    Attributes:
      data: how it is read.
      dialect: how its fields are separated and quoted.
      columns: names of its columns.
    """

    def __init__(self, card: ModelCard, file: sources.SourceFile, options: Mapping[str, Any]) -> None:
        """Reads the start of the table.

        Args:
          card: the model's card, with the layout of its training data.
          file: the table.
          options: settings that differ from the card's, by names of `answers.OPTIONS`.

        Raises:
          UserError: an option is wrong, or the file can't be read or has no text column.
        """
        self.data = answers.make_layout(card, file, options)
        self._file, self._task = file, card.task
        self._head = file_head.read_head(file, self.data)
        self.dialect = make_dialect(self.data, self._head.keys)
        self.columns = self._head.columns
        if not self.columns:
            raise file.error("is empty")
        try:
            self._texts = [parse.find_column(self.columns, "data.text", name) for name in self.data.texts]
        except UserError as error:
            hint = file_head.explain_columns(self._head, self.data, self._task)
            raise file.error(f"{error}{hint}") from error

    def read(self) -> Iterator[tuple[list[str], Union[Texts, parse.Rejection]]]:
        """Yields each row's fields, and its texts or why training would reject it; a label is not needed.

        A line that can't be parsed is one field; of a line longer than `data.max_line_bytes`, only the first kibibyte.

        Raises:
          UserError: the file can't be read to its end.
        """
        whole = reader.whole_file(self._file, self._head)
        return map(self._parse, reader.read_records(whole, self.data, self._task))

    def _parse(self, record: records.Record) -> tuple[list[str], Union[Texts, parse.Rejection]]:
        if record.too_long:
            fields: Any = parse.Rejection(rejections.LINE_TOO_LONG, "")
        else:
            fields = parse.parse_fields(record.content, self.dialect)
        if isinstance(fields, parse.Rejection):
            return [parse.readable(record.content.rstrip(b"\r"), self.data.encoding)], fields
        return fields, parse.pick_texts(fields, len(self.columns), self._texts)


@contextlib.contextmanager
def regular_file(file: _File) -> Iterator[_File]:
    """Yields a file, or a temporary copy of a pipe, because the reader opens a file more than once."""
    if not pathlib.Path(file.path).is_fifo():
        yield file
        return
    with tempfile.NamedTemporaryFile(suffix=pathlib.Path(file.path).suffix) as copy:
        with sources.reading(file), open(file.path, "rb") as pipe:
            shutil.copyfileobj(pipe, copy)
        copy.flush()
        yield dataclasses.replace(file, path=copy.name)
