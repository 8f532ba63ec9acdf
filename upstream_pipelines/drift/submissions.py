"""What comes with submissions: how many lines a payer is sent, and of which procedure codes.

Belongs here: expected volume by calendar and trend, codes counted per day, and the evidence for a changed mix.
Not here: the factors that come with decisions (factors.py), the scan of volume (scan.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from upstream_pipelines.drift.arrays import log_terms, of_cells, ratio, running_sums_of
from upstream_pipelines.drift.calendar import working_calendar
from upstream_pipelines.drift.counts import View
from upstream_pipelines.drift.factors import BY_SUBMISSION, Exclusion
from upstream_pipelines.drift.facts import Bools, Floats, Ints
from upstream_pipelines.drift.scan import GROWTH_PRIOR, Series, Trend, wilson_hilferty

WEEKDAY_PRIOR = 40.0  # lines' worth of the customer's weekdays given to each payer
EDGE_PRIOR = 200.0  # lines' worth of "no month edge" given to each class of days
STEEPEST_GROWTH = 3.0  # on the log scale, a year: twentyfold; beyond is no growth
YEAR = 365.0
FROM_LAST = 180  # days before the last, from which growth counts whatever days are in view: cut off, it leaves another level
KINDS = 12  # codes followed one by one, the last being all others
FEWEST_OF_KIND = 20.0  # lines; codes with fewer are among the others


def volume_series(view: View, excluded: Sequence[Exclusion], country: str) -> Series:
    """Submitted lines against those expected by weekday, month edge and the payer's own steady growth.

    Days that are not ordinary count for nothing, and neither do those before a payer's first line.
    """
    days = view.days
    first = view.submitted_to - days + 1
    ordinary, edge = working_calendar(first, days, country)
    counts = np.broadcast_to(ordinary, view.submissions.shape)
    there = view.submissions > 0
    begun = np.where(there.any(axis=1), there.argmax(axis=1), days)
    counts = counts & (np.arange(days) >= begun[:, None])
    for item in excluded:
        at = np.arange(days) + first
        counts[item.payer] &= (at < item.first) | (at > item.last)
    lines = np.where(counts, view.submissions, 0.0)
    plain = _calendar(lines, counts, (first + np.arange(days)) % 7, edge)
    time: Floats = ((np.arange(days) - days + FROM_LAST) / YEAR).astype(np.float64)
    level, growth = fit_growth(lines, plain, time)
    expected = np.zeros_like(plain)
    _Busy.of(plain, time).expect(level, growth, into=expected)
    return Series(
        BY_SUBMISSION,
        lines,
        expected,
        expected,
        lines,
        None,
        "trend",
        Trend(plain=plain, time=time, moment=expected * time, second=expected * time**2),
    )


def _calendar(lines: Floats, counts: Bools, weekday: Ints, edge: Ints) -> Floats:
    """Expected lines of each day up to the payer's level: weekday by payer, month edge by customer."""
    on_weekday = np.eye(7)[weekday]
    exposed = counts.astype(np.float64)
    # Whole numbers, whose sums are the same in any order.
    by_weekday, days = lines @ on_weekday, exposed @ on_weekday
    usual = ratio(by_weekday.sum(axis=0), days.sum(axis=0))
    usual = usual / max(usual.mean(), 1e-9)
    level = ratio(by_weekday.sum(axis=1), (days * usual).sum(axis=1))
    prior = WEEKDAY_PRIOR * usual / 7
    factor = (by_weekday + prior * np.maximum(level, 1e-9)[:, None]) / (
        days * np.maximum(level, 1e-9)[:, None] + WEEKDAY_PRIOR / 7 * np.maximum(level, 1e-9)[:, None]
    )
    plain = factor[:, weekday] * exposed
    level = ratio(lines.sum(axis=1), plain.sum(axis=1))
    expected = np.bincount(
        np.broadcast_to(edge, lines.shape).ravel(), (plain * level[:, None]).ravel(), minlength=3
    )
    edges = (np.bincount(edge, lines.sum(axis=0), minlength=3) + EDGE_PRIOR) / (expected + EDGE_PRIOR)
    result: Floats = plain * edges[edge]
    return result


