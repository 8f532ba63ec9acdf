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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from math import fsum

import numpy as np

from upstream_pipelines.drift.arrays import by_payer, for_rows, in_rows, ratio, rows_of_stretches
from upstream_pipelines.drift.counts import View
from upstream_pipelines.drift.facts import UNDECIDED, Bools, Floats, Floats32, Ints
from upstream_pipelines.drift.open_lines import KINDS, kinds_of_days, sums_by_kind
from upstream_pipelines.drift.scan import By, Series
from upstream_pipelines.drift.settings import Signal

BY_DECISION: By = "decision"
BY_SUBMISSION: By = "submission"
DENIAL_AGE_BINS = 16  # strata of age; each holds a sixteenth of the customer's decisions
GROUP_PRIOR = 10.0  # denials a CPT group must have before its own rate weighs as much as the payer's
DENIALS: tuple[Signal, ...] = ("denial_rate", "authorization_denials")
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
    factor of the day on which the decision falls; they multiply to the hazard. `touched` are the payers of which some
    cells do not count.
    """

    decided: Floats32
    open: Floats32
    by_age: Floats
    by_day: Floats
    touched: tuple[int, ...]

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
    """Lines open at the start of the day of each age and decided on it, without what does not count (see `_outside`)."""
    decided, still, sums = view.decided[: view.ages], view.open[: view.ages], view.by_kind[:, : view.ages]
    kind = kinds_of_days(view.start, view.total.shape[1] + view.ages, country)
    outside = _outside(view, excluded, cell_days(view)) if excluded or (view.ends < view.horizon).any() else {}
    if outside:
        decided, still, sums, touched = decided.copy(), still.copy(), sums.copy(), list(outside)
        for payer, gone in outside.items():
            still[:, :, payer][gone] = 0.0
            decided[:, :, payer][gone] = 0.0
        for into, cells in zip(sums, (decided, still), strict=True):
            into[:, :, touched] = sums_by_kind(cells[:, :, touched], kind)
    by_age, by_day = _hazards(sums[0], sums[1], kind)
    return Cube(decided=decided, open=still, by_age=by_age, by_day=by_day, touched=tuple(outside))


def _outside(view: View, excluded: Sequence[Exclusion], day: Ints) -> dict[int, Bools]:
    """Per payer the cells that do not count: days after it fell silent, and excluded stretches."""
    gone = {int(payer): day > view.ends[payer] for payer in np.flatnonzero(view.ends < view.horizon)}
    submitted = view.start + np.arange(day.shape[1])[None, :]
    for item in excluded:
        cells = (submitted <= item.last) & (day >= item.first)
        gone[item.payer] = gone[item.payer] | cells if item.payer in gone else cells
    return gone


def _hazards(seen: Floats, exposed: Floats, kind: Ints) -> tuple[Floats, Floats]:
    """Share of open lines decided on a day: by age, and the factor of the day, which multiply.

    `seen` and `exposed` are lines decided and open by age, kind of day and payer, `kind` that of each day. The factor
    is the payer's own by weekday, and the customer's for holidays and the days after them. Two rounds of fitting:
    decisions that never fall on a weekend make the same age mean different things for a Monday's and a Friday's claim.
    """
    observed, decisions = seen.sum(axis=0), seen.sum(axis=1)
    by_age = ratio(decisions, exposed.sum(axis=1))
    factor = np.ones(observed.shape)
    for _ in range(2):
        # Sums in the order of ages and kinds, whatever the number of payers: einsum picks another order for one.
        plain = (exposed * by_age[:, None, :]).sum(axis=0)
        factor = (observed + WEEKDAY_PRIOR) / (plain + WEEKDAY_PRIOR)
        for special in (7, 8):
            factor[special] = (fsum(observed[special]) + WEEKDAY_PRIOR) / (fsum(plain[special]) + WEEKDAY_PRIOR)
        by_age = ratio(decisions, sum(exposed[:, each] * factor[each] for each in range(KINDS)))
    return by_age, factor[kind]


def lag_series(view: View, cube: Cube) -> tuple[Series, Series]:
    """Decisions against those expected of the open lines: by decision day, and by submission day."""
    ages, days, payers = cube.open.shape
    factor, by_age = cube.by_day.astype(np.float32), cube.by_age.astype(np.float32)
    # Nowhere to be cut is the rule, and a pass over all days of an age to see it is a fifth of this.
    cut = by_age.max(axis=1, initial=0.0) * factor.max(initial=0.0) > LARGEST_HAZARD
    # Ages one by one: the days of one fit into the processor's nearest cache, those of all do not.
    expected = np.empty((days, payers), dtype=np.float32)
    expected_rows = in_rows(expected, payers)
    of_row, factor_rows = for_rows(by_age), rows_of_stretches(factor, days)
    expected_on, expected_of = (np.zeros((days, payers), dtype=np.float32) for _ in range(2))
    for age in range(ages):
        for rows, into in zip(factor_rows, expected_rows, strict=True):
            np.multiply(rows[age], of_row[age, : into.shape[1]], out=into)
        if cut[age]:
            np.minimum(expected, np.float32(LARGEST_HAZARD), out=expected)
        np.multiply(expected, cube.open[age], out=expected)
        expected_of += expected
        expected_on[age:] += expected[: days - age]
    # All but those decided later than is looked at.
    decided_on = view.decided_on - view.aged_on[ages:].sum(axis=0).T
    decided_of = view.decided_of - view.decided[ages:, -view.days :].sum(axis=0).T
    for payer in cube.touched:
        cells = cube.decided[:, :, payer]
        decided_on[payer], decided_of[payer] = (
            _by_decision_day(cells)[-view.days :],
            cells.sum(axis=0)[-view.days :],
        )
    result = []
    for by, decided, sums in ((BY_DECISION, decided_on, expected_on), (BY_SUBMISSION, decided_of, expected_of)):
        awaited = by_payer(sums[-view.days :])
        result.append(Series(by, decided, awaited, awaited, decided, None))
    return result[0], result[1]


def _by_decision_day(cells: Floats32) -> Floats:
    """Cells by age and submission day summed by day of decision, of as many days."""
    ages, days = cells.shape
    day = np.arange(ages)[:, None] + np.arange(days)[None, :]
    return np.bincount(day.ravel(), cells.ravel())[:days].astype(np.float64, copy=False)


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


def denial_series(
    view: View, excluded: Mapping[Signal, Sequence[Exclusion]]
) -> dict[Signal, tuple[Series, Series]]:
    """Denials against those expected of the lines decided, at their age: by decision day, and by submission day.

    Expected: the payer's own share denied at that age (`DENIAL_AGE_BINS`), times the ratio of the day's CPT groups.
    Both signals go through the same cells, one right after the other: some of what the first has fetched from memory is
    at hand for the second.
    """
    counted = [decided_of(view, signal, excluded[signal]) for signal in DENIALS]
    every, authorization = counted
    strata = _strata_of(every.lines_by_age, view.ages)
    # The same lines are decided for both signals, where neither leaves any out.
    same = authorization.lines_by_age is every.lines_by_age
    weights = [
        for_rows(_share_by_age(every.denied_by_age, strata)),
        for_rows(
            _share_by_age(
                authorization.denied_by_age,
                strata if same else _strata_of(authorization.lines_by_age, view.ages),
            )
        ),
    ]
    plain_on = _usual_shares([item.aged_on for item in counted], weights, [item.lines_on for item in counted])
    plain_of = _usual_shares(
        [item.aged_of[:, -view.days :] for item in counted], weights, [item.lines_of for item in counted]
    )
    usual = [np.einsum("pgd,pd->pg", item.group_on, plain) for item, plain in zip(counted, plain_on, strict=True)]
    by_group = [
        (item.group_denied + GROUP_PRIOR) / (of_group + GROUP_PRIOR)
        for item, of_group in zip(counted, usual, strict=True)
    ]
    on = [
        _of_groups(plain, ratios, item.group_on)
        for plain, ratios, item in zip(plain_on, by_group, counted, strict=True)
    ]
    of = [
        _of_groups(plain, ratios, item.group_of)
        for plain, ratios, item in zip(plain_of, by_group, counted, strict=True)
    ]
    return {
        signal: (
            Series(BY_DECISION, item.denied_on, *expected_on, item.lines_on, item.lines_on),
            Series(BY_SUBMISSION, item.denied_of, *expected_of, item.lines_of, item.lines_of),
        )
        for signal, item, expected_on, expected_of in zip(DENIALS, counted, on, of, strict=True)
    }


@dataclass(frozen=True)
class _Strata:
    """Ages taken together: the stratum of each age (those from `ages` on being one), the age at which each begins, and
    the lines decided in each by payer.
    """

    ages: int
    of_age: Ints
    begins: Ints
    decided: Floats


def _strata_of(lines_by_age: Floats, ages: int) -> _Strata:
    by_age = _folded(lines_by_age, ages)
    of_age = _age_bins(by_age.sum(axis=1))
    begins = np.searchsorted(of_age, np.arange(int(of_age[-1]) + 1))
    return _Strata(ages, of_age, begins, np.add.reduceat(by_age, begins, axis=0))


def _share_by_age(denied_by_age: Floats, strata: _Strata) -> Floats32:
    """The share denied at each age by payer; ages from `strata.ages` on are one, however many planes they are counted in."""
    denied = np.add.reduceat(_folded(denied_by_age, strata.ages), strata.begins, axis=0)
    return ratio(denied, strata.decided)[strata.of_age].astype(np.float32)


def _usual_shares(cells: Sequence[Floats32], weights: Sequence[Floats32], lines: Sequence[Floats]) -> list[Floats]:
    """For each signal the share denied that is usual at the ages of a day's decisions, payers by days.

    `cells` by age, day and payer, `weights` the usual share by age and payer (`for_rows`), `lines` the
    decisions by payer and day.
    """
    ages, (days, payers) = len(weights[0]) - 1, cells[0].shape[1:]
    result = []
    for every, of_row, decided in zip(cells, weights, lines, strict=True):
        known = np.empty((days, payers), dtype=np.float32)
        for rows, into in zip(in_rows(every, payers), in_rows(known, payers), strict=True):
            of_day = of_row[:, : into.shape[1]]
            np.einsum("akq,aq->kq", rows[:ages], of_day[:-1], out=into)
            np.add(into, of_day[-1] * rows[ages:].sum(axis=0), out=into)
        result.append(ratio(by_payer(known), decided))
    return result


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
