"""The terminal's streams: where the output of libraries goes, and progress displays that leave the streams alone."""

import contextlib
import os
import sys
from typing import Iterator, TextIO

import rich.console
import rich.progress


@contextlib.contextmanager
def redirect_output(log_file: str) -> Iterator[tuple[TextIO, TextIO]]:
    """Appends everything that this process and its children print to a file.

    The file descriptors are redirected, because C++ libraries and child processes bypass Python's streams.

    Args:
      log_file: the file; `os.devnull` discards the output.

    Yields:
      The previous standard output and standard error, for messages to the user.
    """
    _flush()
    saved = [os.dup(descriptor) for descriptor in (1, 2)]
    log = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        for descriptor in (1, 2):
            os.dup2(log, descriptor)
        with contextlib.ExitStack() as stack:
            out, error = (stack.enter_context(os.fdopen(os.dup(each), "w", encoding="utf-8")) for each in saved)
            yield out, error
    finally:
        _flush()
        for descriptor, original in zip((1, 2), saved, strict=True):
            os.dup2(original, descriptor)
            os.close(original)
        os.close(log)


@contextlib.contextmanager
def discard_output(keep: bool = False) -> Iterator[tuple[TextIO, TextIO]]:
    """Discards everything that this process and its children print, unless it is to be kept.

    Yields:
      Standard output and standard error, for messages to the user.
    """
    if keep:
        yield sys.stdout, sys.stderr
        return
    with redirect_output(os.devnull) as screen:
        yield screen


def _flush() -> None:
    """Writes what Python buffers to where it belongs before the descriptors change."""
    sys.stdout.flush()
    sys.stderr.flush()


def make_progress(
    console: rich.console.Console, *columns: rich.progress.ProgressColumn, expand: bool = False
) -> rich.progress.Progress:
    """Makes a progress display that disappears when it ends, and is not shown in a pipe.

    It does not replace `sys.stdout` and `sys.stderr` while it is shown, as `console.status` and a plain `Progress` do:
    loggers that libraries create meanwhile would keep the replacement, and write to the terminal.
    """
    return rich.progress.Progress(
        *columns,
        console=console,
        expand=expand,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
        disable=not console.is_interactive,
    )


@contextlib.contextmanager
def show_spinner(console: rich.console.Console, text: str) -> Iterator[None]:
    """Shows a spinner and a text inside the context."""
    spinner = make_progress(console, rich.progress.SpinnerColumn(), rich.progress.TextColumn("{task.description}"))
    spinner.add_task(text, total=None)
    with spinner:
        yield
