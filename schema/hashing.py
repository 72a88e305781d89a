"""Hashes of records that depend neither on the machine nor on the order of the rows."""

import hashlib
from typing import Iterable, Sequence


def text_hash(texts: Sequence[bytes]) -> int:
    """Returns the 64-bit hash of a record's texts (UTF-8, without NUL)."""
    return hash64(b"text", texts)


def hash64(purpose: bytes, parts: Iterable[bytes]) -> int:
    """Returns a 64-bit hash of parts, which must not contain NUL; hashes for different purposes are independent."""
    return _hash(purpose, parts, 8)


def hash128(purpose: bytes, parts: Iterable[bytes]) -> int:
    """Returns a 128-bit hash of parts, as `hash64` does: among any number of records no two are equal by chance."""
    return _hash(purpose, parts, 16)


def _hash(purpose: bytes, parts: Iterable[bytes], size: int) -> int:
    return int.from_bytes(hashlib.blake2b(b"\0".join(parts), digest_size=size, person=purpose).digest(), "big")
