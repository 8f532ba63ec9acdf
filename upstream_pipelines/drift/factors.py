"""The three factors of a payer's history, as observed against expected per day.

Belongs here: decided given open (the lag), denied given decided (the denial rate), allowed given code (the price).
Not here: whether a difference is evidence (scan.py), or what people are shown (measures.py).

Each factor is conditional on the ones before it: growth and immature claims cannot move the denial factor, the mix of
procedures cannot move the price. Expectations come from the payer's own last year, change included: that costs a
little evidence, and makes the comparison one of a payer with itself (a log-rank test for the lag, a stratified test
for the rest), free of any error of a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from upstream_pipelines.drift.facts import UNDECIDED, Bools, Facts, Floats, Ints, View
from upstream_pipelines.drift.scan import By, Series
from upstream_pipelines.drift.settings import Signal

BY_DECISION: By = "decision"
BY_SUBMISSION: By = "submission"
DENIAL_AGE_BINS = 16  # strata of age; each holds a sixteenth of the customer's decisions
GROUP_PRIOR = 10.0  # denials a CPT group must have before its own rate weighs as much as the payer's
PRICE_PRIOR = 5.0  # lines' worth of the customer's usual scatter given to each code
SMALLEST_PRICE_SCATTER = 0.01  # a fee schedule has no scatter at all; a hundredth keeps rounding from being news
FEWEST_CODE_LINES = 5  # below, a code's mean says nothing
WEEKDAY_PRIOR = 20.0  # decisions' worth of "no weekday pattern"


@dataclass(frozen=True)
class Exclusion:
    """Days of a payer and signal that belong to no baseline: an earlier event, or what came before a new normal."""

    payer: int
    signal: Signal
    first: int
    last: int


@dataclass(frozen=True)
class Cube:
    """Decisions, open lines and decisions expected of them, by age, payer and submission day (`view.start` on)."""

    decided: Floats
    open: Floats
    expected: Floats


def cube_of(view: View, payers: int, excluded: Sequence[Exclusion]) -> Cube:
    """Count, for each submission day and age, lines open at the start of the day of that age and decided on it."""
    width = view.days + view.ages
    shape = (view.ages, payers, width)
    column = view.submitted - view.start
    total = _counts(view.payer * width + column, view.lines, minlength=payers * width)
    inside = (view.age != UNDECIDED) & (view.age < view.ages)
    flat = (view.age[inside] * payers + view.payer[inside]) * width + column[inside]
    decided = _counts(flat, view.lines[inside], minlength=int(np.prod(shape))).reshape(shape)
    still = np.empty(shape)
    still[0] = total.reshape(payers, width)
    for age in range(1, view.ages):
        np.subtract(still[age - 1], decided[age - 1], out=still[age])
    # The cell of an age exists once that day is over: s + age <= the payer's last day.
    reached = np.arange(width)[None, None, :] + np.arange(view.ages)[:, None, None]
    ends = (view.ends - view.start)[None, :, None]
    over = reached > ends
    still[over] = 0.0
    decided[over] = 0.0
    for item in excluded:
        days = np.arange(width) + view.start
        gone = (days[None, :] <= item.last) & (days[None, :] + np.arange(view.ages)[:, None] >= item.first)
        still[:, item.payer, :][gone] = 0.0
        decided[:, item.payer, :][gone] = 0.0
    hazard = hazards(view, decided, still)
    expected = still * np.tile(hazard, (1, 1, -(-width // 7)))[:, :, :width]
    return Cube(decided=decided, open=still, expected=expected)


def hazards(view: View, decided: Floats, still: Floats) -> Floats:
    """Share of open lines decided on a day, by age, payer and weekday of submission.

    Age and weekday of the decision multiply (two rounds of fitting): decisions that never fall on a weekend make
    the same age mean different things for a Monday's and a Friday's claim.
    """
    width = still.shape[2]
    weeks = -(-width // 7)
    pad = [(0, 0), (0, 0), (0, weeks * 7 - width)]
    shape = (*still.shape[:2], weeks, 7)
    decided = np.pad(decided, pad).reshape(shape).sum(axis=2)
    still = np.pad(still, pad).reshape(shape).sum(axis=2)
    weekday = (np.arange(7)[None, :] + np.arange(view.ages)[:, None]) % 7
    factor = np.ones((decided.shape[1], 7))
    by_day = np.eye(7)[weekday]  # age, weekday submitted, weekday decided
    observed = np.einsum("aps,asd->pd", decided, by_day)
    for _ in range(2):
        exposure = np.einsum("aps,asd,pd->ap", still, by_day, factor)
        by_age = np.divide(decided.sum(axis=2), exposure, out=np.zeros_like(exposure), where=exposure > 0)
        plain = np.einsum("aps,asd,ap->pd", still, by_day, by_age)
        factor = (observed + WEEKDAY_PRIOR) / (plain + WEEKDAY_PRIOR)
    exposure = np.einsum("aps,asd,pd->ap", still, by_day, factor)
    by_age = np.divide(decided.sum(axis=2), exposure, out=np.zeros_like(exposure), where=exposure > 0)
    result: Floats = np.minimum(by_age[:, :, None] * np.einsum("asd,pd->aps", by_day, factor), 0.95)
    return result


def lag_series(view: View, cube: Cube) -> tuple[Series, Series]:
    """Decisions against those expected of the open lines: by decision day, and by submission day."""
    decided_on, expected_on = _diagonal_sums(cube.decided, view), _diagonal_sums(cube.expected, view)
    decided_of, expected_of = (values.sum(axis=0)[:, -view.days :] for values in (cube.decided, cube.expected))
    return (
        Series(BY_DECISION, decided_on, expected_on, expected_on, decided_on, None, gaussian=False),
        Series(BY_SUBMISSION, decided_of, expected_of, expected_of, decided_of, None, gaussian=False),
    )


def _diagonal_sums(values: Floats, view: View) -> Floats:
    """Sums over the cells of each decision day (submission day + age), payers by days."""
    ages, payers, width = values.shape
    out = np.zeros((payers, width + ages))
    for age in range(ages):
        out[:, age : age + width] += values[age]
    return out[:, width - view.days : width]


def denial_expectation(view: View, facts: Facts, keep: Bools) -> Floats:
    """The expected share denied of each decided row in `keep`: by payer and age, times the CPT group's own ratio."""
    payer, group = view.payer[keep], view.group[keep]
    age, lines, denied = view.age[keep], view.lines[keep], view.denied[keep]
    payers, groups = len(facts.payers), max(len(facts.groups), 1)
    order = np.argsort(age, kind="stable")
    share = np.cumsum(lines[order]) / max(lines.sum(), 1.0)
    cuts = age[order][
        np.searchsorted(share, np.arange(1, DENIAL_AGE_BINS) / DENIAL_AGE_BINS).clip(max=len(age) - 1)
    ]
    bins = np.searchsorted(np.unique(cuts), age)
    stratum = payer * DENIAL_AGE_BINS + bins
    size = payers * DENIAL_AGE_BINS
    rate = _shares(_counts(stratum, denied, minlength=size), _counts(stratum, lines, minlength=size))[stratum]
    cell = payer * groups + group
    expected = _counts(cell, rate * lines, minlength=payers * groups)
    ratio = (_counts(cell, denied, minlength=payers * groups) + GROUP_PRIOR) / (expected + GROUP_PRIOR)
    result: Floats = np.minimum(rate * ratio[cell], 1.0)
    return result


