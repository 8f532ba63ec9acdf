"""The simulated world's calendar: weekdays, US federal holidays, month edges. Nothing random, nothing of claims."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Calendar:
    """Days 0..n-1 from `start`; arrays of length n.

    `work`: days on which payers decide. `volume`: what share of a usual day's claims an office sends.
    `edge`: +1 on the last two working days of a month, -1 on the first two. `next_work`: the next working day, or
    the day itself.
    """

    start: date
    weekday: Ints
    week: Ints
    work: Bools
    volume: Floats
    edge: Floats
    next_work: Ints


@cache
def federal_holidays(year: int) -> frozenset[date]:
    """The eleven US federal holidays of a year, on the day they are observed."""
    fixed = [date(year, 1, 1), date(year, 6, 19), date(year, 7, 4), date(year, 11, 11), date(year, 12, 25)]
    observed = [day + timedelta(days={5: -1, 6: 1}.get(day.weekday(), 0)) for day in fixed]
    moving = [
        _nth(year, 1, 0, 3), _nth(year, 2, 0, 3), _nth(year, 9, 0, 1), _nth(year, 10, 0, 2), _nth(year, 11, 3, 4),
        max(date(year, 5, day) for day in range(25, 32) if date(year, 5, day).weekday() == 0),
    ]  # fmt: skip
    return frozenset([*observed, *moving])


def _nth(year: int, month: int, weekday: int, nth: int) -> date:
    first = date(year, month, 1)
    return first + timedelta(days=(weekday - first.weekday()) % 7 + 7 * (nth - 1))


def thanksgiving(year: int) -> date:
    """The fourth Thursday of November."""
    return _nth(year, 11, 3, 4)


def calendar(start: date, days: int) -> Calendar:
    """The calendar of `days` days from `start`."""
    dates = [start + timedelta(days=day) for day in range(days)]
    weekday = np.array([day.weekday() for day in dates])
    holiday = np.array([day in federal_holidays(day.year) for day in dates])
    work = (weekday < 5) & ~holiday
    volume = np.where(weekday < 5, 1.0, 0.02)
    volume[holiday] = 0.04
    for index, day in enumerate(dates):
        if day == thanksgiving(day.year) + timedelta(days=1):
            volume[index] *= 0.35
        elif day.month == 12 and day.day >= 24 and work[index]:
            volume[index] *= 0.45 if day.day in (24, 31) else 0.65
    edge = np.zeros(days)
    month = np.array([day.year * 12 + day.month for day in dates])
    for which in np.unique(month):
        worked = np.flatnonzero((month == which) & work)
        # A month cut off by the end of the history has no known edge there.
        if dates[int(np.flatnonzero(month == which)[0])].day == 1:
            edge[worked[:2]] = -1.0
        if dates[int(np.flatnonzero(month == which)[-1])] + timedelta(days=1) == _next_month(int(which)):
            edge[worked[-2:]] = 1.0
    next_work = np.arange(days)
    for back in range(days - 2, -1, -1):
        if not work[back]:
            next_work[back] = next_work[back + 1]
    return Calendar(start, weekday, (np.arange(days) + start.weekday()) // 7, work, volume, edge, next_work)


def _next_month(which: int) -> date:
    year, month = divmod(which, 12) if which % 12 else (which // 12 - 1, 12)
    return date(year + month // 12, month % 12 + 1, 1)
