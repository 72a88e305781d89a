"""Scores sentences of the command line, or the lines of standard input as they arrive."""

import itertools
import json
import os
import sys
from typing import Any, Iterator, Mapping, Optional, Sequence, Union

from components.tsv_example_gen import parse, sources
from components.tsv_example_gen.dialect import Dialect
from core import escape
from core.errors import UserError
from local import answers
from local.predictions import Prediction
from local.served_model import Model, Texts
from schema import features, rejections

# More than the 64 KiB that a pipe holds, so that one read gets all lines that are waiting.
_BLOCK_BYTES = 1 << 20
_STANDARD_INPUT = "standard input"


def predict(model: Model, sentences: Sequence[str], form: answers.Format, encoding: str = "utf-8") -> int:
    """Scores sentences, or the lines of standard input, and prints an answer to each; returns the exit status.

    A line is answered at once, in a batch only with lines that are already waiting. The answer to a line without text,
    or that can't be decoded, is empty. If the model takes pairs, two sentences are a pair, and a line is both texts
    with a tab between them.

    Args:
      model: the model.
      sentences: the sentences; empty to read standard input.
      form: the format of the answers.
      encoding: codec of standard input.

    Raises:
      UserError: the codec is unknown, nothing could be scored, or the second sentence of a pair is missing.
    """
    counts, inputs = answers.Counts(), len(model.card.task.text_inputs)
    if sentences:
        reader = _Reader(model, form, "utf-8", counts)
        reader.answer(_group([os.fsencode(text) for text in sentences], inputs))
    else:
        file = sources.SourceFile(sources.TEST, _STANDARD_INPUT, _STANDARD_INPUT)
        data = answers.make_layout(model.card, file, {"encoding": encoding})
        reader = _Reader(model, form, encoding, counts, data.max_line_bytes)
        for lines in read_waiting(sys.stdin.fileno(), data.max_line_bytes):
            reader.answer([(line,) if inputs == 1 else tuple(line.split(b"\t")) for line in lines])
    if not counts.scored:
        hint = "; the model takes pairs: two texts on a line, with a tab between them" if inputs > 1 else ""
        raise UserError(f"{'SENTENCE' if sentences else _STANDARD_INPUT}: {counts.describe_failure('lines')}{hint}")
    counts.report_cut(model.card)
    return 0


def read_waiting(descriptor: int, max_line_bytes: int) -> Iterator[list[bytes]]:
    r"""Yields the lines of a stream, without `\n`, as many at once as are waiting; waits only if there are none.

    Args:
      descriptor: file descriptor of the stream.
      max_line_bytes: of a longer line, only this and one more byte are kept.
    """
    rest = b""
    while block := os.read(descriptor, _BLOCK_BYTES):
        *lines, rest = (rest + block).split(b"\n")
        rest = rest[: max_line_bytes + 1]
        if lines:
            yield [line[: max_line_bytes + 1] for line in lines]
    if rest:
        yield [rest]


def _group(sentences: Sequence[bytes], inputs: int) -> list[tuple[bytes, ...]]:
    """Returns the rows that sentences make up.

    Raises:
      UserError: the last row is incomplete.
    """
    if len(sentences) % inputs:
        raise UserError(
            f"SENTENCE: {len(sentences)} is an odd number of sentences; the model takes pairs, so write both of each"
        )
    return [tuple(sentences[start : start + inputs]) for start in range(0, len(sentences), inputs)]


class _Reader:
    """Parses rows and prints the answers."""

    def __init__(
        self,
        model: Model,
        form: answers.Format,
        encoding: str,
        counts: answers.Counts,
        max_line_bytes: Optional[int] = None,
    ) -> None:
        self._model, self._form, self._encoding, self._counts = model, form, encoding, counts
        self._max_line_bytes = max_line_bytes

    def answer(self, rows: Sequence[tuple[bytes, ...]]) -> None:
        parsed = [self._parse(row) for row in rows]
        predictions = self._counts.predict(self._model, parsed)
        for row, texts, prediction in zip(rows, parsed, predictions, strict=True):
            shown = parse.readable(b"\t".join(row).removesuffix(b"\r"), self._encoding)
            print(self._format(texts or (shown,), prediction))
        sys.stdout.flush()

    def _parse(self, row: tuple[bytes, ...]) -> Optional[Texts]:
        """Returns the texts, None if they can't be scored."""
        reason = None
        if self._max_line_bytes is not None and len(b"\t".join(row)) > self._max_line_bytes:
            reason = rejections.LINE_TOO_LONG
        elif len(row) != len(self._model.card.task.text_inputs):
            reason = rejections.WRONG_COLUMN_COUNT
        texts = [] if reason else [self._parse_text(text) for text in row]
        reason = reason or next((text.reason for text in texts if isinstance(text, parse.Rejection)), None)
        if reason:
            self._counts.failures[reason] += 1
            return None
        return tuple(text for text in texts if isinstance(text, str))

    def _parse_text(self, content: bytes) -> Union[str, parse.Rejection]:
        # A tab in it separates nothing.
        fields = parse.parse_fields(content, Dialect("none", self._encoding))
        if isinstance(fields, parse.Rejection):
            return fields
        text = "\t".join(fields)
        return text if text.strip() else parse.Rejection(rejections.EMPTY_TEXT, "")

    def _format(self, texts: Texts, prediction: Optional[Prediction]) -> str:
        scores = answers.scores(self._model.card, prediction)
        if self._form.as_json:
            empty: Mapping[str, Any] = dict.fromkeys(self._model.card.task.answer_columns)
            # `label_name` of a file's column is `label` here.
            values = {
                name.removesuffix("_name"): round(value, 6) if isinstance(value, float) else value
                for name, value in (prediction.values if prediction else empty).items()
            }
            added = {"scores": scores} if self._form.with_scores else {}
            # The line that can't be read as a pair has no second text.
            named = dict(itertools.zip_longest(self._model.card.task.text_inputs, texts))
            return json.dumps({**named, **values, **added}, ensure_ascii=False)
        text = escape.line(features.show_texts(texts))
        if prediction is None or scores is None:
            return f"-  {'-':>6}  {text}"
        parts = [escape.line(part) for part in self._model.card.task.describe_answer(prediction.values)]
        if self._form.with_scores and scores:
            parts.append(", ".join(f"{escape.line(name)} {value:.1%}" for name, value in scores.items()))
        return "  ".join([*parts, text])
