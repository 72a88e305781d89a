"""Shared by the command lines: the parser, and the exit status of errors."""

import argparse
import os
import sys
from typing import NoReturn, Optional

import rich.console
import rich.markup

from core import escape
from core.errors import UserError


class _Parser(argparse.ArgumentParser):
    """Escapes the words that its errors quote, such as a file name from a glob."""

    def error(self, message: str) -> NoReturn:
        super().error(escape.line(message))


def make_parser(prog: str, description: Optional[str]) -> argparse.ArgumentParser:
    """Makes a parser that describes itself with the first line of a module's docstring."""
    return _Parser(prog=prog, description=(description or "").split("\n")[0])


def call(options: argparse.Namespace, interrupted: str) -> int:
    """Calls the command that the parser selected; prints a `UserError` as one line.

    Args:
      options: `command` is called with them and returns the exit status.
      interrupted: message for Ctrl-C.

    Returns:
      The exit status of the command; 2 after a `UserError`; 130 after Ctrl-C; 1 if the reader of a pipe has closed it,
      as `head` does.
    """
    console = rich.console.Console(stderr=True)
    try:
        return options.command(options)
    except UserError as error:
        text = rich.markup.escape(escape.line(str(error)))
        console.print(f"[red]error:[/] {text}", soft_wrap=True)
        return 2
    except KeyboardInterrupt:
        console.print(f"\n{interrupted}")
        return 130
    except BrokenPipeError:
        # Python flushes the standard output at exit, which would fail again with a traceback.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
