"""Shows a replay on the terminal."""

import contextlib
from typing import Iterator, Mapping, Optional

import rich.console
import rich.markup
import rich.progress

from cluster.replay.record import COMPLETE, FAILED, SKIPPED, TaskRecord
from core import escape, streams

_MARKS = {COMPLETE: "[green]✓[/]", FAILED: "[red]✗[/]", SKIPPED: "[dim]-[/]"}


class Screen:
    """Shows tasks as they run, and the results at the end."""

    def __init__(self, console: rich.console.Console):
        """Makes a screen.

        Args:
          console: where to print; only a terminal shows the spinner of the task at work.
        """
        self._console = console

    @contextlib.contextmanager
    def working(self, task: str) -> Iterator[None]:
        """Shows that a task is at work as long as the context lasts."""
        columns = (
            rich.progress.SpinnerColumn(),
            rich.progress.TextColumn("{task.description}"),
            rich.progress.TimeElapsedColumn(),
        )
        with streams.make_progress(self._console, *columns) as progress:
            progress.add_task(_escape(task), total=None)
            yield

    def say(self, sentence: str) -> None:
        """Shows a sentence."""
        streams.print_sentence(self._console, _escape(sentence))

    def finished(self, name: str, task: TaskRecord) -> None:
        """Shows the result of a task."""
        if task.status == SKIPPED:
            detail = f"skipped: {task.error}"
        else:
            detail = f"{task.attempts} attempts" if task.attempts > 1 else ""
        seconds = f"{task.seconds:7.1f} s" if task.attempts else " " * 9
        line = f"{_MARKS[task.status]} {_escape(name):<20}{seconds}  {_escape(detail)}"
        self._console.print(line.rstrip(), highlight=False, soft_wrap=True)
        if task.status == FAILED:
            streams.print_sentence(self._console, f"[red]error:[/] {_escape(task.error or '')}", indent=2)

    def places(self, places: Mapping[str, Optional[str]]) -> None:
        """Shows where things are: name -> path, None for those that do not exist."""
        for name, path in places.items():
            if path is not None:
                self.say(f"{name + ':':<12}{path}")


def _escape(text: str) -> str:
    return rich.markup.escape(escape.line(text))
