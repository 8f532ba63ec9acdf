"""What a change amounts to, in units people know: rates, days, price index.

Belongs here: one payer's periods compared, in numbers and with the checks that make a change material. Not here:
scanning (charts.py), events (events.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from upstream_pipelines.drift.charts import Chart, Charts
from upstream_pipelines.drift.factors import BY_DECISION, BY_SUBMISSION
from upstream_pipelines.drift.facts import UNDECIDED, Floats, View
from upstream_pipelines.drift.scan import By, Series, Windows, evidence
from upstream_pipelines.drift.settings import DriftSettings, Signal

CURVE_PRIOR = 5.0  # lines' worth of the baseline's curve at each age: ages nobody reached yet keep the baseline's
HELD_SHARE = 0.6  # of the threshold must stay when the most striking week is left out


@dataclass(frozen=True)
class Change:
    """A suspected change: `sign` 1 for more, faster or higher; `split` its first day (days since 1970)."""

    signal: Signal
    payer: int
    by: By
    split: int
    sign: int


@dataclass(frozen=True)
class Comparison:
    """A payer's current period against its baseline.

    `shift` is on the factor's log scale and `z` its evidence, both signed as more/faster/higher; `baseline`,
    `current` and `effect` are in the signal's unit (rate, days, price index).
    """

    z: float
    shift: float
    baseline: float
    current: float
    effect: float
    n_baseline: int
    n_current: int


def compare(charts: Charts, change: Change, settings: DriftSettings, first: int | None = None) -> Comparison:
    """Compare the days from `first` (default: the change) to the horizon with the baseline days before the change."""
    chart, view, payer = charts.by_signal[change.signal], charts.view, change.payer
    first = change.split if first is None else first
    series = _series_of(chart, change)
    origin = view.horizon - view.days + 1
    cut, begin = max(change.split - origin, 0), max(first - origin, 0)
    sums = _single(series, payer, slice(max(cut - settings.baseline_days, 0), cut), slice(begin, None))
    z = float(_evidence_of(chart, series, payer, sums)[0, 0])
    (o0, o1), (e0, e1) = ((float(a[0, 0]), float(b[0, 0])) for a, b in (sums.observed, sums.expected))
    n0, n1 = (round(float(part[0, 0])) for part in sums.lines)
    if change.signal == "allowed_amount":
        shift = (o1 / e1 if e1 > 0 else 0.0) - (o0 / e0 if e0 > 0 else 0.0)
        return Comparison(z, shift, 1.0, float(np.exp(shift)), float(np.expm1(shift)), n0, n1)
    # Half an event on either side keeps a period without any denial finite; it is no matter at 8 and more.
    shift = float(np.log((o1 + 0.5) / (e1 + 0.5)) - np.log((o0 + 0.5) / (e0 + 0.5)))
    if change.signal == "denial_rate":
        baseline = o0 / n0 if n0 else 0.0
        current = min(baseline * (o1 / e1) / (o0 / e0), 1.0) if o0 > 0 and e1 > 0 else (o1 / n1 if n1 else 0.0)
        return Comparison(z, shift, baseline, current, current - baseline, n0, n1)
    before = life_table(charts, payer, change.by, (change.split - settings.baseline_days, change.split - 1))
    since = life_table(charts, payer, change.by, (first, view.horizon))
    baseline_curve = hazard_of(before)
    current_curve = hazard_of(since, baseline_curve, CURVE_PRIOR)
    baseline, current = median_of(baseline_curve), median_of(current_curve)
    return Comparison(z, shift, baseline, current, current - baseline, n0, n1)


def _series_of(chart: Chart, change: Change) -> Series:
    return next(item for item in chart.series if item.by == change.by)


def _single(series: Series, payer: int, before: slice, since: slice) -> Windows:
    def sums(values: Floats) -> tuple[Floats, Floats]:
        row = values[payer]
        return np.array([[row[before].sum()]]), np.array([[row[since].sum()]])

    return Windows(
        length=np.array([0]),
        observed=sums(series.observed),
        expected=sums(series.expected),
        trials=None if series.trials is None else sums(series.trials),
        lines=sums(series.lines),
    )


def _evidence_of(chart: Chart, series: Series, payer: int, sums: Windows) -> Floats:
    return evidence(series, sums, chart.dispersion[payer : payer + 1], chart.freedom[payer : payer + 1])


def life_table(charts: Charts, payer: int, by: By, span: tuple[int, int]) -> tuple[Floats, Floats]:
    """Decisions and open lines by age, over the decision (or submission) days of `span`, both ends included."""
    view, cube = charts.view, charts.cube
    day = np.arange(cube.open.shape[2])[None, :] + view.start
    if by == BY_DECISION:
        day = day + np.arange(view.ages)[:, None]
    inside = np.broadcast_to((day >= span[0]) & (day <= span[1]), (view.ages, cube.open.shape[2]))
    return (cube.decided[:, payer] * inside).sum(axis=1), (cube.open[:, payer] * inside).sum(axis=1)


def hazard_of(table: tuple[Floats, Floats], prior: Floats | None = None, weight: float = 0.0) -> Floats:
    """Share of open lines decided at each age, drawn towards `prior` with the weight of so many lines."""
    decided, still = table
    top = decided if prior is None else decided + weight * prior
    bottom = still + weight
    return np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 0)


def survival_of(hazard: Floats) -> Floats:
    """Share of lines still open after each age (Kaplan-Meier)."""
    return np.asarray(np.cumprod(1.0 - np.minimum(hazard, 1.0)), dtype=np.float64)


def median_of(hazard: Floats) -> float:
    """Kaplan-Meier median in days, between the two ages where half are decided; the longest age if half never are."""
    still = survival_of(hazard)
    under = np.flatnonzero(still <= 0.5)
    if not len(under):
        return float(len(hazard))
    at = int(under[0])
    above = still[at - 1] if at else 1.0
    return float(at - 1 + (above - 0.5) / (above - still[at])) + 0.5


def is_material(signal: Signal, comparison: Comparison, sign: int, settings: DriftSettings) -> bool:
    """Whether the effect goes the way of the evidence and is large enough to matter."""
    effect = comparison.effect
    if signal == "decision_lag":
        return -sign * effect >= settings.minimum_lag_days
    if signal == "allowed_amount":
        return sign * effect >= settings.minimum_price_change
    if sign * effect <= 0:
        return False
    points, relative = abs(effect), abs(effect) / comparison.baseline if comparison.baseline > 0 else np.inf
    return bool(points >= settings.minimum_rate_points or relative >= settings.minimum_rate_relative)


def holds_without_best_week(charts: Charts, change: Change, needed: float, settings: DriftSettings) -> bool:
    """Whether the evidence stays when any one week is left out: a holiday or a lost file is no lasting change.

    For the lag it is a week of decisions that is left out, whatever the days are: a lost file of decisions makes
    all lines submitted in the weeks before it look slow.
    """
    chart, payer, view = charts.by_signal[change.signal], change.payer, charts.view
    series = _series_of(chart, change)
    cut = change.split - (view.horizon - view.days + 1)

    def parts(values: Floats, since: Floats | None = None) -> tuple[Floats, Floats]:
        before = values[payer, max(cut - settings.baseline_days, 0) : cut].sum()
        since = values[payer, cut:] if since is None else since
        week = np.convolve(since, np.ones(7))  # any seven days in a row: a gap does not keep to calendar weeks
        return np.full((1, len(week)), before), (since.sum() - week)[None, :]

    observed, expected = parts(series.observed), parts(series.expected)
    if change.signal == "decision_lag" and change.by == BY_SUBMISSION:
        observed, expected = (
            parts(values, _by_decision_day(charts, change, cells))
            for values, cells in (
                (series.observed, charts.cube.decided),
                (series.expected, charts.cube.expected),
            )
        )
    sums = Windows(
        length=np.arange(observed[0].shape[1]),
        observed=observed,
        expected=expected,
        trials=None if series.trials is None else parts(series.trials),
        lines=parts(series.lines),
    )
    return bool((change.sign * _evidence_of(chart, series, payer, sums)).min() >= needed)


def _by_decision_day(charts: Charts, change: Change, cells: Floats) -> Floats:
    """Sums of a cube's cells over the lines submitted since the change, by day of decision since then."""
    picked = cells[:, change.payer, change.split - charts.view.start :]
    day = np.arange(picked.shape[1])[None, :] + np.arange(picked.shape[0])[:, None]
    # Cells past the horizon are empty: their days are not over.
    return np.bincount(day.ravel(), picked.ravel())[: picked.shape[1]].astype(np.float64)


