"""A server's runs and schedules: tables for people, records for programs."""

import datetime
import itertools
from typing import Any, Iterable, Mapping, Optional, Sequence, Union

import rich.box
import rich.table
import rich.text

from cluster import cron, schedules
from components.run_report.summary import describe, why_not_pushed
from core import escape

_UNITS_S = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))


def runs_table(
    runs: Iterable[Any],
    summaries: Mapping[str, Mapping[str, Any]],
    started_by: Sequence[schedules.RecurringRun],
    now: datetime.datetime,
) -> rich.table.Table:
    """Returns a table of runs, in their order.

    Args:
      runs: runs as the server returns them.
      summaries: id of a run -> content of its `summary.json`, of those that have one.
      started_by: the schedules, for their names.
      now: the time until which the duration of active runs is counted.
    """
    names = {schedule.recurring_run_id: schedule.display_name for schedule in started_by}
    table = _table("runs", "name", "id", "state", "created (UTC)", "duration", "schedule", "outcome")
    for run in runs:
        # For an active run the server returns 1970.
        end = run.finished_at if run.finished_at and run.finished_at > run.created_at else now
        _add_row(
            table,
            run.display_name,
            run.run_id,
            run.state or "PENDING",
            format_time(run.created_at),
            format_duration((end - run.created_at).total_seconds()),
            names.get(run.recurring_run_id, run.recurring_run_id or ""),
            describe(summaries[run.run_id]) if run.run_id in summaries else "",
        )
    return table


def schedules_table(listed: Iterable[schedules.RecurringRun], limit: int, now: datetime.datetime) -> rich.table.Table:
    """Returns a table of schedules, in their order.

    Args:
      listed: schedules as the server returns them.
      limit: maximum number of rows.
      now: the time after which the next run is computed.
    """
    table = _table("schedules", "name", "when", "state", "next (UTC)", "max. concurrency", "id")
    for schedule in itertools.islice(listed, limit):
        _add_row(
            table,
            schedule.display_name,
            format_trigger(_trigger(schedule)),
            "on" if schedules.is_on(schedule) else "off",
            format_time(_next_time(schedule, now)),
            str(schedule.max_concurrency),
            schedule.recurring_run_id,
        )
    return table


def run_record(run: Any, summary: Optional[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns a run for programs; times are ISO 8601, in UTC; `status`, `reason` and `pushed_path` need a summary.

    Args:
      run: the run as the server returns it.
      summary: content of its `summary.json`; None if it has none.
    """
    # For an active run the server says 1970.
    ended = run.finished_at and run.finished_at > run.created_at
    return {
        "kind": "run",
        "name": run.display_name,
        "id": run.run_id,
        "state": run.state or "PENDING",
        "created_at": run.created_at.isoformat(timespec="seconds"),
        "finished_at": run.finished_at.isoformat(timespec="seconds") if ended else None,
        "schedule_id": run.recurring_run_id,
        "status": summary["status"] if summary else None,
        "reason": why_not_pushed(summary) if summary else None,
        "pushed_path": summary.get("pushed_path") if summary else None,
    }


def schedule_record(schedule: schedules.RecurringRun, now: datetime.datetime) -> dict[str, Any]:
    """Returns a schedule for programs; `cron` or `every_s` is null.

    Args:
      schedule: the schedule.
      now: the next run is after it.
    """
    trigger, next_time = _trigger(schedule), _next_time(schedule, now)
    return {
        "kind": "schedule",
        "name": schedule.display_name,
        "id": schedule.recurring_run_id,
        "on": schedules.is_on(schedule),
        "cron": trigger if isinstance(trigger, str) else None,
        "every_s": trigger if isinstance(trigger, int) else None,
        "next_at": next_time.isoformat(timespec="seconds") if next_time else None,
        "max_concurrency": int(schedule.max_concurrency),
    }


def _trigger(schedule: schedules.RecurringRun) -> Union[str, int]:
    """Returns a schedule's cron expression, or its interval in seconds."""
    periodic = schedule.trigger.periodic_schedule
    return int(periodic.interval_second) if periodic else schedule.trigger.cron_schedule.cron or ""


def _next_time(schedule: schedules.RecurringRun, now: datetime.datetime) -> Optional[datetime.datetime]:
    """Returns when a schedule that is on starts its next run; only the cluster knows when an interval started."""
    trigger = _trigger(schedule)
    parsed = cron.parse_existing(trigger) if isinstance(trigger, str) and schedules.is_on(schedule) else None
    return parsed.next_after(now) if parsed else None


def format_trigger(trigger: Union[str, int]) -> str:
    """Formats a cron expression, or an interval in seconds."""
    return f"every {format_duration(trigger)}" if isinstance(trigger, int) else f"at {trigger}"


def format_time(time: Optional[datetime.datetime]) -> str:
    """Formats a time to the second; None is empty."""
    return f"{time:%Y-%m-%d %H:%M:%S}" if time else ""


def format_duration(seconds: float) -> str:
    """Formats a duration with its two largest units, such as `1d 2h`."""
    rest, parts = max(0, int(seconds)), []
    for size, unit in _UNITS_S:
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2]) or "0s"


def _table(title: str, *headings: str) -> rich.table.Table:
    table = rich.table.Table(title=title, title_justify="left", box=rich.box.SIMPLE_HEAD)
    for heading in headings:
        # Others are divided first.
        table.add_column(heading, overflow="fold", no_wrap=heading == "id")
    return table


def _add_row(table: rich.table.Table, *cells: str) -> None:
    """Adds a row. Names come from other users, so markup and control characters are shown as text."""
    table.add_row(*(rich.text.Text(escape.line(cell)) for cell in cells))