def fit_growth(lines: Floats, plain: Floats, time: Floats) -> tuple[Floats, Floats]:
    """Level and yearly growth (both on the log scale) of each payer, by Newton's method on the Poisson likelihood."""
    level = np.log(np.maximum(ratio(lines.sum(axis=1), plain.sum(axis=1)), 1e-9))
    growth = np.zeros(len(level))
    counted, weighed = lines.sum(axis=1), (lines * time).sum(axis=1)
    busy, expected, moment = _Busy.of(plain, time), np.zeros_like(plain), np.empty_like(plain)
    for _ in range(5):
        busy.expect(level, growth, into=expected)
        s0 = expected.sum(axis=1)
        np.multiply(expected, time, out=moment)
        s1 = moment.sum(axis=1)
        moment *= time
        s2 = moment.sum(axis=1) + GROWTH_PRIOR
        g0, g1 = counted - s0, weighed - s1 - GROWTH_PRIOR * growth
        determinant = s0 * s2 - s1**2
        usable = determinant > 1e-9
        level = level + np.clip(
            np.divide(s2 * g0 - s1 * g1, determinant, out=np.zeros_like(s0), where=usable), -1, 1
        )
        step = np.divide(s0 * g1 - s1 * g0, determinant, out=np.zeros_like(s0), where=usable)
        growth = np.clip(growth + np.clip(step, -1, 1), -STEEPEST_GROWTH, STEEPEST_GROWTH)
    return level, growth


@dataclass(frozen=True)
class _Busy:
    """The days on which any payer has lines to expect, two thirds of them: on the others no power has to be taken."""

    days: Ints
    plain: Floats
    time: Floats

    @classmethod
    def of(cls, plain: Floats, time: Floats) -> _Busy:
        days = np.flatnonzero(plain.any(axis=0))
        return cls(days, plain[:, days], time[days])

    def expect(self, level: Floats, growth: Floats, into: Floats) -> None:
        """Write what level and growth let expect on these days; `into` holds 0 on the others."""
        expected = growth[:, None] * self.time
        expected += level[:, None]
        np.exp(expected, out=expected)
        expected *= self.plain
        into[:, self.days] = expected


@dataclass(frozen=True)
class Mix:
    """Submitted lines by kind of code: payers by kinds by days, the last day being `submitted_to`.

    `upto` holds the lines of all days before each (days + 1 by payers by kinds). `dispersion` and `freedom` are
    per payer, before any pooling. `rows` are those of the facts counted, and `lines` their lines, 0 where they belong to no period.
    """

    counts: Floats
    upto: Floats
    dispersion: Floats
    freedom: Floats
    kinds: Ints
    rows: slice
    lines: Floats

    def of(self, payer: int) -> Mix:
        """The same of one payer."""
        return Mix(
            counts=self.counts[[payer]],
            upto=self.upto[:, [payer]],
            rows=self.rows,
            lines=self.lines,
            **{name: getattr(self, name)[[payer]] for name in ("dispersion", "freedom", "kinds")},
        )