def completeness(view: View, payer: int, first: int, signal: Signal) -> float:
    """How complete a figure of the days from `first` on is, 0..1; nan where nothing was submitted.

    A denial rate waits for decisions: the share of the lines submitted since then that is decided. Lag and
    prices are counted on the day of the decision, open lines included, so that nothing of them is still to come.
    """
    rows = (view.payer == payer) & (view.submitted >= first)
    total = view.lines[rows].sum()
    if total <= 0:
        return float("nan")
    if signal != "denial_rate":
        return 1.0
    return float(view.lines[rows & (view.age != UNDECIDED)].sum() / total)


def severity(signal: Signal, effect: float, view: View, payer: int, *, settings: DriftSettings) -> float:
    """0..1 from the size of the effect against what is material, weighed by the payer's share of billed dollars.

    Four times the material size gives a half; a payer of less than its even share of the money up to a half less.
    """
    unit = {
        "denial_rate": settings.minimum_rate_points,
        "decision_lag": settings.minimum_lag_days,
        "allowed_amount": settings.minimum_price_change,
    }[signal]
    size = abs(effect) / max(unit, 1e-9)
    by_effect = size / (size + 4.0)
    recent = view.submitted > view.horizon - 90
    total = view.billed[recent].sum()
    if total <= 0:
        return by_effect
    share = view.billed[recent & (view.payer == payer)].sum() / total
    even = 1.0 / max(len(np.unique(view.payer[recent])), 1)
    return float(by_effect * (0.5 + 0.5 * min(share / even, 1.0)))
