"""Escapes text from the input for terminals, logs and error messages.

File names, labels and reviews are untrusted. Control characters in them can change colours, move the cursor or set the
title of a terminal, and bidirectional overrides reorder the text. Jinja escapes HTML.
"""

# A longer quotation would hide the message around it.
QUOTED_CHARACTERS = 60

# Joiners and direction marks stay: emoji and right-to-left scripts need them.
_HIDDEN = (
    range(0x20),  # C0: ESC, newline, ...
    range(0x7F, 0xA0),  # DEL and C1, some of which terminals read as ESC and a letter.
    range(0x2028, 0x202A),  # Line and paragraph separators.
    range(0x202A, 0x202F),  # Bidirectional embeddings and overrides.
    range(0x2066, 0x206A),  # Bidirectional isolates.
    range(0xD800, 0xE000),  # Lone surrogates: bytes of file names that are not UTF-8; streams can't write them.
)
_ESCAPES = {code: ascii(chr(code))[1:-1] for codes in _HIDDEN for code in codes}


def line(text: str) -> str:
    r"""Escapes control characters and newlines: ESC becomes the four characters `\x1b`."""
    return text.translate(_ESCAPES)


def lines(text: str) -> str:
    """Escapes control characters, but keeps newlines."""
    return "\n".join(map(line, text.split("\n")))


def quote(value: str) -> str:
    """Quotes a value for a message: unprintable characters are escaped, a long value is cut."""
    return repr(value if len(value) <= QUOTED_CHARACTERS else value[:QUOTED_CHARACTERS] + "...")
