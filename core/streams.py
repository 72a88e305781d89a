"""The terminal's streams: where the output of libraries goes, and progress displays that leave the streams alone."""

import atexit
import contextlib
import dataclasses
import faulthandler
import os
import sys
import tempfile
from typing import Iterator, TextIO

import rich.console
import rich.progress
import rich.text


@contextlib.contextmanager
def redirect_output(log_file: str) -> Iterator[tuple[TextIO, TextIO]]:
    """Appends everything that this process and its children print to a file.

    The file descriptors are redirected, because C++ libraries and child processes bypass Python's streams. What
    libraries print while the interpreter shuts down goes to the file too.

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
            out, error = (stack.enter_context(_open(each)) for each in saved)
            yield out, error
    finally:
        _flush()
        for descriptor, original in zip((1, 2), saved, strict=True):
            os.dup2(original, descriptor)
            os.close(original)
        atexit.register(os.dup2, log, 2)


@contextlib.contextmanager
def _open(descriptor: int) -> Iterator[TextIO]:
    stream = os.fdopen(os.dup(descriptor), "w", encoding="utf-8")
    try:
        yield stream
    finally:
        with contextlib.suppress(BrokenPipeError):  # The reader, such as `head`, has enough.
            stream.close()


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


@contextlib.contextmanager
def hold_output() -> Iterator[None]:
    """Holds back everything that this process prints in the block, and prints it only if the block raises an error.

    For imports: libraries warn about each other. If one kills the process, Python's traceback is still printed.
    """
    _flush()
    saved = [os.dup(descriptor) for descriptor in (1, 2)]
    with tempfile.TemporaryFile() as held:
        try:
            for descriptor in (1, 2):
                os.dup2(held.fileno(), descriptor)
            faulthandler.enable(saved[1])
            yield
        except BaseException:
            _flush()
            held.seek(0)
            os.write(saved[1], held.read())
            raise
        finally:
            _flush()
            faulthandler.disable()
            for descriptor, original in zip((1, 2), saved, strict=True):
                os.dup2(original, descriptor)
                os.close(original)


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
    return _Progress(
        *columns,
        console=console,
        expand=expand,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
        disable=not console.is_interactive,
    )


class _Progress(rich.progress.Progress):
    """Leaves room at the end of its row for a terminal's `^C`, which would start another row, and keep this one."""

    def get_renderables(self) -> Iterator[rich.console.RenderableType]:
        yield _Narrower(self.make_tasks_table(self.tasks))


@dataclasses.dataclass
class _Narrower:
    content: rich.console.RenderableType

    def __rich_console__(
        self, console: rich.console.Console, options: rich.console.ConsoleOptions
    ) -> rich.console.RenderResult:
        yield from console.render(self.content, options.update_width(max(options.max_width - 3, 1)))


@contextlib.contextmanager
def show_spinner(console: rich.console.Console, text: str) -> Iterator[None]:
    """Shows a spinner and a text inside the context."""
    spinner = make_progress(console, rich.progress.SpinnerColumn(), rich.progress.TextColumn("{task.description}"))
    spinner.add_task(text, total=None)
    with spinner:
        yield


def print_sentence(console: rich.console.Console, markup: str, indent: int = 0, separator: str = " ") -> None:
    """Prints a sentence, on a terminal wrapped between words, in a pipe as one line.

    A word that is longer than a row, such as a path, is not divided, so that it can be copied.

    Args:
      console: where to print.
      markup: the sentence, with rich's markup.
      indent: spaces before every row.
      separator: what is between words; rows are only divided there.
    """
    text = rich.text.Text.from_markup(markup)
    for line in _wrap(text, console.width - indent, separator) if console.is_terminal else [text]:
        console.print(rich.text.Text.assemble(" " * indent, line), soft_wrap=True)


def _wrap(text: rich.text.Text, width: int, separator: str) -> list[rich.text.Text]:
    """Divides a text between words; rich's own wrapping divides long words too."""
    lines: list[rich.text.Text] = []
    for word in text.split(separator):
        if lines and lines[-1].cell_len + len(separator) + word.cell_len <= width:
            lines[-1] = rich.text.Text.assemble(lines[-1], separator, word)
        else:
            lines.append(word)
    return lines