def _shares(top: Floats, bottom: Floats) -> Floats:
    return np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 0)


def denial_series(view: View, facts: Facts, excluded: Sequence[Exclusion]) -> tuple[Series, Series]:
    """Denials against those expected of the lines decided, at their age: by decision day, and by submission day."""
    payers = len(facts.payers)
    day = view.submitted + view.age
    keep = (view.age != UNDECIDED) & (day <= view.ends[view.payer]) & ~_gone(view, excluded)
    share = denial_expectation(view, facts, keep) if keep.any() else np.zeros(0)
    result = []
    for by, days in ((BY_DECISION, day[keep]), (BY_SUBMISSION, view.submitted[keep])):
        column = days - (view.horizon - view.days + 1)
        inside = column >= 0

        def sums(values: Floats, column: Ints = column, inside: Bools = inside) -> Floats:
            flat = view.payer[keep][inside] * view.days + column[inside]
            return _counts(flat, values[inside], minlength=payers * view.days).reshape(payers, view.days)

        lines = view.lines[keep]
        counted = sums(lines)
        result.append(
            Series(
                by,
                sums(view.denied[keep]),
                sums(share * lines),
                sums(share * (1 - share) * lines),
                counted,
                counted,
                gaussian=False,
            )
        )
    return result[0], result[1]


