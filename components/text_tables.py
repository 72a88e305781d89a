"""Tables of further texts, `core.config.TextsConfig`: reads their rows, checks and fingerprints their files."""

import collections
import os
from typing import Iterator, Optional, Sequence, Union

from components.tsv_example_gen import file_head, parse, reader, sources
from components.tsv_example_gen.dialect import make_dialect
from core import progress
from core.config import DataConfig, TextsConfig
from schema import rejections

BAD_SCORE = "bad_score"

# The UTF-8 texts of a row: one, or the two of a pair.
Texts = tuple[bytes, ...]

_REPORT_ROWS = 100_000


def read_table(
    table: TextsConfig, setting: str, rejected: "collections.Counter[str]"
) -> Iterator[tuple[Texts, Optional[float]]]:
    """Yields the texts of each row of a table, and its score from 0 to 1, None for none.

    Args:
      table: the table.
      setting: the setting that names the table, for messages.
      rejected: is increased by the rejected rows by reason.

    Raises:
      UserError: a file can't be used.
    """
    data = table.data
    for file, head in locate(table, setting):
        text_columns = [parse.find_column(head.columns, f"{setting}.text", name) for name in data.texts]
        score_column = parse.find_column(head.columns, f"{setting}.score", table.score) if table.score else None
        for fields in _read_fields(file, head, data):
            if isinstance(fields, parse.Rejection):
                rejected[fields.reason] += 1
                continue
            texts = parse.pick_texts(fields, len(head.columns), text_columns)
            if isinstance(texts, parse.Rejection):
                rejected[texts.reason] += 1
                continue
            score = None
            if score_column is not None and fields[score_column].strip():
                score = parse_score(fields[score_column], table.score_range)
                if score is None:
                    rejected[BAD_SCORE] += 1
            yield tuple(text.encode() for text in texts), score


def _read_fields(
    file: sources.SourceFile, head: file_head.FileHead, data: DataConfig
) -> Iterator[Union[list[str], parse.Rejection]]:
    """Yields the fields of each record of a file, or why it is rejected."""
    dialect = make_dialect(data, head.keys)
    records = reader.read_records(reader.whole_file(file, head), data, data.make_task())
    for count, record in enumerate(records, start=1):
        if count % _REPORT_ROWS == 0:
            progress.report(f"reading {os.path.basename(file.name)}", count, 0)
        if record.too_long:
            yield parse.Rejection(rejections.LINE_TOO_LONG, "")
        else:
            yield parse.parse_fields(record.content, dialect)


def locate(table: TextsConfig, setting: str) -> Iterator[tuple[sources.SourceFile, file_head.FileHead]]:
    """Yields the files of a table that have records, with their heads.

    Raises:
      UserError: a file can't be used, or lacks a column.
    """
    data = table.data
    files = sources.resolve_location(setting, table.file, None, None)[0]
    for file, head in zip(files, file_head.read_heads(files, data), strict=True):
        if head.has_records:
            wanted = [*data.texts, *([table.score] if table.score else [])]
            for name in wanted:
                if name.strip() not in [column.strip() for column in head.columns]:
                    raise file.error(f"column {name!r} is missing from the columns {', '.join(head.columns)}")
            yield file, head


def check(tables: Sequence[TextsConfig], setting: str) -> None:
    """Checks the start of the tables' files.

    Raises:
      UserError: a file can't be used, or lacks a column.
    """
    for table in tables:
        collections.deque(locate(table, setting), maxlen=0)


def fingerprint(tables: Sequence[TextsConfig], setting: str) -> str:
    """Returns a digest of the files' content, empty without tables.

    Raises:
      UserError: a file can't be used.
    """
    digests = []
    for table in tables:
        for file, head in locate(table, setting):
            progress.report("fingerprint", 0, 0, file=file.name)
            sha256, _ = reader.survey(file, head, table.data, table.data.make_task())
            digests.append((table.model_dump_json(exclude={"file"}), sha256))
    return sources.fingerprint(digests) if digests else ""


def parse_score(value: str, score_range: tuple[float, float]) -> Optional[float]:
    """Returns a score scaled to 0 to 1; None if the value is not a number in the range."""
    low, high = score_range
    try:
        number = float(value)
    except ValueError:
        return None
    return (number - low) / (high - low) if low <= number <= high else None
