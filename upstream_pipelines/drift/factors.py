"""The factors that come with decisions, as observed against expected per day.

Belongs here: decided given open (the lag), denied given decided (the denial rate, and that for authorisation).
Not here: what comes with submissions (submissions.py), prices (prices.py), whether a difference is evidence
(scan.py), or what people are shown (measures.py).

Each factor is conditional on the ones before it: growth and immature claims cannot move the denial factor.
Expectations come from the payer's own last year, change included: that costs a little evidence, and makes the
comparison one of a payer with itself (a log-rank test for the lag, a stratified test for the rest), free of any
error of a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from upstream_pipelines.drift.counts import View
from upstream_pipelines.drift.facts import UNDECIDED, Bools, Floats, Ints
from upstream_pipelines.drift.scan import By, Series
from upstream_pipelines.drift.settings import Signal

BY_DECISION: By = "decision"
BY_SUBMISSION: By = "submission"
DENIAL_AGE_BINS = 16  # strata of age; each holds a sixteenth of the customer's decisions
GROUP_PRIOR = 10.0  # denials a CPT group must have before its own rate weighs as much as the payer's
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
    """Decisions and lines open at the start of the day of each age, by payer, submission day (from `start`) and age.

    `by_age` is the share of open lines decided at each age and payer, `weekday` the factor of the day of the week on
    which the decision falls (column: days since 1970 modulo 7); they multiply to the hazard.
    """

    decided: Floats
    open: Floats
    by_age: Floats
    weekday: Floats

    def expected(self, payer: int, start: int) -> Floats:
        """Decisions expected of the open lines of one payer, by submission day and age."""
        days, ages = self.open.shape[1:]
        weekday = (start + np.arange(days)[:, None] + np.arange(ages)[None, :]) % 7
        hazard = np.minimum(self.by_age[payer][None, :] * self.weekday[payer][weekday], LARGEST_HAZARD)
        result: Floats = self.open[payer] * hazard
        return result


LARGEST_HAZARD = 0.95


def cell_days(view: View) -> Ints:
    """The day of decision of each cell (submission day, age) of a cube, without the payers."""
    return view.start + np.arange(view.total.shape[1])[:, None] + np.arange(view.ages)[None, :]


def cube_of(view: View, excluded: Sequence[Exclusion]) -> Cube:
    """Count, for each submission day and age, lines open at the start of the day of that age and decided on it."""
    decided = view.decided[:, :, : view.ages]
    still = np.empty(decided.shape)
    still[:, :, 0] = view.total
    np.cumsum(decided[:, :, :-1], axis=2, out=still[:, :, 1:])
    np.subtract(view.total[:, :, None], still[:, :, 1:], out=still[:, :, 1:])
    # The cell of an age exists once that day is over: only the last `ages` submission days have others.
    day = cell_days(view)
    still[:, -view.ages :][:, day[-view.ages :] > view.horizon] = 0.0
    outside = _outside(view, excluded, day)
    if outside:
        decided = decided.copy()
        for payer, gone in outside.items():
            still[payer][gone] = 0.0
            decided[payer][gone] = 0.0
    by_age, weekday = _hazards(view, decided, still)
    return Cube(decided=decided, open=still, by_age=by_age, weekday=weekday)


def _outside(view: View, excluded: Sequence[Exclusion], day: Ints) -> dict[int, Bools]:
    """Per payer the cells that do not count: days after it fell silent, and excluded stretches."""
    gone = {int(payer): day > view.ends[payer] for payer in np.flatnonzero(view.ends < view.horizon)}
    submitted = view.start + np.arange(len(day))[:, None]
    for item in excluded:
        cells = (submitted <= item.last) & (day >= item.first)
        gone[item.payer] = gone[item.payer] | cells if item.payer in gone else cells
    return gone


def _hazards(view: View, decided: Floats, still: Floats) -> tuple[Floats, Floats]:
    """Share of open lines decided on a day, by age and by weekday of the decision, which multiply.

    Two rounds of fitting: decisions that never fall on a weekend make the same age mean different things for a
    Monday's and a Friday's claim.
    """
    ages = view.ages
    seen, exposed = _by_weekday(decided, view.start), _by_weekday(still, view.start)  # payer, weekday, age
    weekday = (np.arange(7)[:, None] + np.arange(ages)[None, :]) % 7
    by_day = np.eye(7)[weekday]  # weekday submitted, age, weekday decided
    exposed_on = np.einsum("pwa,wad->pad", exposed, by_day)
    observed = np.einsum("pwa,wad->pd", seen, by_day)
    decisions = seen.sum(axis=1)
    factor = np.ones((decided.shape[0], 7))
    by_age = _shares(decisions, exposed_on.sum(axis=2))
    for _ in range(2):
        plain = np.einsum("pad,pa->pd", exposed_on, by_age)
        factor = (observed + WEEKDAY_PRIOR) / (plain + WEEKDAY_PRIOR)
        by_age = _shares(decisions, np.einsum("pad,pd->pa", exposed_on, factor))
    return by_age, factor


def _by_weekday(values: Floats, start: int) -> Floats:
    """Sums over the submission days of each weekday (days since 1970 modulo 7): payer, weekday, age."""
    payers, days, ages = values.shape
    out = np.empty((payers, 7, ages))
    for first in range(min(7, days)):
        np.sum(values[:, first::7], axis=1, out=out[:, (start + first) % 7])
    return out


def lag_series(view: View, cube: Cube) -> tuple[Series, Series]:
    """Decisions against those expected of the open lines: by decision day, and by submission day."""
    days = view.total.shape[1]
    # hazard = by_age x weekday, held under LARGEST_HAZARD: cells above are few, and their surplus is taken back.
    factor = cube.weekday[:, (view.start + np.arange(days + view.ages)) % 7]
    hazard = cube.by_age[:, None, :] * _cells(factor, days, view.ages)
    np.minimum(hazard, LARGEST_HAZARD, out=hazard)
    expected = np.multiply(cube.open, hazard, out=hazard)
    expected_on, expected_of = on_decision_day(expected), expected.sum(axis=2)
    decided_on, decided_of = on_decision_day(cube.decided), cube.decided.sum(axis=2)
    decided_on, expected_on, decided_of, expected_of = (
        values[:, -view.days :] for values in (decided_on, expected_on, decided_of, expected_of)
    )
    return (
        Series(BY_DECISION, decided_on, expected_on, expected_on, decided_on, None),
        Series(BY_SUBMISSION, decided_of, expected_of, expected_of, decided_of, None),
    )


def _cells(by_day: Floats, days: int, ages: int) -> Floats:
    """Values by day of decision as a cube of (payer, submission day, age) that shares their memory."""
    by_day = np.ascontiguousarray(by_day)
    payers, step = by_day.strides
    return np.lib.stride_tricks.as_strided(
        by_day, (by_day.shape[0], days, ages), (payers, step, step), writeable=False
    )


def on_decision_day(values: Floats) -> Floats:
    """Sums over the cells of each decision day (submission day + age): payers by days, as many as submission days."""
    payers, days, ages = values.shape
    out = np.zeros((payers, days))
    for age in range(ages):
        out[:, age:] += values[:, : days - age, age]
    return out


@dataclass(frozen=True)
class Decided:
    """Decided lines and the denied among them (all, or for authorisation), as the denial factor counts them.

    `cells` by submission day and age (the last plane: later); `on` by decision day, `of` by submission day.
    """

    cells: Floats
    lines_on: Floats
    denied_on: Floats
    denied_of: Floats
    denied_by_age: Floats
    group_on: Floats
    group_of: Floats
    group_denied: Floats


def decided_of(view: View, signal: Signal, excluded: Sequence[Exclusion]) -> Decided:
    """The decided lines of a look, without what does not count (see `_outside`)."""
    all_denials = signal == "denial_rate"
    denied = view.denied if all_denials else view.denied_authorization
    denied_on = view.denied_on if all_denials else view.denied_authorization_on
    group_denied_on = view.group_denied_on if all_denials else view.group_denied_authorization_on
    later = view.decided[:, :, view.ages :].sum(axis=2, keepdims=True)
    result = Decided(
        cells=np.concatenate([view.decided[:, :, : view.ages], later], axis=2),
        lines_on=view.decided_on,
        denied_on=denied_on,
        denied_of=denied.sum(axis=2)[:, -view.days :],
        denied_by_age=_by_age(denied.sum(axis=1), view.ages),
        group_on=view.group_decided_on,
        group_of=view.group_decided_of[:, :, -view.days :],
        group_denied=group_denied_on.sum(axis=2),
    )
    touched = {int(payer) for payer in np.flatnonzero(view.ends < view.horizon)}
    touched |= {item.payer for item in excluded}
    if touched:
        result = replace(result, **{name: getattr(result, name).copy() for name in _PER_PAYER})
        for payer in touched:
            _count_again(view, result, payer, signal, [item for item in excluded if item.payer == payer])
    return result


_PER_PAYER = (
    "cells", "lines_on", "denied_on", "denied_of", "denied_by_age", "group_on", "group_of", "group_denied",
)  # fmt: skip


def _by_age(values: Floats, ages: int) -> Floats:
    return np.concatenate([values[:, :ages], values[:, ages:].sum(axis=1, keepdims=True)], axis=1)


def _count_again(view: View, into: Decided, payer: int, signal: Signal, excluded: Sequence[Exclusion]) -> None:
    """Count one payer from its rows, leaving out what does not count."""
    rows = view.rows(payer)
    day = rows.submitted + rows.age
    keep = (rows.age != UNDECIDED) & (day <= view.ends[payer])
    for item in excluded:
        keep &= (rows.submitted > item.last) | (day < item.first)
    of, on = rows.submitted[keep] - view.start, day[keep] - view.first_decision_day
    age, group = np.minimum(rows.age[keep], view.ages), rows.group[keep]
    lines = rows.lines[keep]
    denied = (rows.denied if signal == "denial_rate" else rows.denied_authorization)[keep]
    for name in _PER_PAYER:
        getattr(into, name)[payer] = 0.0
    np.add.at(into.cells[payer], (of, age), lines)
    np.add.at(into.denied_by_age[payer], age, denied)
    shown, recent = on >= 0, of >= view.ages
    np.add.at(into.lines_on[payer], on[shown], lines[shown])
    np.add.at(into.denied_on[payer], on[shown], denied[shown])
    np.add.at(into.group_on[payer], (group[shown], on[shown]), lines[shown])
    np.add.at(into.group_denied[payer], group[shown], denied[shown])
    np.add.at(into.denied_of[payer], of[recent] - view.ages, denied[recent])
    np.add.at(into.group_of[payer], (group[recent], of[recent] - view.ages), lines[recent])


def denial_series(view: View, signal: Signal, excluded: Sequence[Exclusion]) -> tuple[Series, Series]:
    """Denials against those expected of the lines decided, at their age: by decision day, and by submission day.

    Expected: the payer's own share denied at that age (`DENIAL_AGE_BINS`), times the ratio of the day's CPT groups.
    """
    counted = decided_of(view, signal, excluded)
    by_age = counted.cells.sum(axis=1)
    bins = _age_bins(by_age.sum(axis=0))
    size = bins[-1] + 1
    into = np.eye(size)[bins]
    rate = _shares(counted.denied_by_age @ into, by_age @ into)[:, bins]
    expected_of = np.matmul(counted.cells, rate[:, :, None])[:, :, 0]
    lines_of = counted.cells.sum(axis=2)
    cells = counted.cells[:, :, :-1]
    aged_on = on_decision_day(cells * rate[:, None, :-1])[:, -view.days :]
    seen_on = on_decision_day(cells)[:, -view.days :]
    # What was decided at later ages stands in no cell of its own day.
    expected_on = aged_on + np.maximum(counted.lines_on - seen_on, 0.0) * rate[:, -1:]
    plain_on = _shares(expected_on, counted.lines_on)
    plain_of = _shares(expected_of, lines_of)[:, -view.days :]
    usual = (counted.group_on * plain_on[:, None, :]).sum(axis=2)
    ratio = (counted.group_denied + GROUP_PRIOR) / (usual + GROUP_PRIOR)
    result = []
    for by, denied, plain, groups in (
        (BY_DECISION, counted.denied_on, plain_on, counted.group_on),
        (BY_SUBMISSION, counted.denied_of, plain_of, counted.group_of),
    ):
        lines = groups.sum(axis=1)
        share = np.minimum(plain[:, None, :] * ratio[:, :, None], 1.0)
        result.append(
            Series(
                by,
                denied,
                (share * groups).sum(axis=1),
                (share * (1 - share) * groups).sum(axis=1),
                lines,
                lines,
            )
        )
    return result[0], result[1]


def _age_bins(by_age: Floats) -> Ints:
    """The stratum of each age: cut where the customer's decisions pass each sixteenth."""
    total = by_age.sum()
    if total <= 0:
        return np.zeros(len(by_age), dtype=np.int64)
    share = np.cumsum(by_age) / total
    cuts = np.unique(np.searchsorted(share, np.arange(1, DENIAL_AGE_BINS) / DENIAL_AGE_BINS - 1e-12))
    return np.searchsorted(cuts, np.arange(len(by_age))).astype(np.int64)


def _shares(top: Floats, bottom: Floats) -> Floats:
    return np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 0)