def _gone(view: View, excluded: Sequence[Exclusion]) -> Bools:
    gone = np.zeros(len(view.payer), dtype=bool)
    for item in excluded:
        gone |= (
            (view.payer == item.payer) & (view.submitted <= item.last) & (view.submitted + view.age >= item.first)
        )
    return gone


def price_series(view: View, facts: Facts, excluded: Sequence[Exclusion]) -> Series:
    """Score and information of log allowed against the code's own mean, by decision day.

    Only sums per code and day are at hand, so it is a day's mean that is held within 4 standard errors (or a
    quarter, where the code scatters less): a misplaced decimal point is 2.3 on the log scale and moves no chart.
    """
    payers, codes = len(facts.payers), max(facts.codes, 1)
    keep = view.price_day <= view.ends[view.price_payer]
    for item in excluded:
        keep &= (view.price_payer != item.payer) | (view.price_day > item.last) | (view.price_day < item.first)
    payer, day, lines = view.price_payer[keep], view.price_day[keep], view.price_lines[keep]
    cell = payer * codes + view.price_code[keep]
    size = payers * codes
    count = _counts(cell, lines, minlength=size)
    total = _counts(cell, view.price_sum[keep], minlength=size)
    mean = _shares(total, count)
    within = np.maximum(_counts(cell, view.price_sum_sq[keep], minlength=size) - total * mean, 0.0)
    usual = within.sum() / max((count - 1).clip(min=0).sum(), 1.0)
    scatter = (within + PRICE_PRIOR * usual) / (np.maximum(count - 1, 0) + PRICE_PRIOR)
    scatter = np.maximum(scatter, SMALLEST_PRICE_SCATTER**2)[cell]
    for _ in range(2):  # once more with the centre of what was held within bounds
        apart = view.price_sum[keep] / lines - mean[cell]
        held = np.clip(apart, -_reach(scatter, lines), _reach(scatter, lines))
        mean = mean + _shares(_counts(cell, (held * lines), minlength=size), count)
        mean = np.where(count > 0, mean, 0.0)
    apart = view.price_sum[keep] / lines - mean[cell]
    held = np.clip(apart, -_reach(scatter, lines), _reach(scatter, lines))
    enough = count[cell] >= FEWEST_CODE_LINES
    column = day - (view.horizon - view.days + 1)
    flat = payer * view.days + column

    def sums(values: Floats) -> Floats:
        picked = np.where(enough, values, 0.0)
        return _counts(flat, picked, minlength=payers * view.days).reshape(payers, view.days)

    information = sums(lines / scatter)
    return Series(
        BY_DECISION, sums(held * lines / scatter), information, information, sums(lines), None, gaussian=True
    )


def _reach(scatter: Floats, lines: Floats) -> Floats:
    result: Floats = np.maximum(4 * np.sqrt(scatter / lines), 0.25)
    return result


def _counts(cell: Ints, weights: Floats, minlength: int) -> Floats:
    return np.bincount(cell, weights, minlength=minlength).astype(np.float64, copy=False)
