"""Prints the progress of a replay on the terminal."""

import contextlib
from typing import Iterator, Mapping, Optional

import rich.console
import rich.markup
import rich.progress

from cluster.replay.record import COMPLETE, FAILED, SKIPPED, TaskRecord
from core import escape, streams

_MARKS = {COMPLETE: "[green]✓[/]", FAILED: "[red]✗[/]", SKIPPED: "[dim]-[/]"}


class Screen:
    """Prints tasks as they run, and the results at the end."""

    def __init__(self, console: rich.console.Console):
        """Prepares the output.

        Args:
          console: where to print; the spinner of the running task is shown only on a terminal.
        """
        self._console = console

    @contextlib.contextmanager
    def running(self, task: str) -> Iterator[None]:
        """Shows a spinner for a running task while the context is open."""
        columns = (
            rich.progress.SpinnerColumn(),
            rich.progress.TextColumn("{task.description}"),
            rich.progress.TimeElapsedColumn(),
        )
        with streams.make_progress(self._console, *columns) as progress:
            progress.add_task(_escape(task), total=None)
            yield

    def print(self, sentence: str) -> None:
        """Prints a sentence."""
        streams.print_sentence(self._console, _escape(sentence))

    def print_result(self, name: str, task: TaskRecord) -> None:
        """Prints the result of a task."""
        if task.status == SKIPPED:
            detail = f"skipped: {task.error}"
        else:
            detail = f"{task.attempts} attempts" if task.attempts > 1 else ""
        seconds = f"{task.seconds:7.1f} s" if task.attempts else " " * 9
        line = f"{_MARKS[task.status]} {_escape(name):<20}{seconds}  {_escape(detail)}"
        self._console.print(line.rstrip(), highlight=False, soft_wrap=True)
        if task.status == FAILED:
            streams.print_sentence(self._console, f"[red]error:[/] {_escape(task.error or '')}", indent=2)

    def print_paths(self, paths: Mapping[str, Optional[str]]) -> None:
        """Prints names and paths; a path is None if it does not exist."""
        for name, path in paths.items():
            if path is not None:
                self.print(f"{name + ':':<12}{path}")


def _escape(text: str) -> str:
    return rich.markup.escape(escape.line(text))
