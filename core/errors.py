"""Errors that the user can correct."""

import difflib
from typing import Iterable

from core import escape

# Of the text of an error of a library.
_SHOWN_CHARACTERS = 300


class UserError(Exception):
    """Wrong usage, configuration or input; shown as one message, without a traceback.

    The text names the field or file, the value, and what would be right. Control characters in it are escaped, because
    names and values come from the user or the input and the text may be printed to any terminal or log.
    """

    def __init__(self, text: str) -> None:
        super().__init__(escape.lines(text))


def first_line(error: BaseException) -> str:
    """Returns the first line of an error, shortened; the other lines of TensorFlow's errors are about its internals."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:_SHOWN_CHARACTERS]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns the end of a message about an unknown name: the most similar known names, or all if none is similar."""
    names = list(known)
    similar = difflib.get_close_matches(name, names, cutoff=0.8)
    return f"; did you mean {' or '.join(similar)}?" if similar else f"; available: {', '.join(names)}"
