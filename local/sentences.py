"""Scores sentences of the command line, or the lines of standard input as they arrive."""

import json
import os
import sys
from typing import Any, Iterator, Mapping, Optional, Sequence

from components.tsv_example_gen import parse, sources
from components.tsv_example_gen.dialect import Dialect
from core import escape
from core.errors import UserError
from local import answers
from local.served_model import Model, Prediction
from schema import rejections

# More than the 64 KiB that a pipe holds, so that one read gets all lines that are waiting.
_BLOCK_BYTES = 1 << 20
_STANDARD_INPUT = "standard input"


def predict(model: Model, sentences: Sequence[str], form: answers.Format, encoding: str = "utf-8") -> int:
    """Scores sentences, or the lines of standard input, and prints an answer to each; returns the exit status.

    A line is answered at once, in a batch only with lines that are already waiting. The answer to a line without text,
    or that can't be decoded, is empty.

    Args:
      model: the model.
      sentences: the sentences; empty to read standard input.
      form: the format of the answers.
      encoding: codec of standard input.

    Raises:
      UserError: the codec is unknown, or nothing could be scored.
    """
    counts = answers.Counts()
    if sentences:
        reader = _Reader(model, form, "utf-8", counts)
        reader.answer([os.fsencode(text) for text in sentences])
    else:
        file = sources.SourceFile(sources.TEST, _STANDARD_INPUT, _STANDARD_INPUT)
        data = answers.make_layout(model.card, file, {"encoding": encoding})
        reader = _Reader(model, form, encoding, counts, data.max_line_bytes)
        for lines in read_waiting(sys.stdin.fileno(), data.max_line_bytes):
            reader.answer(lines)
    if not counts.scored:
        raise UserError(f"{'SENTENCE' if sentences else _STANDARD_INPUT}: {counts.describe_failure('lines')}")
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


class _Reader:
    """Parses lines and prints the answers."""

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

    def answer(self, lines: Sequence[bytes]) -> None:
        texts = [self._parse(line) for line in lines]
        predictions = self._counts.predict(self._model, texts)
        for line, text, prediction in zip(lines, texts, predictions, strict=True):
            shown = parse.readable(line.removesuffix(b"\r"), self._encoding) if text is None else text
            print(self._format(shown, prediction))
        sys.stdout.flush()

    def _parse(self, line: bytes) -> Optional[str]:
        """Returns the text, None if it can't be scored."""
        if self._max_line_bytes is not None and len(line) > self._max_line_bytes:
            self._counts.failures[rejections.LINE_TOO_LONG] += 1
            return None
        # A tab separates nothing here.
        fields = parse.parse_fields(line, Dialect("none", self._encoding))
        text = "" if isinstance(fields, parse.Rejection) else "\t".join(fields)
        if text.strip():
            return text
        self._counts.failures[fields.reason if isinstance(fields, parse.Rejection) else rejections.EMPTY_TEXT] += 1
        return None

    def _format(self, text: str, prediction: Optional[Prediction]) -> str:
        scores = answers.scores(self._model.card, prediction)
        if self._form.as_json:
            empty: Mapping[str, Any] = dict.fromkeys(self._model.card.task.answer_columns)
            # `label_name` of a file's column is `label` here.
            values = {
                name.removesuffix("_name"): round(value, 6) if isinstance(value, float) else value
                for name, value in (prediction.values if prediction else empty).items()
            }
            added = {"scores": scores} if self._form.with_scores else {}
            return json.dumps({"text": text, **values, **added}, ensure_ascii=False)
        if prediction is None or scores is None:
            return f"-  {'-':>6}  {escape.line(text)}"
        parts = [escape.line(part) for part in self._model.card.task.describe_answer(prediction.values)]
        if self._form.with_scores and scores:
            parts.append(", ".join(f"{escape.line(name)} {value:.1%}" for name, value in scores.items()))
        return "  ".join([*parts, escape.line(text)])
