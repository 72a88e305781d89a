"""Shared by the command lines: the parser, listings as JSON, and the exit status of errors."""

import argparse
import difflib
import json
import os
import sys
from typing import IO, Any, Iterable, Mapping, NoReturn, Optional, Sequence

import rich.console
import rich.markup
import shtab

from core import escape, streams, versions
from core.errors import UserError, did_you_mean


class _Parser(argparse.ArgumentParser):
    """Suggests what a misspelt command or option was meant to be.

    It escapes the words that its errors quote, such as a file name from a glob.
    """

    def error(self, message: str) -> NoReturn:
        super().error(escape.line(message))

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        known, unknown = super().parse_known_args(args, namespace)
        if unknown:
            # Here and not after the command's parser, which knows the options.
            self.error(f"unrecognized arguments: {' '.join(unknown)}{self._suggest_options(unknown)}")
        return known, unknown

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if isinstance(action, argparse._SubParsersAction) and value not in action.choices:
            self.error(f"{value}: no such command{did_you_mean(value, action.choices)}")
        super()._check_value(action, value)

    def _suggest_options(self, words: Sequence[str]) -> str:
        names = [word.partition("=")[0] for word in words if word.startswith("--")]
        known = [name for name in self._option_string_actions if name.startswith("--")]
        similar = [match for name in names for match in difflib.get_close_matches(name, known, 1)]
        return f"; did you mean {' and '.join(similar)}?" if similar else ""


class _ShowVersion(argparse.Action):
    """Prints the versions and exits; reads them only then."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        installed = versions.installed()
        names = {"python": "Python", "tensorflow": "TensorFlow", "tfx": "TFX"}
        packages = ", ".join(f"{name} {installed[package]}" for package, name in names.items())
        print(f"{parser.prog} {versions.VERSION} ({packages})")
        parser.exit()


def make_parser(prog: str, description: Optional[str]) -> argparse.ArgumentParser:
    """Makes a parser with `--version` and `--print-completion`, described by the first line of a module's docstring."""
    parser = _Parser(prog=prog, description=(description or "").split("\n")[0])
    parser.add_argument("--version", action=_ShowVersion, nargs=0, help="print the versions")
    shtab.add_argument_to(parser, "--print-completion", help="print a script that completes commands and options")
    return parser


def print_json(records: Iterable[Mapping[str, Any]], file: IO[str]) -> None:
    """Prints a listing for programs: one JSON object per line, in ASCII, so without control characters of names."""
    for record in records:
        print(json.dumps(record), file=file)


def call(parser: argparse.ArgumentParser, words: Optional[Sequence[str]], interrupted: str) -> int:
    """Calls the command that the words select; prints a `UserError` as one line.

    Args:
      parser: sets `command`, which is called with the options and returns the exit status.
      words: of the command line, without the program's name; None for this process's.
      interrupted: message for Ctrl-C.

    Returns:
      The exit status of the command; 2 after a `UserError`; 130 after Ctrl-C; 1 if the reader of a pipe has closed it,
      as `head` does.
    """
    console = rich.console.Console(stderr=True)
    try:
        options = parser.parse_args(words)
        return options.command(options)
    except UserError as error:
        text = rich.markup.escape(escape.line(str(error)))
        streams.print_sentence(console, f"[red]error:[/] {text}")
        return 2
    except KeyboardInterrupt:
        console.print(f"\n{interrupted}")
        return 130
    except BrokenPipeError:
        # Python flushes the standard output at exit, which would fail again with a traceback.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
