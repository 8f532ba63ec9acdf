"""When a message is due: grouping, the pause between messages, and quiet hours by the wall clock of any zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upstream_pipelines.alerts.timing import Lately, QuietHours, Rhythm, due_at

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
NO_MESSAGE = Lately()
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
NIGHT = {"from": "20:00", "to": "07:00"}
# Clocks that change in either half of the year, by half an hour, never, across the date line, at midnight.
ZONES = (
    "UTC", "America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kolkata", "Pacific/Apia", "Africa/Cairo",
    "America/Santiago", "Asia/Kathmandu", "Pacific/Chatham",
)  # fmt: skip


def _due(
    at_once: bool = True, severity: float | None = 0.5, lately: Lately = NO_MESSAGE, **rhythm: Any
) -> datetime:
    return due_at(NOW, Rhythm(**rhythm), lately, at_once=at_once, severity=severity)


def test_drift_is_due_at_once_and_what_comes_one_by_one_waits_for_others() -> None:
    assert _due() == NOW
    assert _due(at_once=False, severity=None) == NOW + 30 * SECOND
    assert _due(at_once=False, severity=None, group=timedelta(0)) == NOW


def test_a_message_waits_until_five_minutes_after_the_one_before() -> None:
    assert _due(lately=Lately(NOW - MINUTE, 0.5)) == NOW + 4 * MINUTE
    assert _due(at_once=False, severity=None, lately=Lately(NOW - MINUTE, None)) == NOW + 4 * MINUTE
    assert _due(at_once=False, severity=None, lately=Lately(NOW - 5 * MINUTE + SECOND, None)) == NOW + 30 * SECOND
    assert _due(lately=Lately(NOW - MINUTE, 0.5), update=timedelta(0)) == NOW


def test_one_that_is_a_step_more_severe_than_all_told_lately_does_not_wait() -> None:
    assert _due(severity=0.7, lately=Lately(NOW - MINUTE, 0.5)) == NOW
    assert _due(severity=0.69, lately=Lately(NOW - MINUTE, 0.5)) > NOW
    assert _due(severity=0.5, lately=Lately(NOW - MINUTE, None)) == NOW  # an upload's failure has no severity
    assert _due(severity=None, lately=Lately(NOW - MINUTE, None)) > NOW


def test_quiet_hours_move_even_the_most_severe_to_their_end() -> None:
    quiet = QuietHours.read({"from": "07:30", "to": "17:00", "days": None}, "America/New_York")
    assert _due(severity=1.0, quiet=quiet) == datetime(2026, 5, 1, 21, tzinfo=UTC)
    assert _due(at_once=False, severity=None, lately=Lately(NOW - MINUTE), quiet=quiet).hour == 21


@pytest.mark.parametrize(
    ("zone", "at", "end"),
    [
        # Over midnight, in summer and in winter.
        ("America/New_York", "2026-07-01T23:00-04:00", "2026-07-02T07:00-04:00"),
        ("America/New_York", "2026-01-01T03:00-05:00", "2026-01-01T07:00-05:00"),
        # The night in which the clocks go forward has an hour less, the other one more.
        ("America/New_York", "2026-03-07T20:00-05:00", "2026-03-08T07:00-04:00"),
        ("America/New_York", "2026-10-31T20:00-04:00", "2026-11-01T07:00-05:00"),
        # Outside, nothing moves: not even the first minute.
        ("Europe/Berlin", "2026-05-01T07:00+02:00", "2026-05-01T07:00+02:00"),
        ("Europe/Berlin", "2026-05-01T19:59:59+02:00", "2026-05-01T19:59:59+02:00"),
        ("Europe/Berlin", "2026-05-01T06:59:59+02:00", "2026-05-01T07:00+02:00"),
    ],
)
def test_the_night_ends_by_the_clock_on_the_wall(zone: str, at: str, end: str) -> None:
    quiet = QuietHours.read(NIGHT, zone)
    assert quiet.end_after(datetime.fromisoformat(at)) == datetime.fromisoformat(end)


def test_an_end_that_the_clocks_leave_out_is_when_they_are_changed() -> None:
    quiet = QuietHours.read({"from": "00:30", "to": "02:30"}, "America/New_York")
    assert quiet.end_after(datetime(2026, 3, 8, 6, 30, tzinfo=UTC)) == datetime(2026, 3, 8, 7, tzinfo=UTC)


def test_an_hour_that_comes_twice_is_quiet_twice() -> None:
    quiet = QuietHours.read({"from": "00:30", "to": "01:30"}, "America/New_York")
    assert quiet.end_after(datetime(2026, 11, 1, 5, 0, tzinfo=UTC)) == datetime(2026, 11, 1, 5, 30, tzinfo=UTC)
    assert quiet.end_after(datetime(2026, 11, 1, 6, 10, tzinfo=UTC)) == datetime(2026, 11, 1, 6, 30, tzinfo=UTC)


def test_days_are_those_on_which_the_quiet_begins() -> None:
    quiet = QuietHours.read({**NIGHT, "days": ["fri"]}, "UTC")
    assert quiet.covers(datetime(2026, 5, 1, 23, tzinfo=UTC))  # a Friday
    assert quiet.covers(datetime(2026, 5, 2, 6, tzinfo=UTC))
    assert not quiet.covers(datetime(2026, 5, 1, 6, tzinfo=UTC))
    assert not quiet.covers(datetime(2026, 5, 2, 23, tzinfo=UTC))


def test_a_whole_weekend_ends_on_monday() -> None:
    quiet = QuietHours.read({"from": "00:00", "to": "24:00", "days": ["sat", "sun"]}, "Europe/Berlin")
    end = quiet.end_after(datetime(2026, 5, 2, 9, tzinfo=UTC))
    assert end == datetime(2026, 5, 4, tzinfo=ZoneInfo("Europe/Berlin"))


def _quiet_by_hand(stored: dict[str, Any], zone: str, at: datetime) -> bool:
    """The same said another way: in the day that began today or yesterday, by the wall clock as text."""
    local = at.astimezone(ZoneInfo(zone))
    clock, names = f"{local:%H:%M}", ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
    today, yesterday = names[local.weekday()], names[local.weekday() - 1]
    days = stored["days"] or names
    over_midnight = stored["to"] <= stored["from"]
    if today in days and clock >= stored["from"] and (over_midnight or clock < stored["to"]):
        return True
    return over_midnight and yesterday in days and clock < stored["to"]


times = st.tuples(st.integers(0, 23), st.integers(0, 59)).map(lambda at: f"{at[0]:02}:{at[1]:02}")
weekdays = st.none() | st.lists(st.sampled_from(["mon", "tue", "wed", "thu", "fri", "sat", "sun"]), min_size=1)


@given(
    begin=times, end=times, days=weekdays, zone=st.sampled_from(ZONES),
    at=st.datetimes(datetime(2024, 1, 1), datetime(2030, 1, 1)).map(lambda at: at.replace(tzinfo=UTC)),
    between=st.floats(0, 1),
)  # fmt: skip
def test_the_end_is_the_first_moment_that_is_not_quiet_in_any_zone_at_any_time(
    begin: str, end: str, days: list[str] | None, zone: str, at: datetime, between: float
) -> None:
    if begin == end:
        return
    stored = {"from": begin, "to": end, "days": days}
    found = QuietHours.read(stored, zone).end_after(at)
    assert not _quiet_by_hand(stored, zone, found)
    if _quiet_by_hand(stored, zone, at):
        assert at < found <= at + timedelta(hours=26)
        assert _quiet_by_hand(stored, zone, found - SECOND)
        assert _quiet_by_hand(stored, zone, at + between * (found - SECOND - at))
    else:
        assert found == at
