"""The requests sent to a candidate: real reviews, rows from training, malformed input and hostile texts."""

import base64
import dataclasses
import json
from typing import Any, Iterable, Mapping, Optional, Sequence

from schema.features import TEXT_INPUTS

# Groups of requests.
WARM_UP = "warm_up"
ALONE = "alone"
TOGETHER = "together"
GOLDEN = "golden"
CONCURRENT = "concurrent"
MALFORMED = "malformed"
WRONG_SHAPE = "wrong_shape"
RECOVERY = "recovery"
HOSTILE = "hostile"

# The texts of a row, UTF-8 or not: one, or the two of a pair.
Texts = tuple[bytes, ...]

# The first requests include one-time work of the server.
_WARM_UPS = 5
# p99 of 100 is the second slowest.
_TIMED = 100
# Fifty for each of four callers: enough to expose a race in a model that keeps state between two operations. One in
# fifty is a batch, because other shapes may run other code.
_CONCURRENT = 200
_CONCURRENT_BATCH_EVERY = 50
_BIG_BATCH = 1000
GOLDEN_BATCH = 64
_LONG = 100_000

_HOSTILE = {
    "empty string": b"",
    "spaces only": b"  \t\n ",
    "one character": "굿".encode(),
    "emoji only": "😀👍🏽👨‍👩‍👧".encode(),
    "invalid UTF-8": b"\xff\xfe\xc0\xaf \xed\xa0\x80 \xec\x98",
    "NUL": b"\x00 a\x00b",
    "100,000 characters": ("재미있는 영화 " * _LONG)[:_LONG].encode(),
    "100,000 characters without a space": ("ㅋ" * _LONG).encode(),
}
# The last one is as wide as any text that the model reads.
_WARMING = ("one character", "emoji only", "100,000 characters")


@dataclasses.dataclass(frozen=True)
class Request:
    """One request.

    Attributes:
      name: name of the request in reasons.
      group: the group, which determines the checks that use the request.
      texts: the batch, UTF-8 or not; of pairs, the first texts.
      malformed: inputs to send instead of a batch: input name -> bytes or numbers, possibly in lists.
      pairs: the second texts of a batch of pairs; None for single texts.
    """

    name: str
    group: str
    texts: tuple[bytes, ...] = ()
    malformed: Optional[Mapping[str, Any]] = dataclasses.field(default=None, hash=False)
    pairs: Optional[tuple[bytes, ...]] = None

    @property
    def rows(self) -> tuple[Texts, ...]:
        """The texts of each row of the batch."""
        return tuple(zip(*self._columns, strict=True))

    @property
    def inputs(self) -> Mapping[str, Any]:
        """The inputs to send, by name."""
        if self.malformed is not None:
            return self.malformed
        # Not strict: only pairs have a second input.
        return {name: list(column) for name, column in zip(TEXT_INPUTS, self._columns, strict=False)}

    @property
    def _columns(self) -> list[tuple[bytes, ...]]:
        return [self.texts] if self.pairs is None else [self.texts, self.pairs]


