"""Which days are ordinary: weekdays, month edges, public holidays and what they do to the days around them.

Belongs here: days alone. Not here: any count of lines or decisions. What was worked out is kept: a sweep asks for the
same days for every customer. The arrays are not to be written into.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from upstream_pipelines.drift.facts import Bools, Ints

EDGE_FIRST, EDGE_LAST = 2, 3  # working days at either end of a month that are counted as its edge
CHRISTMAS = (12, 23), (1, 2)  # the weeks around the year's end are no measure of anything


@lru_cache(maxsize=512)
def working_calendar(first: int, days: int, country: str) -> tuple[Bools, Ints]:
    """Which of the `days` days from `first` on are ordinary, and the month-edge class of each (0 middle, 1 first, 2 last).

    Not ordinary: public holidays of `country` with the days before and after them, and the year's end.
    """
    day = first + np.arange(days)
    date = day.astype("datetime64[D]")
    month = date.astype("datetime64[M]")
    closed = _holidays(*_years(day), country)
    near = np.concatenate([closed - 1, closed, closed + 1])
    in_month = (date - month.astype("datetime64[D]")).astype(np.int64) + 1
    number = month.astype(np.int64) % 12 + 1
    year_end = ((number == CHRISTMAS[0][0]) & (in_month >= CHRISTMAS[0][1])) | (
        (number == CHRISTMAS[1][0]) & (in_month <= CHRISTMAS[1][1])
    )
    holidays = closed.astype("datetime64[D]")
    since = np.busday_count(month.astype("datetime64[D]"), date, holidays=holidays)
    until = np.busday_count(date, (month + 1).astype("datetime64[D]"), holidays=holidays)
    edge = np.where(since < EDGE_FIRST, 1, np.where(until <= EDGE_LAST, 2, 0))
    return ~np.isin(day, near) & ~year_end, edge.astype(np.int64)


@lru_cache(maxsize=512)
def decision_days(first: int, days: int, country: str) -> Ints:
    """For each of the `days` days from `first` on: 1 for a public holiday on a weekday, 2 for the working day after it, else 0.

    Decisions due on a holiday come the day after: a holiday that is taken for any weekday makes the payer look slow,
    and then fast, eleven times a year.
    """
    day = first - 7 + np.arange(days + 7)
    closed = _holidays(*_years(day), country)
    weekday = np.is_busday(day.astype("datetime64[D]"))
    holiday = np.isin(day, closed) & weekday
    kind = np.where(holiday, 1, 0)
    after = np.busday_offset(
        day[holiday].astype("datetime64[D]"), 1, holidays=closed.astype("datetime64[D]"), roll="backward"
    ).astype(np.int64)
    kind[np.isin(day, after)] = 2
    return kind[7:].astype(np.int64)


def _years(day: Ints) -> tuple[int, int]:
    first, last = (int(str(np.datetime64(int(at), "D"))[:4]) for at in (day[0], day[-1]))
    return first - 1, last + 1


@lru_cache(maxsize=64)
def _holidays(first_year: int, last_year: int, country: str) -> Ints:
    import holidays

    days = holidays.country_holidays(country, years=range(first_year, last_year + 1))
    return np.sort(np.array([np.datetime64(day, "D") for day in days])).astype(np.int64)
