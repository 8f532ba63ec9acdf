"""What is usual for a stream of uploads: ordinary uploads are hardly ever called unusual, and real troubles are.

The aim is at most 1 ordinary upload in 200 by each rule. The simulations are seeded; each judges some hundred to thousand
uploads of senders as they are met, small ones among them, whose lines come in claims.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

import numpy as np
import pytest

from upstream_pipelines.quality.usual import (
    BECOMES_USUAL,
    LEAST_HISTORY,
    LEAST_WEEKDAY,
    WINDOW,
    Past,
    Side,
    Usual,
    usual_rows,
    usual_share,
)

START = date(2025, 1, 6)  # a Monday
AIM = 1 / 200
Rng = np.random.Generator


def _past(days: list[date], counts: list[float], totals: list[float], sides: list[Side | None]) -> Past:
    last = slice(-WINDOW, None)
    return Past(
        np.array([day.toordinal() for day in days[last]], dtype=np.int64),
        np.array(counts[last], dtype=float),
        np.array(totals[last], dtype=float),
        np.array([{None: 0, "low": -1, "high": 1}[side] for side in sides[last]], dtype=np.int64),
    )


def _volumes(days: list[date], rows: list[int]) -> list[tuple[Usual | None, Side | None]]:
    """Every upload judged when it comes, by those before it and their verdicts."""
    verdicts: list[tuple[Usual | None, Side | None]] = []
    for number, (day, seen) in enumerate(zip(days, rows, strict=True)):
        before = [float(value) for value in rows[:number]]
        usual = usual_rows(_past(days[:number], before, before, [side for _, side in verdicts]), day)
        verdicts.append((usual, usual.side_of(seen) if usual is not None else None))
    return verdicts


def _shares(
    counts: list[int], totals: list[int], jump: float, *, both_sides: bool
) -> list[tuple[Usual | None, Side | None]]:
    days = [START + timedelta(days=number) for number in range(len(counts))]
    verdicts: list[tuple[Usual | None, Side | None]] = []
    for number, (count, total) in enumerate(zip(counts, totals, strict=True)):
        past = _past(
            days[:number], list(map(float, counts[:number])), list(map(float, totals[:number])),
            [side for _, side in verdicts],
        )  # fmt: skip
        usual = usual_share(past, total, jump, both_sides=both_sides)
        verdicts.append((usual, usual.side_of(count / total) if usual is not None else None))
    return verdicts


def _in_claims(rng: Rng, rows: float) -> int:
    """About so many lines, of claims with one to five lines each."""
    claims = max(int(rng.poisson(rows / 3)), 1)
    return int(rng.integers(1, 6, claims).sum())


def _days(count: int, keep: Callable[[date], bool] = lambda _: True, step: int = 1) -> list[date]:
    every = (START + timedelta(days=step * number) for number in range(10 * count))
    return [day for day, _ in zip((day for day in every if keep(day)), range(count), strict=False)]


def _is_weekday(day: date) -> bool:
    return day.weekday() < 5


SENDERS: dict[str, tuple[Callable[[Rng], list[date]], Callable[[date], float]]] = {
    "weekdays": (lambda _: _days(90, _is_weekday), lambda _: 1.0),
    "weekdays, Mondays large": (lambda _: _days(90, _is_weekday), lambda day: 1.0 if day.weekday() else 2.5),
    "every day, weekends small": (lambda _: _days(90), lambda day: 1.0 if day.weekday() < 5 else 0.2),
    "weekly, give or take a day": (
        lambda rng: [day + timedelta(days=int(rng.integers(-1, 2))) for day in _days(90, step=7)],
        lambda _: 1.0,
    ),
    "four files a weekday": (lambda _: sorted(4 * _days(22, _is_weekday)), lambda _: 1.0),
}


def test_ordinary_volumes_are_unusual_less_than_once_in_200() -> None:
    rng = np.random.default_rng(2026)
    judged = unusual = 0
    for days_of, factor in SENDERS.values():
        for rows, spread in ((8, 0.4), (60, 0.2), (2000, 0.05), (2000, 0.4)):
            days = days_of(rng)
            sent = [_in_claims(rng, rows * factor(day) * np.exp(spread * rng.normal())) for day in days]
            verdicts = _volumes(days, sent)
            judged += sum(usual is not None for usual, _ in verdicts)
            unusual += sum(side is not None for _, side in verdicts)
    assert judged > 1000
    assert unusual <= AIM * judged


def test_ordinary_volumes_with_heavy_tails_are_unusual_at_most_twice_in_200() -> None:
    rng = np.random.default_rng(2026)
    judged = unusual = 0
    for days_of, factor in 3 * [*SENDERS.values()]:
        days = days_of(rng)
        sent = [_in_claims(rng, 2000 * factor(day) * np.exp(0.2 * rng.standard_t(4))) for day in days]
        verdicts = _volumes(days, sent)
        judged += sum(usual is not None for usual, _ in verdicts)
        unusual += sum(side is not None for _, side in verdicts)
    assert 0 < unusual <= 2 * AIM * judged


def test_ordinary_shares_are_unusual_less_than_once_in_200_also_of_twenty_fields_together() -> None:
    rng = np.random.default_rng(2026)
    uploads = 90
    judged, unusual = np.zeros(2, dtype=int), np.zeros(2, dtype=int)
    for smallest, largest in ((1, 20), (5, 5000)):
        totals = np.exp(rng.uniform(np.log(smallest), np.log(largest), uploads)).astype(int) + 1
        independent = np.maximum(totals // 3, 1)
        for kind, (fields, jump, both_sides) in enumerate(((20, 0.1, False), (4, 0.15, True))):
            alarm, known = np.zeros(uploads, dtype=bool), np.zeros(uploads, dtype=bool)
            for number in range(fields):
                usual = (0.0, 0.02, 0.1, 0.4, 0.9)[number % 5]
                share = rng.beta(usual * 40, (1 - usual) * 40, uploads) if usual else np.zeros(uploads)
                counts = (rng.binomial(independent, share) * totals / independent).astype(int)
                verdicts = _shares(counts.tolist(), totals.tolist(), jump, both_sides=both_sides)
                known |= [bounds is not None for bounds, _ in verdicts]
                alarm |= [side is not None for _, side in verdicts]
            judged[kind] += known.sum()
            unusual[kind] += alarm.sum()
    assert (unusual <= AIM * judged).all(), (unusual, judged)


@pytest.mark.parametrize("sender", SENDERS)
def test_half_the_rows_missing_and_twice_as_many_are_found(sender: str) -> None:
    """Of 400 rows on a quiet day, with a spread of a tenth; small files vary too much by chance alone."""
    rng = np.random.default_rng(7)
    days_of, factor = SENDERS[sender]
    days = days_of(rng)
    sent = [_in_claims(rng, 2000 * factor(day) * np.exp(0.1 * rng.normal())) for day in days]
    past = list(map(float, sent[:-1]))
    usual = usual_rows(_past(days[:-1], past, past, [None] * len(past)), days[-1])
    assert usual is not None
    assert (usual.side_of(usual.usual / 2), usual.side_of(usual.usual * 2)) == ("low", "high")
    assert usual.side_of(sent[-1]) is None


@pytest.mark.parametrize(
    ("usual", "seen", "jump", "side"),
    [
        (0.02, 1.0, 0.10, "high"),
        (0.02, 0.30, 0.10, "high"),
        (0.02, 0.08, 0.10, None),
        (0.08, 1.0, 0.15, "high"),
        (0.60, 0.0, 0.15, "low"),
        (0.05, 0.97, 0.25, "high"),
        (0.60, 0.97, 0.25, "high"),
        (0.85, 0.97, 0.25, None),
    ],
    ids=[
        "a field gone empty", "a third of a field empty", "a few more empty cells", "all denied", "none paid",
        "a file sent again with few new rows", "the same of a sender of cumulative files", "as usual nearly all known",
    ],
)  # fmt: skip
def test_a_share_far_from_usual_is_found_in_200_rows(
    usual: float, seen: float, jump: float, side: Side | None
) -> None:
    rng = np.random.default_rng(3)
    counts = rng.binomial(200, rng.beta(usual * 200, (1 - usual) * 200, 20)).tolist()
    verdicts = _shares([*counts, round(200 * seen)], [200] * 21, jump, both_sides=True)
    assert verdicts[-1][1] == side


def test_a_few_lines_of_one_claim_prove_nothing() -> None:
    verdicts = _shares([*[100] * 20, 6], [*[2000] * 20, 6], 0.15, both_sides=True)
    assert verdicts[-1][1] is None
    assert _shares([*[100] * 20, 90], [*[2000] * 20, 90], 0.15, both_sides=True)[-1][1] == "high"


def test_too_little_history_says_nothing_and_a_day_counts_the_same_however_many_uploads_came() -> None:
    weekly = [START + timedelta(days=7 * number) for number in range(LEAST_HISTORY + 1)]
    verdicts = _volumes(weekly, [100] * len(weekly))
    assert [usual is not None for usual, _ in verdicts] == [False] * LEAST_HISTORY + [True]
    # Twenty files of one day and four weekly ones are five days, not twenty-four uploads.
    days = [START] * 20 + weekly[1:6]
    assert _volumes(days, [50_000] * 20 + [100] * 5)[-1][0] is None
    later = _volumes([START] * 20 + _days(30, step=7)[1:], [50_000] * 20 + [100] * 28 + [40])
    assert later[-1] == (later[-1][0], "low")
    assert later[-1][0] is not None
    assert later[-1][0].usual == pytest.approx(100)


def test_a_daily_senders_first_weekends_are_not_measured_by_its_weekdays() -> None:
    days = _days(36)
    verdicts = _volumes(days, [1000 if _is_weekday(day) else 100 for day in days])
    sundays = [usual for day, (usual, _) in zip(days, verdicts, strict=True) if day.weekday() == 6]
    assert [usual is not None for usual in sundays] == [False] * LEAST_WEEKDAY + [True]
    assert sundays[-1] is not None
    assert sundays[-1].usual == pytest.approx(100)
    assert {side for _, side in verdicts} == {None}


def test_what_is_unusual_does_not_become_usual_until_it_has_come_five_times() -> None:
    days = _days(60, step=7)
    # An outage now and then stays one ...
    rows = [1000 + number % 7 for number in range(40)]
    for place in (20, 28, 36):
        rows[place] = 400
    assert [place for place, (_, side) in enumerate(_volumes(days[:40], rows)) if side is not None] == [20, 28, 36]
    # ... and five in a row are a new beginning: learned anew, then known well.
    changed = _volumes(days, rows[:20] + [400 + number % 7 for number in range(40)])
    told = [place for place, (_, side) in enumerate(changed) if side is not None]
    assert told == list(range(20, 20 + BECOMES_USUAL))
    known = changed[20 + LEAST_HISTORY][0]
    assert changed[20 + LEAST_HISTORY - 1][0] is None
    assert known is not None
    assert known.usual == pytest.approx(403, abs=3)
    assert known.side_of(1000) == "high"


def test_one_bulk_load_among_the_first_uploads_does_not_hide_half_a_file() -> None:
    days = _days(21, step=7)
    verdicts = _volumes(days, [1000, 980, 90_000, *[1000 + number for number in range(17)], 450])
    assert verdicts[-1][1] == "low"


def test_a_source_of_two_habits_has_both() -> None:
    days = _days(40, step=7)
    rows = [100 if number % 4 else 5000 for number in range(40)]
    assert {side for _, side in _volumes(days, rows)} == {None}
