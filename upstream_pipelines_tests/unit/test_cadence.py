"""How long a silence may be: what is set goes first, what is learned is seldom wrong and not blinded by one outage."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upstream_pipelines.ingest.cadence import FEWEST_GAPS, HISTORY_DAYS, cadence_of, is_silent

START = date(2025, 1, 6)  # a Monday
YEAR = HISTORY_DAYS + 365
Sends = np.ndarray


def _days(gaps: list[int]) -> list[date]:
    return [START + timedelta(days=int(day)) for day in np.cumsum([0, *gaps])]


def test_what_the_configuration_says_goes_before_what_could_be_learned() -> None:
    cadence = cadence_of(_days([1] * 50), 30)
    assert cadence is not None
    assert (cadence.basis, cadence.usual_days, cadence.limit_days, cadence.gaps) == ("setting", 30, 31, None)


def test_a_day_of_grace_passes_before_a_set_cadence_is_missed() -> None:
    cadence = cadence_of([], 7)
    assert cadence is not None
    assert not is_silent(cadence, START, START + timedelta(days=8))
    assert is_silent(cadence, START, START + timedelta(days=9))


def test_too_few_uploads_teach_nothing() -> None:
    assert cadence_of(_days([7] * (FEWEST_GAPS - 1)), None) is None
    assert cadence_of([], None) is None
    assert cadence_of(_days([7] * FEWEST_GAPS), None) is not None


def test_one_outage_does_not_blind_the_watch_and_two_do() -> None:
    """The second longest gap decides; that a second outage is taken for a habit is the price, and said in the docs."""
    one, two = cadence_of(_days([1] * 40 + [45] + [1] * 40), None), cadence_of(_days([1] * 40 + [45, 45]), None)
    assert one is not None
    assert two is not None
    assert (one.limit_days, two.limit_days) == (2, 90)


@settings(max_examples=50, deadline=None)
@given(gaps=st.lists(st.integers(1, 40), min_size=FEWEST_GAPS, max_size=100), order=st.randoms())
def test_the_order_of_the_gaps_counts_for_nothing(gaps: list[int], order: object) -> None:
    mixed = list(gaps)
    order.shuffle(mixed)  # type: ignore[attr-defined]
    assert cadence_of(_days(gaps), None) == cadence_of(_days(mixed), None)


def _weekdays(rng: np.random.Generator) -> Sends:
    sends = (np.arange(YEAR) % 7 < 5) & (rng.random(YEAR) > 0.03)
    sends[rng.choice(YEAR, size=15, replace=False)] = False  # ten holidays a year
    return sends


def _weekly(rng: np.random.Generator) -> Sends:
    sends = np.zeros(YEAR, dtype=bool)
    days = np.arange(1, YEAR - 2, 7)
    sends[days + rng.integers(-1, 2, len(days))] = True
    return sends


def _by_chance(share: float) -> Callable[[np.random.Generator], Sends]:
    return lambda rng: rng.random(YEAR) < share


def _called_silent(sends: Sends) -> int:
    """How often in the year after its first 180 days a customer that goes on sending is called silent."""
    days = [START + timedelta(days=int(day)) for day in np.flatnonzero(sends)]
    called = 0
    for last, following in pairwise(days):
        # No limit is below two days.
        for today in (last + timedelta(days=n) for n in range(3, (following - last).days)):
            if (today - START).days < HISTORY_DAYS:
                continue
            # As each day would see it: the oldest gaps leave the history.
            limit = cadence_of([day for day in days if today - timedelta(days=HISTORY_DAYS) <= day <= last], None)
            if limit is not None and is_silent(limit, last, today):
                called += 1
                break
    return called


@pytest.mark.parametrize(
    ("habit", "most"),
    [(_weekdays, 0.0), (_weekly, 0.0), (_by_chance(0.5), 0.11), (_by_chance(0.3), 0.25), (_by_chance(0.1), 0.75)],
    ids=["weekdays", "weekly", "every other day by chance", "two a week by chance", "three a month by chance"],
)
def test_who_goes_on_sending_is_seldom_called_silent(
    habit: Callable[[np.random.Generator], Sends], most: float
) -> None:
    """Rates of 60 simulated customer-years. Over 200 years they were 0, 0, 0.05, 0.15 and 0.55 a year; the bounds
    leave two standard errors above that.
    """
    rng = np.random.default_rng(20260101)
    rate = sum(_called_silent(habit(rng)) for _ in range(60)) / 60
    assert rate <= most


@pytest.mark.parametrize(("habit", "days"), [(_weekdays, 10), (_weekly, 20)])
def test_who_stops_sending_is_called_silent_within_twice_his_longest_usual_gap(
    habit: Callable[[np.random.Generator], Sends], days: int
) -> None:
    sends = habit(np.random.default_rng(7))[:HISTORY_DAYS]
    sent = [START + timedelta(days=int(day)) for day in np.flatnonzero(sends)]
    cadence = cadence_of(sent, None)
    assert cadence is not None
    assert is_silent(cadence, sent[-1], sent[-1] + timedelta(days=days))
