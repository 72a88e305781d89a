"""Text of the input made safe to show: on a terminal, in a log, in an error message.

File names, labels and reviews are anyone's. A terminal obeys control characters in them (colours, a moved cursor, a
new title), and bidirectional overrides show a text in another order than the one it has. HTML is Jinja's to escape.
"""

# Of a value that a message quotes; more hides the sentence around it.
QUOTED_CHARACTERS = 60

# Joiners and direction marks, which emoji and right-to-left scripts need, are none of these.
_HIDDEN = (
    range(0x20),  # C0: ESC, newline, ...
    range(0x7F, 0xA0),  # DEL and C1, some of which terminals take for ESC and a letter.
    range(0x2028, 0x202A),  # Line and paragraph separators.
    range(0x202A, 0x202F),  # Bidirectional embeddings and overrides.
    range(0x2066, 0x206A),  # Bidirectional isolates.
    range(0xD800, 0xE000),  # Lone surrogates: bytes of file names that are no UTF-8; no stream can write them.
)
_ESCAPES = {code: ascii(chr(code))[1:-1] for codes in _HIDDEN for code in codes}


def shown(text: str) -> str:
    r"""Returns a text as one line with nothing hidden in it: ESC becomes the four characters `\x1b`."""
    return text.translate(_ESCAPES)


def shown_lines(text: str) -> str:
    """Does the same to each line of a text."""
    return "\n".join(map(shown, text.split("\n")))


def quoted(value: str) -> str:
    """Quotes a value for a message: escaped where unprintable, cut where long."""
    return repr(value if len(value) <= QUOTED_CHARACTERS else value[:QUOTED_CHARACTERS] + "...")
