"""The requests that a candidate is asked: real reviews, the training process's rows, and hostile texts."""

import dataclasses
from typing import Sequence

# Groups of requests.
WARM_UP = "warm_up"
ALONE = "alone"
TOGETHER = "together"
GOLDEN = "golden"
HOSTILE = "hostile"

# The first requests pay for what a server does once.
_WARM_UPS = 5
# p99 of 100 is the second slowest.
_TIMED = 100
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
    """

    name: str
    group: str
    texts: tuple[bytes, ...]


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
        *_hostile_requests(rows),
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
