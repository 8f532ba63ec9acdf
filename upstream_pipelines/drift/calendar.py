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


def working_calendar(first: int, days: int, country: str) -> tuple[Bools, Ints]:
    """Which of the `days` days from `first` on are ordinary, and the month-edge class of each (0 middle, 1 first, 2 last).

    Not ordinary: public holidays of `country` with the days before and after them, and the year's end.
    """
    begin, ordinary, edge, _ = _calendar(*_years(first, first + days - 1), country)
    shown = slice(first - begin, first - begin + days)
    return ordinary[shown], edge[shown]


def decision_days(first: int, days: int, country: str) -> Ints:
    """For each of the `days` days from `first` on: 1 for a public holiday on a weekday, 2 for the working day after it, else 0.

    Decisions due on a holiday come the day after: a holiday that is taken for any weekday makes the payer look slow,
    and then fast, eleven times a year.
    """
    begin, _, _, kind = _calendar(*_years(first, first + days - 1), country)
    return kind[first - begin : first - begin + days]


@lru_cache(maxsize=64)
def _calendar(first_year: int, last_year: int, country: str) -> tuple[int, Bools, Ints, Ints]:
    """The first day of whole years, and of all their days what the two functions above say.

    By whole years, of which a sweep over a year asks for two: day by day each look worked out its own 360, a fiftieth of
    its time.
    """
    begin, end = (int(np.datetime64(f"{year}-01-01").astype(np.int64)) for year in (first_year, last_year + 1))
    day = np.arange(begin, end)
    date = day.astype("datetime64[D]")
    month = date.astype("datetime64[M]")
    closed = _holidays(first_year - 1, last_year + 1, country)
    holidays = closed.astype("datetime64[D]")
    near = np.concatenate([closed - 1, closed, closed + 1])
    in_month = (date - month.astype("datetime64[D]")).astype(np.int64) + 1
    number = month.astype(np.int64) % 12 + 1
    year_end = ((number == CHRISTMAS[0][0]) & (in_month >= CHRISTMAS[0][1])) | (
        (number == CHRISTMAS[1][0]) & (in_month <= CHRISTMAS[1][1])
    )
    since = np.busday_count(month.astype("datetime64[D]"), date, holidays=holidays)
    until = np.busday_count(date, (month + 1).astype("datetime64[D]"), holidays=holidays)
    edge = np.where(since < EDGE_FIRST, 1, np.where(until <= EDGE_LAST, 2, 0))
    # A holiday of the last days before these years may be followed by one of their days.
    held = closed[np.is_busday(holidays)]
    after = np.busday_offset(held.astype("datetime64[D]"), 1, holidays=holidays, roll="backward").astype(np.int64)
    kind = np.where(np.isin(day, after), 2, np.where(np.isin(day, held), 1, 0))
    return begin, ~np.isin(day, near) & ~year_end, edge.astype(np.int64), kind.astype(np.int64)


def _years(first: int, last: int) -> tuple[int, int]:
    """The years of two days."""
    return int(np.datetime64(first, "D").astype("datetime64[Y]").astype(int)) + 1970, int(
        np.datetime64(last, "D").astype("datetime64[Y]").astype(int)
    ) + 1970


@lru_cache(maxsize=64)
def _holidays(first_year: int, last_year: int, country: str) -> Ints:
    import holidays

    days = holidays.country_holidays(country, years=range(first_year, last_year + 1))
    return np.sort(np.array([np.datetime64(day, "D") for day in days])).astype(np.int64)
