"""Parameter values as ASCII: Kubeflow's databases do not store every character.

The API server connects to MySQL with an encoding of at most three bytes per character, and the columns of some
installations are latin1. A character that does not fit fails the upload, or, worse, fails the submission after the run
was started. The compiler and `submit` escape such characters; the entrypoint restores them.
"""

import re
from typing import Any

# What `escape` changes: other characters than ASCII, and a backslash that would otherwise begin an escape.
_ESCAPED = re.compile(r"[^\x00-\x7f]|\\(?=u[0-9a-f]{4})")
_ESCAPES = re.compile(r"(?:\\u[0-9a-f]{4})+")


def escape(text: str) -> str:
    r"""Returns a text with each character outside of ASCII as JSON escapes it: `\ubd80`, an emoji as a pair of them."""
    return _ESCAPED.sub(lambda match: _escape_character(match[0]), text)


def unescape(text: str) -> str:
    """Reverses `escape`."""
    return _ESCAPES.sub(lambda match: _decode(match[0]), text)


def escape_values(value: Any) -> Any:
    """Returns a JSON value with the strings in it escaped, but not the keys."""
    if isinstance(value, str):
        return escape(value)
    if isinstance(value, dict):
        return {key: escape_values(each) for key, each in value.items()}
    return [escape_values(each) for each in value] if isinstance(value, list) else value


def _escape_character(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[start : start + 2].hex()}" for start in range(0, len(units), 2))


def _decode(escapes: str) -> str:
    return bytes.fromhex(escapes.replace("\\u", "")).decode("utf-16-be", "surrogatepass")
