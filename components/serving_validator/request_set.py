"""The requests sent to a candidate: real reviews, rows from training, malformed input and hostile texts."""

import base64
import dataclasses
import json
from typing import Any, Iterable, Mapping, Optional, Sequence

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

# The input of the signature `serving_default`.
INPUT = "text"

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


@dataclasses.dataclass(frozen=True)
class Request:
    """One request.

    Attributes:
      name: name of the request in reasons.
      group: the group, which determines the checks that use the request.
      texts: the batch, UTF-8 or not.
      malformed: inputs to send instead of a batch: input name -> bytes or numbers, possibly in lists.
    """

    name: str
    group: str
    texts: tuple[bytes, ...] = ()
    malformed: Optional[Mapping[str, Any]] = dataclasses.field(default=None, hash=False)

    @property
    def inputs(self) -> Mapping[str, Any]:
        """The inputs to send, by name."""
        return {INPUT: list(self.texts)} if self.malformed is None else self.malformed


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


def build_requests(rows: Sequence[bytes], golden: Sequence[bytes]) -> list[Request]:
    """Builds the requests in the order they are sent; those that may crash the process come last.

    Args:
      rows: real texts, at least one.
      golden: texts of the training process's recorded answers.
    """
    return [
        *(Request(f"warm-up {i + 1}", WARM_UP, (rows[i % len(rows)],)) for i in range(_WARM_UPS)),
        *(Request(f"review {i + 1} alone", ALONE, (rows[i % len(rows)],)) for i in range(_TIMED)),
        Request(f"{len(rows)} reviews together", TOGETHER, tuple(rows)),
        *(
            Request(f"rows from training, batch {i // GOLDEN_BATCH + 1}", GOLDEN, tuple(golden[i : i + GOLDEN_BATCH]))
            for i in range(0, len(golden), GOLDEN_BATCH)
        ),
        *_concurrent_requests(rows),
        *_malformed_requests(rows[0]),
        *_hostile_requests(rows),
    ]


def _concurrent_requests(rows: Sequence[bytes]) -> list[Request]:
    return [
        Request(
            f"concurrent request {i + 1}",
            CONCURRENT,
            (rows[i % len(rows)],) if i % _CONCURRENT_BATCH_EVERY else tuple(rows),
        )
        for i in range(_CONCURRENT)
    ]


def _malformed_requests(row: bytes) -> list[Request]:
    return [
        Request("a number instead of a text", MALFORMED, malformed={INPUT: [1.5]}),
        Request("no input", MALFORMED, malformed={}),
        Request("an unknown input", MALFORMED, malformed={"sentence": [row]}),
        # The graph decides whether these are errors: TensorFlow does not check the shapes of a signature.
        Request("a text without a batch", WRONG_SHAPE, malformed={INPUT: row}),
        Request("a table of texts", WRONG_SHAPE, malformed={INPUT: [[row, row]]}),
        Request("a review afterwards", RECOVERY, (row,)),
    ]


def _hostile_requests(rows: Sequence[bytes]) -> list[Request]:
    texts = {
        "empty string": b"",
        "spaces only": b"  \t\n ",
        "one character": "굿".encode(),
        "emoji only": "😀👍🏽👨‍👩‍👧".encode(),
        "invalid UTF-8": b"\xff\xfe\xc0\xaf \xed\xa0\x80 \xec\x98",
        "NUL": b"\x00 a\x00b",
        "100,000 characters": ("재미있는 영화 " * _LONG)[:_LONG].encode(),
        "100,000 characters without a space": ("ㅋ" * _LONG).encode(),
    }
    # The large batch tests the number of rows, not their length; short texts keep it fast for a large model.
    short = sorted(rows, key=len)[: (len(rows) + 1) // 2]
    return [
        *(Request(name, HOSTILE, (text,)) for name, text in texts.items()),
        Request("hostile texts and reviews together", HOSTILE, (*texts.values(), *rows)),
        Request("batch of 0", HOSTILE, ()),
        Request("batch of 1", HOSTILE, (rows[0],)),
        Request("batch of 1,000", HOSTILE, tuple(short[i % len(short)] for i in range(_BIG_BATCH))),
    ]
