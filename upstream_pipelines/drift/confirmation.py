"""Whether a denial change is one of the rate, and not of how fast denials or payments come.

Belongs here: the checks at equal maturity before a denial event opens. Not here: the evidence itself (charts.py).

The denial chart compares lines decided at the same age. Where denials take longer than payments (or less), a change
of lag alone changes that share, and nothing in young cohorts can tell the two apart. What can: a changed rate
changes the denials per *submitted* line at every age alike, a changed lag takes from the young ages and gives to the
old ones, or the other way round.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from upstream_pipelines.drift.charts import Charts
from upstream_pipelines.drift.counts import PayerRows, View
from upstream_pipelines.drift.facts import UNDECIDED, Floats
from upstream_pipelines.drift.measures import Change, compare_counts, rate_is_material
from upstream_pipelines.drift.settings import DriftSettings

OLD_DENIALS = 5.0  # denials expected at old ages before anything is said: fewer have no sign of their own
OLD_SHARE = 0.5  # of the change at young ages must show at old ones (on the log scale)
LAG_MOVED = 2.5  # standard errors by which young and old payments may differ before full maturity is asked for
STANDS_OUT = 2.5  # standard errors by which the share of authorisation among the denials must have moved
MATURED = 0.95  # of what used to be decided in the end: what is missing moves a rate by a tenth of itself at most
MATURED_SHARE = 0.75  # of the threshold: the matured cohorts are the older part of what the chart has seen


@dataclass(frozen=True)
class Incidence:
    """By age: submitted lines that have reached it, and those denied and otherwise decided at it."""

    lines: Floats
    denied: Floats
    other: Floats


def denial_confirmed(charts: Charts, change: Change, needed: float, settings: DriftSettings) -> bool:
    """Whether the cohorts submitted since the change show a changed rate, and not only a changed lag.

    `needed` is the chart's threshold. Denials are those of the change's signal: all, or for authorisation.
    """
    view, split = charts.view, change.split
    rows = view.rows(change.payer)
    if not view.sees_open:
        return _matured_agree(charts, rows, change, needed * MATURED_SHARE, settings)
    before = incidence(view, rows, change, split - settings.baseline_days, split - 1)
    since = incidence(view, rows, change, split, view.horizon)
    half = int(np.searchsorted(np.cumsum(before.denied), before.denied.sum() / 2))
    expected = _expected(before.denied, before, since)
    if expected[half:].sum() < OLD_DENIALS:
        return False
    young, old = (
        np.log((since.denied[part].sum() + 0.5) / (expected[part].sum() + 0.5))
        for part in (slice(0, half), slice(half, None))
    )
    if change.sign * old < max(OLD_SHARE * change.sign * young, 0.0):
        return False
    if _payments_moved(before, since, float(charts.by_signal["decision_lag"].dispersion[change.payer])):
        return _matured_agree(charts, rows, change, needed * MATURED_SHARE, settings)
    return True


def authorization_stands_out(charts: Charts, change: Change, settings: DriftSettings) -> bool:
    """Whether the share of authorisation among the denials changed too: else it is the denial rate that did."""
    found = [
        compare_counts(charts.by_signal[signal], change, settings)
        for signal in ("authorization_denials", "denial_rate")
    ]
    (x0, x1), (d0, d1) = found
    if min(d0, d1) <= 0:
        return False
    share = (x0 + x1) / (d0 + d1)
    spread = np.sqrt(
        charts.by_signal["authorization_denials"].dispersion[change.payer]
        * share
        * (1 - share)
        * (1 / d0 + 1 / d1)
    )
    return bool(change.sign * (x1 / d1 - x0 / d0) >= STANDS_OUT * spread)


def _denied(rows: PayerRows, change: Change) -> Floats:
    return rows.denied if change.signal == "denial_rate" else rows.denied_authorization


def incidence(view: View, rows: PayerRows, change: Change, first: int, last: int) -> Incidence:
    """Count a payer's cohorts submitted from `first` to `last` by age."""
    inside = (rows.submitted >= first) & (rows.submitted <= last)
    age, lines, denied = rows.age[inside], rows.lines[inside], _denied(rows, change)[inside]
    reach = np.clip(view.ends[change.payer] - rows.submitted[inside], -1, view.ages - 1)
    reached = np.bincount(reach + 1, lines, minlength=view.ages + 1)[1:]
    seen = (age != UNDECIDED) & (age < view.ages)
    return Incidence(
        lines=np.cumsum(reached[::-1])[::-1].astype(np.float64),
        denied=np.bincount(age[seen], denied[seen], minlength=view.ages).astype(np.float64),
        other=np.bincount(age[seen], (lines - denied)[seen], minlength=view.ages).astype(np.float64),
    )


