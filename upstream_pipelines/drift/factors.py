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
from dataclasses import dataclass, fields, replace
from math import fsum

import numpy as np

from upstream_pipelines.drift.arrays import ratio
from upstream_pipelines.drift.calendar import decision_days
from upstream_pipelines.drift.counts import View, by_payer, by_weekday
from upstream_pipelines.drift.facts import UNDECIDED, Bools, Floats, Floats32, Ints
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
    """Decisions and lines open at the start of the day of each age: ages by submission days (from `start` on) by payers.

    `by_age` (ages by payers) is the share of open lines decided at each age, `by_day` (days from `start` on by payers) the
    factor of the day on which the decision falls; they multiply to the hazard.
    """

    decided: Floats32
    open: Floats32
    by_age: Floats
    by_day: Floats

    def expected(self, payer: int) -> Floats:
        """Decisions expected of the open lines of one payer, by age and submission day."""
        ages, days, _ = self.open.shape
        day = np.arange(ages)[:, None] + np.arange(days)[None, :]
        hazard = np.minimum(self.by_age[:, payer, None] * self.by_day[day, payer], LARGEST_HAZARD)
        result: Floats = self.open[:, :, payer] * hazard
        return result


LARGEST_HAZARD = 0.95


def cell_days(view: View) -> Ints:
    """The day of decision of each cell (age, submission day) of a cube, without the payers."""
    return view.start + np.arange(view.ages)[:, None] + np.arange(view.total.shape[1])[None, :]


def cube_of(view: View, excluded: Sequence[Exclusion], country: str) -> Cube:
    """Count, for each submission day and age, lines open at the start of the day of that age and decided on it."""
    decided = view.decided[: view.ages]
    still = np.empty(decided.shape, dtype=np.float32)
    still[0] = view.total.T
    for age in range(1, view.ages):
        np.subtract(still[age - 1], decided[age - 1], out=still[age])
    # The cell of an age exists once that day is over: only the last `ages` submission days have others.
    day = cell_days(view)
    still[:, -view.ages :][day[:, -view.ages :] > view.horizon] = 0.0
    outside = _outside(view, excluded, day)
    if outside:
        decided = decided.copy()
        for payer, gone in outside.items():
            still[:, :, payer][gone] = 0.0
            decided[:, :, payer][gone] = 0.0
    special = decision_days(view.start, view.total.shape[1] + view.ages, country)
    by_age, by_day = _hazards(view, decided, still, special)
    return Cube(decided=decided, open=still, by_age=by_age, by_day=by_day)


def _outside(view: View, excluded: Sequence[Exclusion], day: Ints) -> dict[int, Bools]:
    """Per payer the cells that do not count: days after it fell silent, and excluded stretches."""
    gone = {int(payer): day > view.ends[payer] for payer in np.flatnonzero(view.ends < view.horizon)}
    submitted = view.start + np.arange(day.shape[1])[None, :]
    for item in excluded:
        cells = (submitted <= item.last) & (day >= item.first)
        gone[item.payer] = gone[item.payer] | cells if item.payer in gone else cells
    return gone


def _hazards(view: View, decided: Floats32, still: Floats32, special: Ints) -> tuple[Floats, Floats]:
    """Share of open lines decided on a day: by age, and the factor of the day, which multiply.

    The factor is the payer's own by weekday, and the customer's for holidays and the days after them (`special`). Two
    rounds of fitting: decisions that never fall on a weekend make the same age mean different things for a Monday's
    and a Friday's claim.
    """
    seen, exposed = (_by_kind_of_day(cells, special, view.start) for cells in (decided, still))
    observed, decisions = seen.sum(axis=0), seen.sum(axis=1)
    by_age = ratio(decisions, exposed.sum(axis=1))
    factor = np.ones(observed.shape)
    for _ in range(2):
        # Sums in the order of ages and kinds, whatever the number of payers: einsum picks another order for one.
        plain = (exposed * by_age[:, None, :]).sum(axis=0)
        factor = (observed + WEEKDAY_PRIOR) / (plain + WEEKDAY_PRIOR)
        for kind in (7, 8):
            factor[kind] = (fsum(observed[kind]) + WEEKDAY_PRIOR) / (fsum(plain[kind]) + WEEKDAY_PRIOR)
        by_age = ratio(decisions, sum(exposed[:, kind] * factor[kind] for kind in range(9)))
    kind_of_day = np.where(special > 0, 6 + special, (view.start + np.arange(len(special))) % 7)
    return by_age, factor[kind_of_day]


