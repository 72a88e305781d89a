"""Hashes of records that are the same on every machine, whatever the order of the rows."""

import hashlib
from typing import Iterable, Sequence


def text_hash(texts: Sequence[bytes]) -> int:
    """Returns the 64-bit hash of a record's texts (UTF-8, without NUL)."""
    return hash64(b"text", texts)


def hash64(use: bytes, parts: Iterable[bytes]) -> int:
    """Returns a 64-bit hash of parts without NUL, which separates them; hashes of different `use` are independent."""
    return int.from_bytes(hashlib.blake2b(b"\0".join(parts), digest_size=8, person=use).digest(), "big")
