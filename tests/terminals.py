"""Commands in a pseudo-terminal, and what its user sees in the end."""

import dataclasses
import fcntl
import os
import re
import struct
import subprocess
import termios
from typing import Optional, Sequence

from rich import cells

# Escape sequence, control character or text.
_TOKENS = re.compile(r"\x1b\[(?P<parameters>[?\d;]*)(?P<command>[A-Za-z])|(?P<control>[\r\n])|(?P<text>[^\x1b\r\n]+)")


@dataclasses.dataclass(frozen=True)
class Ended:
    """A finished command.

    Attributes:
      status: exit status.
      output: the bytes that the terminal received, as text.
      rows: the rows that are on the terminal in the end, scrolled ones included, without trailing spaces and colours.
    """

    status: int
    output: str
    rows: Sequence[str]


def run(command: Sequence[str], columns: int, interrupt_at: Optional[str] = None) -> Ended:
    """Runs a command in a pseudo-terminal.

    Args:
      command: the command.
      columns: width of the terminal.
      interrupt_at: Ctrl-C is typed when this text is printed.
    """
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    process = subprocess.Popen(
        command,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**environment, "TERM": "xterm-256color"},
        # The terminal controls the session, so that its Ctrl-C interrupts every process in it.
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(theirs)
    received = b""
    while chunk := _read(ours):
        received += chunk
        if interrupt_at and interrupt_at in received.decode(errors="ignore"):
            os.write(ours, b"\x03")
            interrupt_at = None
    os.close(ours)
    output = received.decode()
    return Ended(process.wait(), output, screen_rows(output, columns))


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # The last process that had the terminal open has ended.
        return b""


def screen_rows(output: str, columns: int) -> list[str]:
    """Draws what a program prints; knows what rich uses: colours, erasing a row, and moving up."""
    screen: list[list[str]] = [[]]
    row = column = 0
    for token in _TOKENS.finditer(output):
        for letter in token["text"] or "":
            width = cells.cell_len(letter)
            if column + width > columns:
                row, column = row + 1, 0
            screen += [[] for _ in range(row + 1 - len(screen))]
            screen[row] += [" "] * (column - len(screen[row]))
            # The second cell of a wide letter is empty.
            screen[row][column : column + width] = [letter, ""][:width]
            column += width
        if token["control"] == "\n":
            row += 1
        elif token["control"] == "\r":
            column = 0
        elif token["command"] == "A":
            row = max(row - int(token["parameters"] or 1), 0)
        elif token["command"] == "K" and row < len(screen):
            screen[row].clear()
    return ["".join(row).rstrip() for row in screen]