def _by_kind_of_day(cells: Floats32, special: Ints, start: int) -> Floats:
    """Sums of ages by days by payers by kind of decision day: seven weekdays without the special days, then these (two)."""
    ages, days, payers = cells.shape
    # By position in the week of the submission first.
    by_position = by_weekday(cells)
    age = np.arange(ages)[:, None]
    by_kind = np.zeros((ages, 9, payers))
    by_kind[:, :7] = by_position[age, (np.arange(7)[None, :] - age - start) % 7]
    # The cells decided on special days go from their weekday to their kind: one of each age, as far as in view.
    day = np.flatnonzero(special)
    at = day[None, :] - age
    inside = (at >= 0) & (at < days)
    part = cells[age, np.where(inside, at, 0)] * inside[:, :, None].astype(np.float32)
    moved = np.zeros((9, len(day)), dtype=np.float32)
    moved[6 + special[day], np.arange(len(day))] = 1.0
    moved[(start + day) % 7, np.arange(len(day))] = -1.0
    # A product for each age: few enough numbers that BLAS starts no threads, which cost three times what they save.
    by_kind += np.matmul(moved, part)
    return by_kind


def lag_series(view: View, cube: Cube) -> tuple[Series, Series]:
    """Decisions against those expected of the open lines: by decision day, and by submission day."""
    ages, days, payers = cube.open.shape
    factor, by_age = cube.by_day.astype(np.float32), cube.by_age.astype(np.float32)
    # Ages one by one: the days of one fit into the processor's nearest cache, those of all do not.
    expected = np.empty((days, payers), dtype=np.float32)
    expected_on, expected_of, decided_on = (np.zeros((days, payers), dtype=np.float32) for _ in range(3))
    for age in range(ages):
        np.multiply(factor[age : age + days], by_age[age], out=expected)
        np.minimum(expected, np.float32(LARGEST_HAZARD), out=expected)
        np.multiply(expected, cube.open[age], out=expected)
        expected_of += expected
        expected_on[age:] += expected[: days - age]
        decided_on[age:] += cube.decided[age, : days - age]
    decided_of = cube.decided.sum(axis=0)
    result = []
    for by, sums in ((BY_DECISION, (decided_on, expected_on)), (BY_SUBMISSION, (decided_of, expected_of))):
        decided, awaited = (by_payer(values[-view.days :]) for values in sums)
        result.append(Series(by, decided, awaited, awaited, decided, None))
    return result[0], result[1]


@dataclass(frozen=True)
class Decided:
    """Decided lines and the denied among them (all, or for authorisation), as the denial factor counts them.

    `aged_of` by age, submission day and payer, `aged_on` by decision day; the rest by payer and day, or group.
    """

    aged_of: Floats32
    aged_on: Floats32
    lines_by_age: Floats
    lines_on: Floats
    lines_of: Floats
    denied_on: Floats
    denied_of: Floats
    denied_by_age: Floats
    group_on: Floats
    group_of: Floats
    group_denied: Floats


def decided_of(view: View, signal: Signal, excluded: Sequence[Exclusion]) -> Decided:
    """The decided lines of a look, without what does not count (see `_outside`)."""
    all_denials = signal == "denial_rate"
    denied_on = view.denied_on if all_denials else view.denied_authorization_on
    group_denied_on = view.group_denied_on if all_denials else view.group_denied_authorization_on
    result = Decided(
        aged_of=view.decided,
        aged_on=view.aged_on,
        lines_by_age=view.decided_by_age,
        lines_on=view.decided_on,
        lines_of=view.decided_of,
        denied_on=denied_on,
        denied_of=view.denied_of if all_denials else view.denied_authorization_of,
        denied_by_age=view.denied_by_age if all_denials else view.denied_authorization_by_age,
        group_on=view.group_decided_on,
        group_of=view.group_decided_of[:, :, -view.days :],
        group_denied=group_denied_on.sum(axis=2),
    )
    touched = {int(payer) for payer in np.flatnonzero(view.ends < view.horizon)}
    touched |= {item.payer for item in excluded}
    if touched:
        result = replace(result, **{field.name: getattr(result, field.name).copy() for field in fields(Decided)})
        for payer in touched:
            _count_again(view, result, payer, signal, [item for item in excluded if item.payer == payer])
    return result