def _expected(counts: Floats, before: Incidence, since: Incidence) -> Floats:
    share = np.divide(counts, before.lines, out=np.zeros_like(counts), where=before.lines > 0)
    result: Floats = since.lines * share
    return result


def _decided_share(cohorts: Incidence) -> Floats:
    """Share of the submitted lines decided by each age, from all cohorts that have reached it."""
    counts = cohorts.denied + cohorts.other
    share = np.divide(counts, cohorts.lines, out=np.zeros_like(counts), where=cohorts.lines > 0)
    return np.asarray(np.cumsum(share), dtype=np.float64)


def _payments_moved(before: Incidence, since: Incidence, dispersion: float) -> bool:
    """Whether lines not denied come at another age than before: more at young ages than at old, or fewer."""
    half = int(np.searchsorted(np.cumsum(before.other), before.other.sum() / 2))
    expected = _expected(before.other, before, since)
    cells = [
        (since.other[part].sum() + 0.5, expected[part].sum() + 0.5, before.other[part].sum() + 0.5)
        for part in (slice(0, half), slice(half, None))
    ]
    apart = np.log(cells[0][0] / cells[0][1]) - np.log(cells[1][0] / cells[1][1])
    error = np.sqrt(dispersion * sum(1 / seen + 1 / known for seen, _, known in cells))
    return bool(abs(apart) > LAG_MOVED * error)


def _matured_agree(
    charts: Charts, rows: PayerRows, change: Change, needed: float, settings: DriftSettings
) -> bool:
    """Whether cohorts old enough to be nearly all decided show the change; baseline cohorts cut at the same age."""
    view, payer, split = charts.view, change.payer, change.split
    in_the_end = _decided_share(incidence(view, rows, change, split - settings.baseline_days, split - 1))[-1]
    ripe = np.flatnonzero(
        _decided_share(incidence(view, rows, change, split, view.horizon)) >= MATURED * in_the_end
    )
    if in_the_end <= 0 or not len(ripe):
        return False
    old = int(ripe[0])
    decided = (rows.age != UNDECIDED) & (rows.age <= old)
    since = decided & (rows.submitted >= split) & (rows.submitted <= view.ends[payer] - old)
    before = decided & (rows.submitted < split) & (rows.submitted >= split - settings.baseline_days)
    denied = _denied(rows, change)
    n0, n1 = float(rows.lines[before].sum()), float(rows.lines[since].sum())
    x0, x1 = float(denied[before].sum()), float(denied[since].sum())
    if n1 < settings.minimum_current_lines or n0 < settings.minimum_baseline_lines:
        return False
    rate = (x0 + x1) / (n0 + n1)
    spread = np.sqrt(charts.by_signal[change.signal].dispersion[payer] * rate * (1 - rate) * (1 / n0 + 1 / n1))
    effect = x1 / n1 - x0 / n0
    evident = spread > 0 and change.sign * effect / spread >= needed
    return bool(evident and rate_is_material(change.signal, x0 / n0, effect, change.sign, settings))
