"""How long a customer may go without sending before it counts as silent. Pure; not here: uploads, alerts
(missed_uploads.py).

The learned limit is twice the second longest gap between the days on which it sent, of the last 180 days. Where gaps come
in no order, the next one is longer than the second longest of n with a chance of 2 in n + 1; the second, not the longest,
so that one outage does not blind the watch for half a year; twice, because a sender has many gaps a year. Simulated over a
year (test_cadence.py): nobody who sends on weekdays (with 10 holidays), or weekly give or take a day, is called silent
while he sends; one who sends by pure chance is 0.05 (every other day) to 0.55 (three a month) times a year.

Its limits: it needs ten gaps, so it knows nothing of a new customer nor of one who sends monthly; a season that comes once a
year is news to it; and two outages in half a year make it slow. `cadence_days` says it for good.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from typing import Literal

HISTORY_DAYS = 180
FEWEST_GAPS = 10
_TIMES = 2
LEAST_LIMIT_DAYS = _TIMES  # learned: a gap is at least a day
_GRACE_DAYS = 1  # a file of Monday evening may come on Tuesday morning


@dataclass(frozen=True)
class Cadence:
    """`usual_days` between days on which the customer sends, and the `limit_days` after which it is silent.

    `gaps`: how many it was learned from; None where the customer's configuration says it.
    """

    basis: Literal["setting", "learned"]
    usual_days: int
    limit_days: int
    gaps: int | None = None


def cadence_of(days: Sequence[date], cadence_days: int | None) -> Cadence | None:
    """What to expect of a customer.

    Args:
        days: different days (UTC) on which it sent something within the last `HISTORY_DAYS`, ascending.
        cadence_days: what its configuration says, which goes before anything learned.

    Returns: None where nothing is set and there are too few days to learn from.
    """
    if cadence_days is not None:
        return Cadence("setting", cadence_days, cadence_days + _GRACE_DAYS)
    gaps = sorted(((later - earlier).days for earlier, later in pairwise(days)), reverse=True)
    if len(gaps) < FEWEST_GAPS:
        return None
    return Cadence("learned", gaps[len(gaps) // 2], _TIMES * gaps[1], len(gaps))


def is_silent(cadence: Cadence, last_day: date, today: date) -> bool:
    """Whether more days have passed since the last day on which something came than the cadence allows."""
    return (today - last_day).days > cadence.limit_days
