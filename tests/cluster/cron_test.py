import datetime

import hypothesis
import pytest
from hypothesis import strategies

from cluster import cron
from core.errors import UserError

# A Tuesday.
START = datetime.datetime(2024, 2, 27, 13, 30, 15, 500, tzinfo=datetime.timezone.utc)


def next_of(expression):
    return cron.parse(expression).next_after(START).strftime("%Y-%m-%d %H:%M:%S")


def test_six_fields_are_unchanged():
    assert cron.parse("0 0 2 * * *") == cron.Cron("0 0 2 * * *", translated=False)


def test_five_fields_get_second_0():
    assert cron.parse("0 2 * * *") == cron.Cron("0 0 2 * * *", translated=True)


def test_names_are_unchanged():
    assert cron.parse(" @daily ") == cron.Cron("@daily")


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("0 2 * * *", "2024-02-28 02:00:00"),
        ("30 30 13 * * *", "2024-02-27 13:30:30"),
        ("15 30 13 * * *", "2024-02-28 13:30:15"),
        ("50 */10 * * * *", "2024-02-27 13:30:50"),
        ("0 0 0 29 2 *", "2024-02-29 00:00:00"),
        ("0 0 0 28-29 feb ?", "2024-02-28 00:00:00"),
        ("0 0 6 ? * 1-5", "2024-02-28 06:00:00"),
        ("0 0 6 * * SUN", "2024-03-03 06:00:00"),
        ("0 5/25 14 * * *", "2024-02-27 14:05:00"),
        # Both day fields restricted: either matches.
        ("0 0 0 15 * 4", "2024-02-29 00:00:00"),
        ("@hourly", "2024-02-27 14:00:00"),
        ("@weekly", "2024-03-03 00:00:00"),
        ("@monthly", "2024-03-01 00:00:00"),
        ("@yearly", "2025-01-01 00:00:00"),
    ],
)
def test_next_time(expression, expected):
    assert next_of(expression) == expected


@pytest.mark.parametrize(
    ("expression", "named"),
    [
        ("", "0 fields"),
        ("0 2 * *", "4 fields"),
        ("0 0 2 * * * *", "7 fields"),
        ("@nightly", "1 fields"),
        ("@every 1h", "2 fields"),
        ("60 0 2 * * *", "second '60'"),
        ("0 0 24 * * *", "hour '24'"),
        ("0 0 2 0 * *", "day of month '0'"),
        ("0 0 2 * 13 *", "month '13'"),
        ("0 2 * * 7", "day of week '7'"),
        ("0 0 2 * * mo", "day of week 'mo'"),
        ("0 0 2 * * 5-1", "day of week '5-1'"),
        ("0 0 */0 * * *", "hour '*/0'"),
        ("0 0 2, * * *", "hour ''"),
        ("0 0 *-3 * * *", "hour '*-3'"),
        ("0 0 ٢ * * *", "hour '٢'"),
        ("TZ=UTC 0 2 * * *", "second 'TZ=UTC'"),
        ("0 0 2 30 2 *", "no day matches"),
    ],
)
def test_expressions_that_the_backend_would_refuse_or_misread_are_refused_with_the_right_form(expression, named):
    with pytest.raises(UserError) as caught:
        cron.parse(expression)
    assert named in str(caught.value)
    assert "'0 0 2 * * *'" in str(caught.value)


def test_existing_five_fields_are_parsed_as_by_the_backend():
    hourly = cron.parse_existing("0 2 * * *")
    assert hourly.next_after(START) == datetime.datetime(2024, 2, 27, 14, 2, tzinfo=datetime.timezone.utc)
    assert cron.parse_existing("@every 1h") is None
    # Another client may have made one that `parse` refuses.
    assert cron.parse_existing("*/20 * * * * *").next_after(START) == START.replace(minute=30, second=20, microsecond=0)


@hypothesis.given(strategies.text(alphabet="0123456789*?/-, @aesun\x1b", max_size=20))
@hypothesis.settings(max_examples=200, deadline=None)
def test_any_text_is_parsed_or_refused(text):
    try:
        parsed = cron.parse(text)
    except UserError as error:
        assert "\x1b" not in str(error)
    else:
        assert parsed.next_after(START) > START
        assert cron.parse(parsed.expression).expression == parsed.expression


@pytest.mark.parametrize(
    ("text", "seconds"), [("900", 900), ("300s", 300), ("30m", 1800), ("6h", 21600), ("1d", 86400)]
)
def test_intervals(text, seconds):
    assert cron.parse_interval(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0h", "-1", "1.5h", "1w", "6 hours", "h"])
def test_text_that_is_not_an_interval_is_refused(text):
    with pytest.raises(UserError, match="6h"):
        cron.parse_interval(text)


@pytest.mark.parametrize("text", ["30", "1", "299s", "4m"])
def test_an_interval_that_is_shorter_than_a_run_is_refused(text):
    with pytest.raises(UserError, match=f"--every '{text}': should be at least 5m") as caught:
        cron.parse_interval(text)
    assert ("a number without a unit is seconds" in str(caught.value)) == text.isdigit()


@pytest.mark.parametrize("text", ["* * * * * *", "0 * * * * *", "* * * * *", "*/30 0 2 * * *", "0 0-59/4 2 * * *"])
def test_times_that_are_closer_than_a_run_takes_are_refused(text):
    with pytest.raises(UserError, match="should leave at least 5 minutes between two runs"):
        cron.parse(text)
    assert cron.parse("0 */5 * * * *").expression == "0 */5 * * * *"
