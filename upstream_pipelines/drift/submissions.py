"""What comes with submissions: how many lines a payer is sent, and of which procedure codes.

Belongs here: expected volume by calendar and trend, codes counted per day, and the evidence for a changed mix.
Not here: the factors that come with decisions (factors.py), the scan of volume (scan.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from upstream_pipelines.drift.calendar import working_calendar
from upstream_pipelines.drift.counts import View
from upstream_pipelines.drift.factors import BY_SUBMISSION, Exclusion
from upstream_pipelines.drift.facts import Bools, Floats, Ints
from upstream_pipelines.drift.prices import code_values
from upstream_pipelines.drift.scan import GROWTH_PRIOR, Series, Trend, wilson_hilferty

WEEKDAY_PRIOR = 40.0  # lines' worth of the customer's weekdays given to each payer
EDGE_PRIOR = 200.0  # lines' worth of "no month edge" given to each class of days
STEEPEST_GROWTH = 3.0  # on the log scale, a year: twentyfold; beyond is no growth
YEAR = 365.0
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
    begun = np.cumsum(view.submissions, axis=1) > 0
    counts = counts & begun
    for item in excluded:
        at = np.arange(days) + first
        counts[item.payer] &= (at < item.first) | (at > item.last)
    lines = np.where(counts, view.submissions, 0.0)
    plain = _calendar(lines, counts, (first + np.arange(days)) % 7, edge)
    time: Floats = ((np.arange(days) - days / 2) / YEAR).astype(np.float64)
    level, growth = fit_growth(lines, plain, time)
    expected = plain * np.exp(level[:, None] + growth[:, None] * time)
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
    on_weekday, at_edge = np.eye(7)[weekday], np.eye(3)[edge]
    exposed = counts.astype(np.float64)
    by_weekday, days = (np.einsum("pd,dw->pw", part, on_weekday) for part in (lines, exposed))
    usual = _shares(by_weekday.sum(axis=0), days.sum(axis=0))
    usual = usual / max(usual.mean(), 1e-9)
    level = _shares(by_weekday.sum(axis=1), (days * usual).sum(axis=1))
    prior = WEEKDAY_PRIOR * usual / 7
    factor = (by_weekday + prior * np.maximum(level, 1e-9)[:, None]) / (
        days * np.maximum(level, 1e-9)[:, None] + WEEKDAY_PRIOR / 7 * np.maximum(level, 1e-9)[:, None]
    )
    plain = factor[:, weekday] * exposed
    level = _shares(lines.sum(axis=1), plain.sum(axis=1))
    expected = np.einsum("pd,de->e", plain * level[:, None], at_edge)
    edges = (np.einsum("pd,de->e", lines, at_edge) + EDGE_PRIOR) / (expected + EDGE_PRIOR)
    result: Floats = plain * edges[edge]
    return result


def fit_growth(lines: Floats, plain: Floats, time: Floats) -> tuple[Floats, Floats]:
    """Level and yearly growth (both on the log scale) of each payer, by Newton's method on the Poisson likelihood."""
    level = np.log(np.maximum(_shares(lines.sum(axis=1), plain.sum(axis=1)), 1e-9))
    growth = np.zeros(len(level))
    for _ in range(5):
        expected = plain * np.exp(level[:, None] + growth[:, None] * time)
        apart = lines - expected
        one, first, second = (expected * time**power for power in (0, 1, 2))
        s0, s1, s2 = one.sum(axis=1), first.sum(axis=1), second.sum(axis=1) + GROWTH_PRIOR
        g0, g1 = apart.sum(axis=1), (apart * time).sum(axis=1) - GROWTH_PRIOR * growth
        determinant = s0 * s2 - s1**2
        usable = determinant > 1e-9
        level = level + np.clip(
            np.divide(s2 * g0 - s1 * g1, determinant, out=np.zeros_like(s0), where=usable), -1, 1
        )
        step = np.divide(s0 * g1 - s1 * g0, determinant, out=np.zeros_like(s0), where=usable)
        growth = np.clip(growth + np.clip(step, -1, 1), -STEEPEST_GROWTH, STEEPEST_GROWTH)
    return level, growth


@dataclass(frozen=True)
class Mix:
    """Submitted lines by kind of code: payers by kinds by days, the last day being `submitted_to`.

    `codes` are the code numbers of each payer's kinds (-1: all others), `value` what a line of the kind is worth
    (dollars allowed, 0 where unknown). `dispersion` and `freedom` are per payer, before any pooling.
    """

    counts: Floats
    codes: Ints
    value: Floats
    dispersion: Floats
    freedom: Floats
    kinds: Ints


