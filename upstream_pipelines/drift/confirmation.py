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
from upstream_pipelines.drift.facts import UNDECIDED, Floats, View
from upstream_pipelines.drift.measures import Change, Comparison, is_material
from upstream_pipelines.drift.settings import DriftSettings

OLD_DENIALS = 5.0  # denials expected at old ages before anything is said: fewer have no sign of their own
OLD_SHARE = 0.5  # of the change at young ages must show at old ones (on the log scale)
LAG_MOVED = 2.5  # standard errors by which young and old payments may differ before full maturity is asked for
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

    `needed` is the chart's threshold.
    """
    view, split = charts.view, change.split
    if not view.sees_open:
        return _matured_agree(charts, change, needed * MATURED_SHARE, settings)
    before = incidence(view, change.payer, split - settings.baseline_days, split - 1)
    since = incidence(view, change.payer, split, view.horizon)
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
        return _matured_agree(charts, change, needed * MATURED_SHARE, settings)
    return True


def incidence(view: View, payer: int, first: int, last: int) -> Incidence:
    """Count one payer's cohorts submitted from `first` to `last` by age."""
    rows = (view.payer == payer) & (view.submitted >= first) & (view.submitted <= last)
    age, lines, denied = view.age[rows], view.lines[rows], view.denied[rows]
    reach = np.clip(view.ends[payer] - view.submitted[rows], -1, view.ages - 1)
    reached = np.bincount(reach + 1, lines, minlength=view.ages + 1)[1:]
    inside = (age != UNDECIDED) & (age < view.ages)
    return Incidence(
        lines=np.cumsum(reached[::-1])[::-1].astype(np.float64),
        denied=np.bincount(age[inside], denied[inside], minlength=view.ages).astype(np.float64),
        other=np.bincount(age[inside], (lines - denied)[inside], minlength=view.ages).astype(np.float64),
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


def _matured_agree(charts: Charts, change: Change, needed: float, settings: DriftSettings) -> bool:
    """Whether cohorts old enough to be nearly all decided show the change; baseline cohorts cut at the same age."""
    view, payer, split = charts.view, change.payer, change.split
    in_the_end = _decided_share(incidence(view, payer, split - settings.baseline_days, split - 1))[-1]
    ripe = np.flatnonzero(_decided_share(incidence(view, payer, split, view.horizon)) >= MATURED * in_the_end)
    if in_the_end <= 0 or not len(ripe):
        return False
    old = int(ripe[0])
    rows = (view.payer == payer) & (view.age != UNDECIDED) & (view.age <= old)
    since = rows & (view.submitted >= split) & (view.submitted <= view.ends[payer] - old)
    before = rows & (view.submitted < split) & (view.submitted >= split - settings.baseline_days)
    n0, n1 = view.lines[before].sum(), view.lines[since].sum()
    x0, x1 = view.denied[before].sum(), view.denied[since].sum()
    if n1 < settings.minimum_current_lines or n0 < settings.minimum_baseline_lines:
        return False
    rate = (x0 + x1) / (n0 + n1)
    spread = np.sqrt(charts.by_signal["denial_rate"].dispersion[payer] * rate * (1 - rate) * (1 / n0 + 1 / n1))
    difference = x1 / n1 - x0 / n0
    figures = Comparison(0.0, 0.0, x0 / n0, x1 / n1, difference, int(n0), int(n1))
    evident = spread > 0 and change.sign * difference / spread >= needed
    return bool(evident and is_material("denial_rate", figures, change.sign, settings))
