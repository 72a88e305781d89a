"""When a schedule runs: cron as Kubeflow Pipelines reads it, or an interval.

The backend parses with Go's robfig/cron, whose six fields begin with seconds. It takes five fields as well, and reads
those as beginning with seconds too: `0 2 * * *`, two o'clock everywhere else, runs each hour at minute 2.
"""

import dataclasses
import datetime
import re
from typing import Iterator, Optional

from core import escape
from core.errors import UserError

# What the backend knows by name, in its six fields.
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
    "each day at 02:00, or one of " + ", ".join(_NAMED)
)

_UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400}

# As far ahead as the backend looks for a time that matches: a 29 February comes within it.
_HORIZON_DAYS = 5 * 366


@dataclasses.dataclass(frozen=True)
class _Field:
    """A field of a cron expression: the values it may hold, and their names."""

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
    """A cron expression that the backend reads as it is meant.

    Attributes:
      expression: what is sent: six fields, or a name such as `@daily`.
      translated: whether it was given with five fields, so that seconds 0 were put in front.
    """

    expression: str
    translated: bool = False

    def next_after(self, time: datetime.datetime) -> Optional[datetime.datetime]:
        """Returns the first time after one at which it runs, in that time's zone; None if none comes in five years."""
        fields = _NAMED.get(self.expression, self.expression).split()
        seconds, minutes, hours, *_ = values = _read(fields)
        start = time.replace(microsecond=0) + datetime.timedelta(seconds=1)
        for offset in range(_HORIZON_DAYS):
            day = start.date() + datetime.timedelta(days=offset)
            if not _matches(day, fields, values):
                continue
            # What is left of the first day, all of the others.
            earliest = start.time() if offset == 0 else datetime.time.min
            for moment in _moments(hours, minutes, seconds):
                if moment >= earliest:
                    return datetime.datetime.combine(day, moment, tzinfo=time.tzinfo)
        return None


def parse(text: str) -> Cron:
    """Checks a cron expression, and translates one of five fields.

    Args:
      text: six fields, seconds first; or five, minutes first, as everywhere else; or a name such as `@daily`.

    Raises:
      UserError: it is none of these, a field holds what it can't, or the time never comes.
    """
    fields = text.split()
    if len(fields) == 1 and text.strip() in _NAMED:
        return Cron(text.strip())
    if len(fields) not in (5, 6):
        raise UserError(f"cron: {escape.quote(text)}: has {len(fields)} fields; {_RIGHT_FORM}")
    translated = len(fields) == 5
    if translated:
        fields.insert(0, "0")
    _read(fields)
    cron = Cron(" ".join(fields), translated)
    if cron.next_after(datetime.datetime.now(datetime.timezone.utc)) is None:
        raise UserError(f"cron: {escape.quote(text)}: no day is like that; {_RIGHT_FORM}")
    return cron


def read_back(expression: str) -> Optional[Cron]:
    """Reads an expression of a schedule that is there already, as the backend does; None if this module can't.

    Five fields, which other clients let through, begin with seconds here and leave the day of the week open.
    """
    fields = expression.split()
    try:
        return parse(" ".join([*fields, "*"] if len(fields) == 5 else fields))
    except UserError:
        return None


def parse_interval(text: str) -> int:
    """Returns an interval in seconds.

    Args:
      text: digits, with a unit after them or without: `90`, `90s`, `30m`, `6h`, `1d`.

    Raises:
      UserError: it is no such text, or no time at all.
    """
    match = re.fullmatch(r"(\d{1,9})([smhd]?)", text.strip())
    seconds = int(match[1]) * _UNITS_S[match[2]] if match else 0
    if seconds < 1:
        raise UserError(f"every: {escape.quote(text)}: should be seconds, or digits and a unit: 90s, 30m, 6h, 1d")
    return seconds


def _read(fields: list[str]) -> list[set[int]]:
    """The values that each field stands for."""
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
        # With a step, a single value is where it begins.
        last = _number(match["last"], part, field) if match["last"] else field.high if match["step"] else first
    step = int(match["step"] or 1)
    if first > last or step == 0:
        raise _fault(part, field)
    return range(first, last + 1, step)


def _number(text: str, part: str, field: _Field) -> int:
    if text.lower() in field.names:
        return field.low + field.names.index(text.lower())
    # `isdecimal` takes other scripts' digits as well.
    if not (text.isascii() and text.isdecimal() and field.low <= int(text) <= field.high):
        raise _fault(part, field)
    return int(text)


def _fault(part: str, field: _Field) -> UserError:
    names = f" (or {field.names[0]} to {field.names[-1]})" if field.names else ""
    sunday = "; Sunday is 0" if field.name == "day of week" else ""
    return UserError(
        f"cron: {field.name} {escape.quote(part)}: should be *, or numbers from {field.low} to {field.high}{names} as "
        f"in 1, 1-3, 1,3 or */2{sunday}; {_RIGHT_FORM}"
    )


def _matches(day: datetime.date, fields: list[str], values: list[set[int]]) -> bool:
    """Whether a day is one of an expression: where both of its day fields are restricted, one of them is enough."""
    days, months, weekdays = values[3:]
    of_month, of_week = day.day in days, day.isoweekday() % 7 in weekdays
    free = any(part[0] in "*?" for position in (3, 5) for part in fields[position].split(","))
    return day.month in months and (of_month and of_week if free else of_month or of_week)


def _moments(hours: set[int], minutes: set[int], seconds: set[int]) -> Iterator[datetime.time]:
    """The times of a day, in order."""
    for hour in sorted(hours):
        for minute in sorted(minutes):
            for second in sorted(seconds):
                yield datetime.time(hour, minute, second)
