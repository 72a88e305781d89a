"""The one exception that stands for a mistake its reader can mend."""


class UserError(Exception):
    """Wrong usage, configuration or input; shown as one message, without a traceback.

    The text names the field or file, the value, and what would be right.
    """
