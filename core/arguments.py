"""The command lines' parser, and what their errors look like."""

import argparse
from typing import NoReturn

import rich.console
import rich.markup

from core import escape
from core.errors import UserError


class Parser(argparse.ArgumentParser):
    """Quotes what it does not understand, such as a file's name from a glob, without obeying it."""

    def error(self, message: str) -> NoReturn:
        super().error(escape.shown(message))


def call(options: argparse.Namespace, interrupted: str) -> int:
    """Calls the command that a parser chose; a user's errors are a sentence and no traceback.

    Args:
      options: with `command`, which takes them and returns the exit status.
      interrupted: what to say on Ctrl-C.

    Returns:
      The exit status: the command's; 2 for what the user must mend; 130 where it was interrupted.
    """
    console = rich.console.Console(stderr=True)
    try:
        return options.command(options)
    except UserError as error:
        text = rich.markup.escape(escape.shown(str(error)))
        console.print(f"[red]error:[/] {text}", soft_wrap=True)
        return 2
    except KeyboardInterrupt:
        console.print(f"\n{interrupted}")
        return 130