def mix_of(view: View, excluded: Sequence[Exclusion]) -> Mix:
    """Count submitted lines by code; codes too rare to be followed are pooled."""
    facts, days = view.facts, view.days
    first = view.submitted_to - days + 1
    rows = slice(int(np.searchsorted(facts.code_known, first)), int(np.searchsorted(facts.code_known, view.as_of)))
    payer, cell, day = (values[rows] for values in (facts.code_payer, facts.code_cell, facts.code_day))
    counted: Bools = (day >= first) & (day <= view.submitted_to)
    for item in excluded:
        counted &= (payer != item.payer) | (day > item.last) | (day < item.first)
    lines: Floats = facts.code_lines[rows]
    if not counted.all():
        # Rows that do not count weigh nothing, whatever day they are put on.
        lines, day = np.where(counted, lines, 0.0), np.maximum(day, first)
    payers, of_payer = len(facts.payers), facts.code_cell_payer
    total = np.bincount(cell, lines, minlength=len(of_payer))
    # Of each payer the largest first; among equals the first in the alphabet, whatever the order of rows.
    order = np.lexsort((-total, of_payer))
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order)) - np.searchsorted(of_payer, of_payer)[order]
    followed = (rank < KINDS - 1) & (total >= FEWEST_OF_KIND)
    column = of_cells(of_payer * KINDS + np.where(followed, rank, KINDS - 1), cell)
    column += (day - first) * (payers * KINDS)
    counts = np.bincount(column, lines, minlength=days * payers * KINDS)
    by_day: Floats = counts[: days * payers * KINDS].reshape(days, payers, KINDS).astype(np.float64, copy=False)
    upto = running_sums_of(by_day)
    scatter, freedom, kinds = _mix_dispersion(upto)
    return Mix(
        counts=by_day.transpose(1, 2, 0),
        upto=upto,
        dispersion=scatter,
        freedom=freedom,
        kinds=kinds,
        rows=rows,
        lines=lines,
    )


def _mix_dispersion(upto: Floats) -> tuple[Floats, Floats, Ints]:
    """Over-dispersion of neighbouring weeks' mixes, its degrees of freedom, and the kinds each payer has."""
    by_week = np.ascontiguousarray(np.diff(upto[(len(upto) - 1) % 7 :: 7], axis=0).transpose(1, 2, 0))
    total = by_week.sum(axis=1)
    share = ratio(by_week.sum(axis=2), by_week.sum(axis=(1, 2))[:, None] * np.ones((1, by_week.shape[1])))
    kinds = (share > 0).sum(axis=1)
    rate = by_week / np.maximum(total, 1.0)[:, None, :]
    enough = total >= 5.0
    both = enough[:, 1:] & enough[:, :-1]
    scale = 1 / np.maximum(total, 1.0)
    apart = (rate[:, :, 1:] - rate[:, :, :-1]) ** 2
    inverse = ratio(np.ones_like(share), share)
    chi = (apart * inverse[:, :, None]).sum(axis=1) / (scale[:, 1:] + scale[:, :-1])
    pairs = both.sum(axis=1)
    degrees = np.maximum(kinds - 1, 1)
    own = ratio((both * chi).sum(axis=1), (pairs * degrees).astype(np.float64), otherwise=1.0)
    # Every second difference shares a week with its neighbour: 2 independent ones in 3.
    return own, pairs * degrees * (2 / 3), kinds.astype(np.int64)


def mix_evidence(before: Floats, since: Floats, dispersion: Floats, freedom: Floats) -> Floats:
    """Evidence that two mixes differ, as the normal deviate of the same chance; at least 0.

    `before` and `since` hold lines by payer, kind and candidate; `dispersion` and `freedom` are per payer.
    """
    n0, n1 = before.sum(axis=1, keepdims=True), since.sum(axis=1, keepdims=True)
    both = before + since
    total = n0 + n1
    doubled = 2 * (log_terms(before, both * ratio(n0, total)) + log_terms(since, both * ratio(n1, total))).sum(
        axis=1
    )
    degrees = np.maximum((both > 0).sum(axis=1) - 1, 1)
    z = wilson_hilferty(np.maximum(doubled, 0.0) / dispersion[:, None], degrees)
    positive = np.maximum(z, 0.0)
    result: Floats = np.sqrt(freedom[:, None] * np.log1p(positive**2 / freedom[:, None]))
    return result


def mix_windows(mix: Mix, lengths: Ints, baseline_days: int) -> tuple[Floats, Floats]:
    """Lines by payer, kind and candidate: of the `baseline_days` days before the change, and since."""
    split = len(mix.upto) - 1 - lengths
    at, first = mix.upto[split], mix.upto[np.maximum(split - baseline_days, 0)]
    return (at - first).transpose(1, 2, 0), (mix.upto[-1] - at).transpose(1, 2, 0)
