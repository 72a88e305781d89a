"""The times of a schedule: cron expressions as Kubeflow Pipelines reads them, and intervals.

The backend parses with Go's robfig/cron, whose six fields start with seconds. It also accepts five fields, but
reads them as starting with seconds too: `0 2 * * *`, which means two o'clock elsewhere, runs every hour at minute 2.
"""

import dataclasses
import datetime
import itertools
import re
from typing import Iterator, Optional

from core import escape
from core.errors import UserError

# Names that the backend accepts -> their six fields.
_NAMED = {
    "@yearly": "0 0 0 1 1 *",
    "@annually": "0 0 0 1 1 *",
    "@monthly": "0 0 0 1 * *",
    "@weekly": "0 0 0 * * 0",
    "@daily": "0 0 0 * * *",
    "@midnight": "0 0 0 * * *",
    "@hourly": "0 0 * * * *",
}
_RIGHT_FORM = (
    "write six fields, seconds first (second minute hour day-of-month month day-of-week), such as '0 0 2 * * *' for "
    "every day at 02:00, or one of " + ", ".join(_NAMED)
)

_UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400}

# A run takes minutes, and `--every 30` is half a minute, which hardly anybody means.
_MIN_INTERVAL_S = 300

# As far ahead as the backend looks for a matching time; includes a 29 February.
_HORIZON_DAYS = 5 * 366


@dataclasses.dataclass(frozen=True)
class _Field:
    """A field of a cron expression: the range of its values, and their names."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()


_FIELDS = (
    _Field("second", 0, 59),
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, tuple("jan feb mar apr may jun jul aug sep oct nov dec".split())),
    _Field("day of week", 0, 6, tuple("sun mon tue wed thu fri sat".split())),
)
_PART = re.compile(r"(?P<first>[*?]|\w+)(?:-(?P<last>\w+))?(?:/(?P<step>\d+))?")


@dataclasses.dataclass(frozen=True)
class Cron:
    """A cron expression in the backend's form.

    Attributes:
      expression: six fields, or a name such as `@daily`.
      translated: whether it had five fields, so that second 0 was put in front.
    """

    expression: str
    translated: bool = False

    def next_after(self, time: datetime.datetime) -> Optional[datetime.datetime]:
        """Returns its first run after a time, in that time's zone; None if there is none within five years."""
        fields = _NAMED.get(self.expression, self.expression).split()
        seconds, minutes, hours, *_ = values = _parse_fields(fields)
        start = time.replace(microsecond=0) + datetime.timedelta(seconds=1)
        for offset in range(_HORIZON_DAYS):
            day = start.date() + datetime.timedelta(days=offset)
            if not _matches(day, fields, values):
                continue
            # On the first day only times from the start on.
            earliest = start.time() if offset == 0 else datetime.time.min
            for moment in _moments(hours, minutes, seconds):
                if moment >= earliest:
                    return datetime.datetime.combine(day, moment, tzinfo=time.tzinfo)
        return None


def parse(text: str) -> Cron:
    """Parses a cron expression, and translates one of five fields.

    Args:
      text: six fields, seconds first; or five, minutes first, as in crontab; or a name such as `@daily`.

    Raises:
      UserError: it is malformed, a field is out of range, no day matches, or its times are closer than a run takes.
    """
    cron = _parse(text)
    _check_frequency(cron)
    return cron


def _parse(text: str) -> Cron:
    fields = text.split()
    if len(fields) == 1 and text.strip() in _NAMED:
        return Cron(text.strip())
    if len(fields) not in (5, 6):
        raise UserError(f"--cron {escape.quote(text)}: has {len(fields)} fields; {_RIGHT_FORM}")
    translated = len(fields) == 5
    if translated:
        fields.insert(0, "0")
    _parse_fields(fields)
    cron = Cron(" ".join(fields), translated)
    if cron.next_after(datetime.datetime.now(datetime.timezone.utc)) is None:
        raise UserError(f"--cron {escape.quote(text)}: no day matches; {_RIGHT_FORM}")
    return cron


