"""When a message is due: grouping, the pause between two messages, quiet hours. No database, and no clock of its own.

Not here: whether an alert is told at all (life.py), the retries of a message that was tried (delivery/outcome.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self
from zoneinfo import ZoneInfo

from upstream_pipelines.alerts.life import rises

# Alerts in one webhook. A drift event's data is 4 to 8 kB; many servers refuse a body of 1 MB, as nginx does unless told
# otherwise. Other channels tell ten in full, however many there are.
MOST_IN_A_WEBHOOK = 50
_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_MINUTE = timedelta(minutes=1)
_DAY = 24 * 60


@dataclass(frozen=True)
class QuietHours:
    """A part of the day, by the wall clock of `zone`, in which no first try of a message is made.

    `begin` and `end` are minutes after midnight, `end` up to 1440; an end that is not after the begin is on the next day.
    `days`: weekdays on which it begins, Monday is 0.
    """

    begin: int
    end: int
    days: frozenset[int]
    zone: ZoneInfo

    @classmethod
    def read(cls, stored: Mapping[str, Any], time_zone: str) -> Self:
        """From the columns of a rule: {"from": "20:00", "to": "07:00", "days": ["mon"] or null}, and an IANA name.

        Raises:
            zoneinfo.ZoneInfoNotFoundError: this machine knows no such time zone.
        """
        days = stored.get("days") or _WEEKDAYS
        return cls(
            begin=_minutes(stored["from"]),
            end=_minutes(stored["to"]),
            days=frozenset(_WEEKDAYS.index(day) for day in days),
            zone=ZoneInfo(time_zone),
        )

    def covers(self, instant: datetime) -> bool:
        """Whether the wall clock is in the quiet hours at an instant."""
        local = instant.astimezone(self.zone)
        at, day = local.hour * 60 + local.minute, local.weekday()
        if self.begin < self.end:
            return self.begin <= at < self.end and day in self.days
        return (at >= self.begin and day in self.days) or (at < self.end and (day - 1) % 7 in self.days)

    def end_after(self, instant: datetime) -> datetime:
        """The instant itself outside of quiet hours, else the first minute after them.

        They can end at `end` by the wall clock alone, which is gone to at once; through a day on which clocks change it goes
        minute by minute, since a wall clock time may come twice then or not at all. All weekdays with a whole day have no
        end; then the message goes out a week later.
        """
        if not self.covers(instant):
            return instant
        at = instant.astimezone(UTC).replace(second=0, microsecond=0)
        last = at + 7 * _DAY * _MINUTE
        while at < last and self.covers(at):
            local = at.astimezone(self.zone)
            ahead = (self.end - local.hour * 60 - local.minute) % _DAY or _DAY
            then = min(at + ahead * _MINUTE, last)
            if local.utcoffset() == then.astimezone(self.zone).utcoffset():
                at = then
                continue
            while at < then and self.covers(at):
                at += _MINUTE
        return at


@dataclass(frozen=True)
class Rhythm:
    """How a rule wants its messages spaced."""

    group: timedelta = timedelta(seconds=30)
    update: timedelta = timedelta(minutes=5)
    quiet: QuietHours | None = None


@dataclass(frozen=True)
class Lately:
    """The last message of a rule to a channel within the rule's `update`: when it was first tried, and the highest
    severity of all that such messages told; None where there was no message, or none with a severity.
    """

    tried_at: datetime | None = None
    highest: float | None = None


def due_at(now: datetime, rhythm: Rhythm, lately: Lately, *, at_once: bool, severity: float | None) -> datetime:
    """When a message with an alert of this severity may go out, were it alone in it; of several the earliest counts.

    `at_once`: it does not wait for others to join. A severity a step above all that was told lately does not wait for the
    pause between messages either; where what was told had none, it counts as 0. Quiet hours move everything.
    """
    due = now if at_once else now + rhythm.group
    if lately.tried_at is not None and not rises(severity, lately.highest or 0.0):
        due = max(due, lately.tried_at + rhythm.update)
    return rhythm.quiet.end_after(due) if rhythm.quiet is not None else due


def _minutes(time_of_day: str) -> int:
    hours, _, minutes = time_of_day.partition(":")
    return int(hours) * 60 + int(minutes)
