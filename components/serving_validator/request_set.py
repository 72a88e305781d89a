"""The requests that a candidate is asked: real reviews, the training process's rows, malformed and hostile ones."""

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
MISSHAPEN = "misshapen"
RECOVERY = "recovery"
HOSTILE = "hostile"

# Name of the one input of the signature `serving_default`.
INPUT = "text"

# The first requests pay for what a server does once.
_WARM_UPS = 5
# p99 of 100 is the second slowest.
_TIMED = 100
# Four callers have fifty each: enough to meet one another at every place of a model that keeps something between two
# operations. One in fifty is a batch, since other shapes take other paths.
_CONCURRENT = 200
_CONCURRENT_BATCH_EVERY = 50
_BIG_BATCH = 1000
GOLDEN_BATCH = 64
_LONG = 100_000


@dataclasses.dataclass(frozen=True)
class Request:
    """One request.

    Attributes:
      name: what a verdict calls it.
      group: which checks it serves.
      texts: the batch, UTF-8 or not.
      malformed: what is sent instead of a batch, by input name: bytes or numbers, in lists or not.
    """

    name: str
    group: str
    texts: tuple[bytes, ...] = ()
    malformed: Optional[Mapping[str, Any]] = dataclasses.field(default=None, hash=False)

    @property
    def inputs(self) -> Mapping[str, Any]:
        """What is sent, by input name."""
        return {INPUT: list(self.texts)} if self.malformed is None else self.malformed


def as_json(value: Any) -> Any:
    """Turns inputs into what TensorFlow Serving's REST interface takes: `{"b64": ...}` for bytes."""
    if isinstance(value, Mapping):
        return {name: as_json(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(item) for item in value]
    return {"b64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value


def distinct(requests: Iterable[Request]) -> list[Request]:
    """The first of those requests that are the same to a model, without the groups that are about timing."""
    timing = (WARM_UP, CONCURRENT, RECOVERY)
    by_inputs: dict[str, Request] = {}
    for request in requests:
        if request.group not in timing:
            by_inputs.setdefault(json.dumps(as_json(request.inputs)), request)
    return list(by_inputs.values())


def build_requests(rows: Sequence[bytes], golden: Sequence[bytes]) -> list[Request]:
    """Makes the requests in the order they are asked; those that may kill the process come last.

    Args:
      rows: real texts, one or more.
      golden: texts that the training process answered.
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
        Request("a number for a text", MALFORMED, malformed={INPUT: [1.5]}),
        Request("no input", MALFORMED, malformed={}),
        Request("an input of another name", MALFORMED, malformed={"sentence": [row]}),
        # Whether these are an error is up to the graph: TensorFlow feeds them to it whatever its signature says.
        Request("a text without a batch", MISSHAPEN, malformed={INPUT: row}),
        Request("a table of texts", MISSHAPEN, malformed={INPUT: [[row, row]]}),
        Request("a review after them", RECOVERY, (row,)),
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
    # The number of rows is on trial, not their length: the shorter half keeps this affordable for a large model.
    short = sorted(rows, key=len)[: (len(rows) + 1) // 2]
    return [
        *(Request(name, HOSTILE, (text,)) for name, text in texts.items()),
        Request("hostile texts and reviews together", HOSTILE, (*texts.values(), *rows)),
        Request("batch of 0", HOSTILE, ()),
        Request("batch of 1", HOSTILE, (rows[0],)),
        Request("batch of 1,000", HOSTILE, tuple(short[i % len(short)] for i in range(_BIG_BATCH))),
    ]
