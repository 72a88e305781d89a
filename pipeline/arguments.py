"""The command lines' parser."""

import argparse
from typing import NoReturn

from pipeline import escape


class Parser(argparse.ArgumentParser):
    """Quotes what it does not understand, such as a file's name from a glob, without obeying it."""

    def error(self, message: str) -> NoReturn:
        super().error(escape.shown(message))
