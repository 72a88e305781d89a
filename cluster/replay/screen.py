"""What a person sees of a replay."""

import contextlib
from typing import Iterator, Mapping, Optional

import rich.console
import rich.markup
import rich.progress

from cluster.replay import driver
from cluster.replay.record import TaskRecord
from core import escape

_MARKS = {driver.COMPLETE: "[green]✓[/]", driver.FAILED: "[red]✗[/]", driver.SKIPPED: "[dim]-[/]"}


class Screen:
    """Shows tasks as they run and what is left at the end."""

    def __init__(self, console: rich.console.Console):
        """Makes a screen.

        Args:
          console: where a person reads; only a terminal has the spinner of the task at work.
        """
        self._console = console

    @contextlib.contextmanager
    def working(self, task: str) -> Iterator[None]:
        """Shows that a task is at work for as long as the context lasts."""
        columns = (
            rich.progress.SpinnerColumn(),
            rich.progress.TextColumn("{task.description}"),
            rich.progress.TimeElapsedColumn(),
        )
        hidden = not self._console.is_terminal
        with rich.progress.Progress(*columns, console=self._console, transient=True, disable=hidden) as progress:
            progress.add_task(_escaped(task), total=None)
            yield

    def say(self, sentence: str) -> None:
        """Shows a sentence."""
        self._console.print(_escaped(sentence), highlight=False, soft_wrap=True)

    def ended(self, name: str, task: TaskRecord) -> None:
        """Shows what became of a task."""
        if task.status == driver.SKIPPED:
            told = f"skipped: {task.error}"
        else:
            told = f"{task.attempts} attempts" if task.attempts > 1 else ""
        seconds = f"{task.seconds:7.1f} s" if task.attempts else " " * 9
        line = f"{_MARKS[task.status]} {_escaped(name):<20}{seconds}  {_escaped(told)}"
        self._console.print(line.rstrip(), highlight=False, soft_wrap=True)
        if task.status == driver.FAILED:
            self._console.print(f"  [red]error:[/] {_escaped(task.error or '')}", highlight=False, soft_wrap=True)

    def places(self, places: Mapping[str, Optional[str]]) -> None:
        """Shows where things are: name -> path, None for what there is not."""
        for name, path in places.items():
            if path is not None:
                self.say(f"{name + ':':<12}{path}")


def _escaped(text: str) -> str:
    return rich.markup.escape(escape.line(text))
