"""Hashes of records that depend neither on the machine nor on the order of the rows."""

import hashlib
from typing import Iterable, Sequence


def text_hash(texts: Sequence[bytes]) -> int:
    """Returns the 64-bit hash of a record's texts (UTF-8, without NUL)."""
    return hash64(b"text", texts)


def hash64(purpose: bytes, parts: Iterable[bytes]) -> int:
    """Returns a 64-bit hash of parts, which must not contain NUL; hashes for different purposes are independent."""
    return int.from_bytes(hashlib.blake2b(b"\0".join(parts), digest_size=8, person=purpose).digest(), "big")