def as_json(value: Any) -> Any:
    """Converts inputs to the JSON of TensorFlow Serving's REST API: `{"b64": ...}` for bytes."""
    if isinstance(value, Mapping):
        return {name: as_json(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(item) for item in value]
    return {"b64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value


def distinct(requests: Iterable[Request]) -> list[Request]:
    """Returns the requests without repeated inputs, and without the groups that only measure time or concurrency."""
    timing = (WARM_UP, CONCURRENT, RECOVERY)
    by_inputs: dict[str, Request] = {}
    for request in requests:
        if request.group not in timing:
            by_inputs.setdefault(json.dumps(as_json(request.inputs)), request)
    return list(by_inputs.values())


def build_requests(rows: Sequence[Texts], golden: Sequence[Texts]) -> list[Request]:
    """Builds the requests in the order they are sent; those that may crash the process come last.

    Args:
      rows: real rows, at least one; all have one text, or all have two.
      golden: rows of the training process's recorded answers.
    """
    return [
        *(_request(f"warm-up {i + 1}", WARM_UP, [rows[i % len(rows)]]) for i in range(_WARM_UPS)),
        *(_request(f"review {i + 1} alone", ALONE, [rows[i % len(rows)]]) for i in range(_TIMED)),
        _request(f"{len(rows)} reviews together", TOGETHER, rows),
        *(
            _request(f"rows from training, batch {i // GOLDEN_BATCH + 1}", GOLDEN, golden[i : i + GOLDEN_BATCH])
            for i in range(0, len(golden), GOLDEN_BATCH)
        ),
        *_concurrent_requests(rows),
        *_malformed_requests(rows[0]),
        *_hostile_requests(rows),
    ]


def _request(name: str, group: str, rows: Sequence[Texts]) -> Request:
    """Makes the request with a batch of at least one row."""
    texts, *pairs = zip(*rows, strict=True)
    return Request(name, group, texts, pairs=pairs[0] if pairs else None)


def _concurrent_requests(rows: Sequence[Texts]) -> list[Request]:
    return [
        _request(
            f"concurrent request {i + 1}",
            CONCURRENT,
            [rows[i % len(rows)]] if i % _CONCURRENT_BATCH_EVERY else rows,
        )
        for i in range(_CONCURRENT)
    ]


def _malformed_requests(row: Texts) -> list[Request]:
    inputs = dict(zip(TEXT_INPUTS, row, strict=False))
    first, *second = inputs
    malformed: dict[str, Mapping[str, Any]] = {
        "a number instead of a text": {name: [1.5] for name in inputs},
        "no input": {},
        "an unknown input": {"sentence": [row[0]]},
    }
    for name in second:
        malformed[f"no {name}"] = {first: [row[0]]}
        malformed[f"more rows of {first} than of {name}"] = {first: [row[0]] * 2, name: [inputs[name]]}
        malformed[f"more rows of {name} than of {first}"] = {first: [row[0]], name: [inputs[name]] * 2}
    return [
        *(Request(name, MALFORMED, malformed=sent) for name, sent in malformed.items()),
        # The graph decides whether these are errors: TensorFlow does not check the shapes of a signature.
        Request("a text without a batch", WRONG_SHAPE, malformed=inputs),
        Request("a table of texts", WRONG_SHAPE, malformed={name: [[text, text]] for name, text in inputs.items()}),
        _request("a review afterwards", RECOVERY, [row]),
    ]


def requests_without_reviews(inputs: int) -> list[Request]:
    """Returns those of the hostile requests that hold no text of the data and are answered fast: short and long ones.

    Args:
      inputs: number of texts of a row: 1, or 2 for pairs.
    """
    rows = {name: (_HOSTILE[name],) * inputs for name in _WARMING}
    return [_request(name, HOSTILE, [row]) for name, row in rows.items()]


def _hostile_requests(rows: Sequence[Texts]) -> list[Request]:
    hostile = _hostile_rows(_HOSTILE, rows[0])
    # The large batch tests the number of rows, not their length; short texts keep it fast for a large model.
    short = sorted(rows, key=lambda row: sum(map(len, row)))[: (len(rows) + 1) // 2]
    return [
        *(_request(name, HOSTILE, [row]) for name, row in hostile.items()),
        _request("hostile texts and reviews together", HOSTILE, [*hostile.values(), *rows]),
        Request("batch of 0", HOSTILE, pairs=None if len(rows[0]) == 1 else ()),
        _request("batch of 1", HOSTILE, [rows[0]]),
        _request("batch of 1,000", HOSTILE, [short[i % len(short)] for i in range(_BIG_BATCH)]),
    ]


def _hostile_rows(texts: Mapping[str, bytes], row: Texts) -> dict[str, Texts]:
    """Returns a row for each text; for pairs, one with the text first, one with it second, and one with it twice."""
    if len(row) == 1:
        return {name: (text,) for name, text in texts.items()}
    first, second = row
    return {
        f"{name}, {place}": pair
        for name, text in texts.items()
        for place, pair in (("first", (text, second)), ("second", (first, text)), ("both", (text, text)))
    }