def mix_of(view: View, excluded: Sequence[Exclusion]) -> Mix:
    """Count submitted lines by code; codes too rare to be followed are pooled."""
    facts, days = view.facts, view.days
    first = view.submitted_to - days + 1
    rows = slice(int(np.searchsorted(facts.code_known, first)), int(np.searchsorted(facts.code_known, view.as_of)))
    payer, code, day, lines = (
        values[rows] for values in (facts.code_payer, facts.code_code, facts.code_day, facts.code_lines)
    )
    counted: Bools = (day >= first) & (day <= view.submitted_to)
    for item in excluded:
        counted &= (payer != item.payer) | (day > item.last) | (day < item.first)
    lines = np.where(counted, lines, 0.0)
    payers, codes = len(facts.payers), max(len(facts.code_names), 1)
    total = np.bincount(payer * codes + code, lines, minlength=payers * codes).reshape(payers, codes)
    # The largest first; among equals the first in the alphabet, whatever the order of rows.
    order = np.argsort(-total, axis=1, kind="stable")[:, : KINDS - 1]
    followed = np.take_along_axis(total, order, axis=1) >= FEWEST_OF_KIND
    place = np.full((payers, codes), KINDS - 1, dtype=np.int64)
    np.put_along_axis(place, order, np.where(followed, np.arange(order.shape[1]), KINDS - 1), axis=1)
    kind = place[payer, code]
    counts = (
        np.bincount(
            (payer * KINDS + kind) * days + np.clip(day - first, 0, days - 1),
            lines,
            minlength=payers * KINDS * days,
        )
        .reshape(payers, KINDS, days)
        .astype(np.float64, copy=False)
    )
    known = np.full((payers, KINDS), -1, dtype=np.int64)
    known[:, : order.shape[1]] = np.where(followed, order, -1)
    worth = code_values(view)
    of_kind = np.zeros((payers, KINDS))
    np.add.at(
        of_kind, (np.arange(payers)[:, None], place), total * worth[None, : total.shape[1]] if len(worth) else 0.0
    )
    by_kind = counts.sum(axis=2)
    scatter, freedom, kinds = _mix_dispersion(counts)
    return Mix(
        counts=counts,
        codes=known,
        value=_shares(of_kind, by_kind),
        dispersion=scatter,
        freedom=freedom,
        kinds=kinds,
    )


def _mix_dispersion(counts: Floats) -> tuple[Floats, Floats, Ints]:
    """Over-dispersion of neighbouring weeks' mixes, its degrees of freedom, and the kinds each payer has."""
    weeks = counts.shape[2] // 7
    by_week = counts[:, :, counts.shape[2] - 7 * weeks :].reshape(*counts.shape[:2], weeks, 7).sum(axis=3)
    total = by_week.sum(axis=1)
    share = _shares(by_week.sum(axis=2), by_week.sum(axis=(1, 2))[:, None] * np.ones((1, counts.shape[1])))
    kinds = (share > 0).sum(axis=1)
    rate = by_week / np.maximum(total, 1.0)[:, None, :]
    enough = total >= 5.0
    both = enough[:, 1:] & enough[:, :-1]
    scale = 1 / np.maximum(total, 1.0)
    apart = (rate[:, :, 1:] - rate[:, :, :-1]) ** 2
    inverse = np.divide(1.0, share, out=np.zeros_like(share), where=share > 0)
    chi = (apart * inverse[:, :, None]).sum(axis=1) / (scale[:, 1:] + scale[:, :-1])
    pairs = both.sum(axis=1)
    degrees = np.maximum(kinds - 1, 1)
    own = np.divide(
        np.where(both, chi, 0.0).sum(axis=1), pairs * degrees, out=np.ones(len(pairs)), where=pairs > 0
    )
    # Every second difference shares a week with its neighbour: 2 independent ones in 3.
    return own, pairs * degrees * (2 / 3), kinds.astype(np.int64)


def mix_evidence(before: Floats, since: Floats, dispersion: Floats, freedom: Floats) -> Floats:
    """Evidence that two mixes differ, as the normal deviate of the same chance; at least 0.

    `before` and `since` hold lines by payer, kind and candidate; `dispersion` and `freedom` are per payer.
    """
    n0, n1 = before.sum(axis=1, keepdims=True), since.sum(axis=1, keepdims=True)
    both = before + since
    total = n0 + n1
    doubled = 2 * (_entropy(before, both * _shares(n0, total)) + _entropy(since, both * _shares(n1, total))).sum(
        axis=1
    )
    degrees = np.maximum((both > 0).sum(axis=1) - 1, 1)
    z = wilson_hilferty(np.maximum(doubled, 0.0) / dispersion[:, None], degrees)
    positive = np.maximum(z, 0.0)
    result: Floats = np.sqrt(freedom[:, None] * np.log1p(positive**2 / freedom[:, None]))
    return result


def mix_windows(mix: Mix, lengths: Ints, baseline_days: int) -> tuple[Floats, Floats]:
    """Lines by payer, kind and candidate: of the `baseline_days` days before the change, and since."""
    days = mix.counts.shape[2]
    total = np.zeros((*mix.counts.shape[:2], days + 1))
    np.cumsum(mix.counts, axis=2, out=total[:, :, 1:])
    split = days - lengths
    first = np.maximum(split - baseline_days, 0)
    return total[:, :, split] - total[:, :, first], total[:, :, -1:] - total[:, :, split]


def _entropy(observed: Floats, expected: Floats) -> Floats:
    good = (observed > 0) & (expected > 0)
    result: Floats = observed * np.log(np.divide(observed, expected, out=np.ones_like(expected), where=good))
    return result


def _shares(top: Floats, bottom: Floats) -> Floats:
    return np.divide(top, bottom, out=np.zeros(np.broadcast(top, bottom).shape), where=bottom > 0)
