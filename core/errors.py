"""The one exception that stands for a mistake its reader can mend."""

from core import escape


class UserError(Exception):
    """Wrong usage, configuration or input; shown as one message, without a traceback.

    The text names the field or file, the value, and what would be right. Names and values are the user's or the
    input's: control characters in them are escaped, so that the text may go to any terminal or log.
    """

    def __init__(self, text: str) -> None:
        super().__init__(escape.shown_lines(text))