def _count_again(view: View, into: Decided, payer: int, signal: Signal, excluded: Sequence[Exclusion]) -> None:
    """Count one payer from its rows, leaving out what does not count."""
    rows = view.rows(payer)
    day = rows.submitted + rows.age
    keep = (rows.age != UNDECIDED) & (day <= view.ends[payer])
    for item in excluded:
        keep &= (rows.submitted > item.last) | (day < item.first)
    of, on = rows.submitted[keep] - view.start, day[keep] - view.first_decision_day
    age, group = np.minimum(rows.age[keep], len(into.aged_of) - 1), rows.group[keep]
    lines = rows.lines[keep]
    denied = (rows.denied if signal == "denial_rate" else rows.denied_authorization)[keep]
    for cube in (into.aged_of, into.aged_on):
        cube[:, :, payer] = 0.0
    for values in (into.denied_by_age, into.lines_by_age):
        values[:, payer] = 0.0
    for values in (
        into.lines_on,
        into.lines_of,
        into.denied_on,
        into.denied_of,
        into.group_on,
        into.group_of,
        into.group_denied,
    ):
        values[payer] = 0.0
    shown, recent = on >= 0, of >= view.ages
    np.add.at(into.aged_of[:, :, payer], (age, of), lines.astype(np.float32))
    np.add.at(into.aged_on[:, :, payer], (age[shown], on[shown]), lines[shown].astype(np.float32))
    np.add.at(into.lines_by_age[:, payer], age, lines)
    np.add.at(into.lines_on[payer], on[shown], lines[shown])
    np.add.at(into.lines_of[payer], of[recent] - view.ages, lines[recent])
    np.add.at(into.denied_by_age[:, payer], age, denied)
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
    # Ages from `view.ages` on are one, however many planes they are counted in.
    denied_by_age, by_age = (_folded(part, view.ages) for part in (counted.denied_by_age, counted.lines_by_age))
    bins = _age_bins(by_age.sum(axis=1))
    begins = np.searchsorted(bins, np.arange(int(bins[-1]) + 1))
    denied_in, decided_in = (np.add.reduceat(part, begins, axis=0) for part in (denied_by_age, by_age))
    weight = ratio(denied_in, decided_in)[bins].astype(np.float32)

    def usual_share(cells: Floats32, lines: Floats) -> Floats:
        known = np.einsum("adp,ap->dp", cells[: view.ages], weight[:-1])
        return ratio(by_payer(known + weight[-1] * cells[view.ages :].sum(axis=0)), lines)

    plain_on = usual_share(counted.aged_on, counted.lines_on)
    plain_of = usual_share(counted.aged_of[:, -view.days :], counted.lines_of)
    usual = np.einsum("pgd,pd->pg", counted.group_on, plain_on)
    by_group = (counted.group_denied + GROUP_PRIOR) / (usual + GROUP_PRIOR)
    result = []
    for by, denied, plain, lines, groups in (
        (BY_DECISION, counted.denied_on, plain_on, counted.lines_on, counted.group_on),
        (BY_SUBMISSION, counted.denied_of, plain_of, counted.lines_of, counted.group_of),
    ):
        expected, variance = _of_groups(plain, by_group, groups)
        result.append(Series(by, denied, expected, variance, lines, lines))
    return result[0], result[1]


def _of_groups(plain: Floats, by_group: Floats, lines: Floats) -> tuple[Floats, Floats]:
    """Expected denials and their variance, payers by days: of `lines` (payers by groups by days) the share `plain` (payers
    by days) times `by_group` (payers by groups), at most 1, is denied.

    Where no share is above 1, as with nearly every payer, the sums over the groups need no array of the size of `lines`.
    """
    expected = plain * np.einsum("pgd,pg->pd", lines, by_group)
    variance = expected - plain**2 * np.einsum("pgd,pg->pd", lines, by_group**2)
    for payer in np.flatnonzero(plain.max(axis=1) * by_group.max(axis=1) > 1.0):
        share = np.minimum(plain[payer] * by_group[payer, :, None], 1.0)
        held = share * lines[payer]
        expected[payer], variance[payer] = held.sum(axis=0), (held * (1.0 - share)).sum(axis=0)
    return expected, variance


def _folded(by_age: Floats, ages: int) -> Floats:
    """Sums by age with all ages from `ages` on as one."""
    return np.concatenate([by_age[:ages], by_age[ages:].sum(axis=0, keepdims=True)])


def _age_bins(by_age: Floats) -> Ints:
    """The stratum of each age: cut where the customer's decisions pass each sixteenth."""
    total = by_age.sum()
    if total <= 0:
        return np.zeros(len(by_age), dtype=np.int64)
    share = np.cumsum(by_age) / total
    cuts = np.searchsorted(share, np.arange(1, DENIAL_AGE_BINS) / DENIAL_AGE_BINS - 1e-12)
    cuts = cuts[np.diff(cuts, prepend=-1) > 0]
    return np.searchsorted(cuts, np.arange(len(by_age))).astype(np.int64)
