"""Tables of a server's runs and schedules."""

import datetime
import itertools
from typing import Any, Iterable, Optional, Sequence, Union

import rich.box
import rich.table
import rich.text

from cluster import cron, recurring
from core import escape

_UNITS_S = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))


def of_runs(
    runs: Iterable[Any], schedules: Sequence[recurring.Job], limit: int, now: datetime.datetime
) -> rich.table.Table:
    """Returns a table of runs, in their order.

    Args:
      runs: of the server.
      schedules: the names of those that started them.
      limit: how many rows at most.
      now: up to when a run goes on that is not over.
    """
    names = {job.recurring_run_id: job.display_name for job in schedules}
    table = _table("runs", "name", "id", "state", "created (UTC)", "took", "schedule")
    for run in itertools.islice(runs, limit):
        # Of a run that is not over the server says 1970.
        over = run.finished_at if run.finished_at and run.finished_at > run.created_at else None
        _add(
            table,
            run.display_name,
            run.run_id,
            run.state or "PENDING",
            shown(run.created_at),
            duration(((over or now) - run.created_at).total_seconds()),
            names.get(run.recurring_run_id, run.recurring_run_id or ""),
        )
    return table


def of_schedules(schedules: Iterable[recurring.Job], limit: int, now: datetime.datetime) -> rich.table.Table:
    """Returns a table of schedules, in their order.

    Args:
      schedules: of the server.
      limit: how many rows at most.
      now: after which the next run of each is.
    """
    table = _table("schedules", "name", "runs", "state", "next (UTC)", "at most", "id")
    for job in itertools.islice(schedules, limit):
        trigger, on = job.trigger, recurring.is_on(job)
        periodic = trigger.periodic_schedule
        expression = None if periodic else trigger.cron_schedule.cron
        read = cron.read_back(expression) if expression and on else None
        _add(
            table,
            job.display_name,
            when(int(periodic.interval_second) if periodic else expression),
            "on" if on else "off",
            # Of an interval only the cluster knows when it began.
            shown(read.next_after(now)) if read else "",
            str(job.max_concurrency),
            job.recurring_run_id,
        )
    return table


def when(trigger: Union[str, int]) -> str:
    """Returns words for a cron expression, or for an interval in seconds."""
    return f"every {duration(trigger)}" if isinstance(trigger, int) else f"at {trigger}"


def shown(time: Optional[datetime.datetime]) -> str:
    """Returns a time for a person, to the second; nothing for none."""
    return f"{time:%Y-%m-%d %H:%M:%S}" if time else ""


def duration(seconds: float) -> str:
    """Returns a time span with its two largest units, such as `1d 2h`."""
    rest, parts = max(0, int(seconds)), []
    for size, unit in _UNITS_S:
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2]) or "0s"


def _table(title: str, *headings: str) -> rich.table.Table:
    table = rich.table.Table(title=title, title_justify="left", box=rich.box.SIMPLE_HEAD)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _add(table: rich.table.Table, *cells: str) -> None:
    """Names are anyone's: nothing in them is markup, or obeyed by the terminal."""
    table.add_row(*(rich.text.Text(escape.line(cell)) for cell in cells))