def _check_frequency(cron: Cron) -> None:
    """Raises UserError for times of an hour that are closer than the minimum interval, such as each minute."""
    seconds, minutes, *_ = _parse_fields(_NAMED.get(cron.expression, cron.expression).split())
    times = sorted(60 * minute + second for minute in minutes for second in seconds)
    if any(later - earlier < _MIN_INTERVAL_S for earlier, later in itertools.pairwise(times)):
        raise UserError(
            f"--cron {escape.quote(cron.expression)}: should leave at least {_MIN_INTERVAL_S // 60} minutes between "
            f"two runs, since a run takes minutes; {_RIGHT_FORM}"
        )


def parse_existing(expression: str) -> Optional[Cron]:
    """Parses the expression of an existing schedule as the backend does; None if this module can't.

    Five fields, which other clients allow, start with seconds and do not restrict the day of the week.
    """
    fields = expression.split()
    try:
        return _parse(" ".join([*fields, "*"] if len(fields) == 5 else fields))
    except UserError:
        return None


def parse_interval(text: str) -> int:
    """Returns an interval in seconds.

    Args:
      text: digits and an optional unit: `900`, `900s`, `30m`, `6h`, `1d`.

    Raises:
      UserError: it is malformed, or shorter than a run.
    """
    match = re.fullmatch(r"(\d{1,9})([smhd]?)", text.strip())
    seconds = int(match[1]) * _UNITS_S[match[2]] if match else 0
    if seconds < 1:
        raise UserError(
            f"--every {escape.quote(text)}: should be a number of seconds, or a number and a unit: 30m, 6h, 1d"
        )
    if seconds < _MIN_INTERVAL_S:
        number = text.strip()
        hint = f"; a number without a unit is seconds, {number} minutes are {number}m" if number.isdecimal() else ""
        raise UserError(
            f"--every {escape.quote(text)}: should be at least {_MIN_INTERVAL_S // 60}m, as a run takes minutes{hint}"
        )
    return seconds


def _parse_fields(fields: list[str]) -> list[set[int]]:
    """Returns the values of each field."""
    return [
        {value for part in content.split(",") for value in _part_values(part, field)}
        for content, field in zip(fields, _FIELDS, strict=True)
    ]


def _part_values(part: str, field: _Field) -> range:
    match = _PART.fullmatch(part)
    if match is None or (match["first"] in "*?" and match["last"]):
        raise _fault(part, field)
    if match["first"] in "*?":
        first, last = field.low, field.high
    else:
        first = _number(match["first"], part, field)
        # With a step, a single value is its start.
        last = _number(match["last"], part, field) if match["last"] else field.high if match["step"] else first
    step = int(match["step"] or 1)
    if first > last or step == 0:
        raise _fault(part, field)
    return range(first, last + 1, step)


def _number(text: str, part: str, field: _Field) -> int:
    if text.lower() in field.names:
        return field.low + field.names.index(text.lower())
    # `isdecimal` also accepts other scripts' digits.
    if not (text.isascii() and text.isdecimal() and field.low <= int(text) <= field.high):
        raise _fault(part, field)
    return int(text)


def _fault(part: str, field: _Field) -> UserError:
    names = f" (or {field.names[0]} to {field.names[-1]})" if field.names else ""
    sunday = "; Sunday is 0" if field.name == "day of week" else ""
    return UserError(
        f"--cron: {field.name} {escape.quote(part)}: should be * or from {field.low} to {field.high}{names}, such "
        f"as 1, 1-3, 1,3 or */2{sunday}; {_RIGHT_FORM}"
    )


def _matches(day: datetime.date, fields: list[str], values: list[set[int]]) -> bool:
    """Whether a day matches an expression: if both of its day fields are restricted, one of them is enough."""
    days, months, weekdays = values[3:]
    of_month, of_week = day.day in days, day.isoweekday() % 7 in weekdays
    free = any(part[0] in "*?" for position in (3, 5) for part in fields[position].split(","))
    return day.month in months and (of_month and of_week if free else of_month or of_week)


def _moments(hours: set[int], minutes: set[int], seconds: set[int]) -> Iterator[datetime.time]:
    """Yields the times of a day, in order."""
    for hour in sorted(hours):
        for minute in sorted(minutes):
            for second in sorted(seconds):
                yield datetime.time(hour, minute, second)
