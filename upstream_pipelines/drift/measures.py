"""What a change amounts to, in units people know: rates, days, price index, lines a week.

Belongs here: one payer's periods compared, in numbers and with the checks that make a change material. Not here:
scanning (charts.py), events (events.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from upstream_pipelines.drift.charts import Chart, Charts
from upstream_pipelines.drift.counts import View
from upstream_pipelines.drift.factors import BY_SUBMISSION
from upstream_pipelines.drift.facts import Floats, Floats32
from upstream_pipelines.drift.life_table import hazard_of, life_table, median_of
from upstream_pipelines.drift.mix_worth import sign_of_worth, worth_of_mix
from upstream_pipelines.drift.scan import GROWTH_PRIOR, By, Series, Windows, evidence, sums_of
from upstream_pipelines.drift.settings import RATE_SIGNALS, DriftSettings, Signal
from upstream_pipelines.drift.submissions import Mix, fit_growth, mix_evidence

CURVE_PRIOR = 5.0  # lines' worth of the expected curve at each age, for the ages that nobody has reached yet
MOST_CARRIED = 2.0  # times by which ages not reached yet are taken to be slower or faster
HELD_SHARE = 0.6  # of the threshold must stay when the most striking days are left out
STRIKING_DAYS: dict[Signal, int] = {
    "denial_rate": 3,
    "decision_lag": 5,
    "allowed_amount": 1,
    "volume": 5,
    "procedure_mix": 2,
    "authorization_denials": 3,
}
"""Days in a row on which no change may rest: a closed office or a lost file lasts a week, a batch of odd lines a day or
two (three of denials, which are worked off in batches)."""
WIDEST = 5.0  # on the log scale: a hundredfold either way says that nothing is known, and is a number yet
WIDTH = 1.96  # standard errors: 95 %
SETTLED_SHARE = 0.98  # of the lines decided: the others hide a 50th of a change of prices
NEAR = 7.35  # twice the log-likelihood within which a change day is as likely as the best, at 95 %: no regular
# parameter, whose limit is 3.84, but the time of a step (two independent random walks with drift)


@dataclass(frozen=True)
class Change:
    """A suspected change: `sign` 1 for more, faster or higher, -1 for less, 0 for a mix whose worth may be either; `split`
    its first day (days since 1970).
    """

    signal: Signal
    payer: int
    by: By
    split: int
    sign: int


@dataclass(frozen=True)
class Comparison:
    """A payer's current period against its baseline.

    `shift` is on the factor's log scale and `z` its evidence, both signed as more/faster/higher; `baseline`,
    `current` and `effect` are in the signal's unit, the first two with 95 % intervals. Rates: 0..1 and their
    difference. Lag: days. Amounts: index (baseline 1) and relative change. Volume: lines a week and relative change.
    Mix: share of lines in another kind than before, and the relative change of what a line is worth; its evidence and
    shift have no sign. `effect_interval` is the mix's alone, whose effect follows from neither of the others, and None
    where the worth of a line is not known.
    """

    z: float
    shift: float
    baseline: float
    current: float
    effect: float
    n_baseline: int
    n_current: int
    baseline_interval: tuple[float, float]
    current_interval: tuple[float, float]
    effect_interval: tuple[float, float] | None = None

    @property
    def worth_sign(self) -> int | None:
        """Which way a mix moved the worth of a line; None where it may be either."""
        return sign_of_worth(self.effect_interval, self.n_current)


def compare(charts: Charts, change: Change, settings: DriftSettings, first: int | None = None) -> Comparison:
    """Compare the days from `first` (default: the change) on with the baseline days before the change."""
    chart, payer = charts.by_signal[change.signal], change.payer
    first = change.split if first is None else first
    before, since = _spans(chart, change, first, settings)
    if chart.mix is not None:
        return _compare_mix(charts.view, chart, chart.mix, payer, (before, since))
    series = _series_of(chart, change)
    if series.trend is not None:
        return _compare_volume(chart, series, payer, before, since)
    sums = _single(series, payer, before, since)
    scatter = float(chart.dispersion[payer])
    z = float(_evidence_of(chart, series, payer, sums)[0, 0])
    (o0, o1), (e0, e1) = ((float(a[0, 0]), float(b[0, 0])) for a, b in (sums.observed, sums.expected))
    n0, n1 = (round(float(part[0, 0])) for part in sums.lines)
    if change.signal == "allowed_amount":
        settled = slice(_settled_from(charts, change, since, settings), None)
        o1, e1 = (float(values[payer, settled].sum()) for values in (series.observed, series.expected))
        shift = (o1 / e1 if e1 > 0 else 0.0) - (o0 / e0 if e0 > 0 else 0.0)
        error0, error1 = (min(WIDTH * np.sqrt(scatter / max(part, 1e-9)), WIDEST) for part in (e0, e1))
        current = float(np.exp(shift))
        return Comparison(
            z, shift, 1.0, current, float(np.expm1(shift)), n0, n1, _around(1.0, error0), _around(current, error1)
        )  # fmt: skip
    # Half an event on either side keeps a period without any denial finite; it is no matter at 8 and more.
    shift = float(np.log((o1 + 0.5) / (e1 + 0.5)) - np.log((o0 + 0.5) / (e0 + 0.5)))
    error0, error1 = (WIDTH * np.sqrt(scatter / (part + 0.5)) for part in (o0, o1))
    if change.signal in RATE_SIGNALS:
        baseline = o0 / n0 if n0 else 0.0
        current = min(baseline * (o1 / e1) / (o0 / e0), 1.0) if o0 > 0 and e1 > 0 else (o1 / n1 if n1 else 0.0)
        intervals = [
            _share_around(share, error * np.sqrt(1 - share))
            for share, error in ((baseline, error0), (current, error1))
        ]
        return Comparison(z, shift, baseline, current, current - baseline, n0, n1, *intervals)
    view = charts.view
    table0 = life_table(charts, payer, change.by, (change.split - settings.baseline_days, change.split - 1))
    table1 = life_table(charts, payer, change.by, (first, view.horizon))
    curve0 = hazard_of(table0)
    # Ages nobody has reached yet are taken to be slower (or faster) by as much as the others, within limits.
    curve1 = hazard_of(
        table1, np.minimum(curve0 * np.clip(np.exp(shift), 1 / MOST_CARRIED, MOST_CARRIED), 1.0), CURVE_PRIOR
    )
    baseline, current = median_of(curve0), median_of(curve1)
    intervals = [
        (median_of(curve * np.exp(error)), median_of(curve * np.exp(-error)))
        for curve, error in ((curve0, error0), (curve1, error1))
    ]
    return Comparison(z, shift, baseline, current, current - baseline, n0, n1, *intervals)


def _settled_from(charts: Charts, change: Change, since: slice, settings: DriftSettings) -> int:
    """The column from which on nearly all lines decided were also sent since a change of prices; else the first.

    Where a price holds by the day of submission, what is decided in the weeks after the change was in part priced before
    it: counted with the rest, a fall by 7 % looks like one by 6.6 % after 75 days. Days that are settled show the same
    price by whichever day it holds.
    """
    view, series = charts.view, charts.by_signal["allowed_amount"].series[0]
    sent = _by_decision_day(view, change, charts.cube.decided[:, :, change.payer])
    decided = view.decided_on[change.payer]
    young = np.zeros(len(decided))
    young[len(decided) - len(sent) :] = sent[-len(decided) :]
    # From each day to the last.
    later, all_later, lines = (
        np.cumsum(values[::-1])[::-1] for values in (young, decided, series.lines[change.payer])
    )
    settled = (later >= SETTLED_SHARE * all_later) & (lines >= settings.minimum_baseline_lines)
    settled[: since.start] = False
    return int(settled.argmax()) if settled.any() else int(since.start)


def compare_counts(chart: Chart, change: Change, settings: DriftSettings) -> tuple[float, float]:
    """Events (denials, say) of the baseline and since the change, of the chart's payer."""
    before, since = _spans(chart, change, change.split, settings)
    row = _series_of(chart, change).observed[change.payer]
    return float(row[before].sum()), float(row[since].sum())


def _around(value: float, error: float) -> tuple[float, float]:
    return float(value * np.exp(-error)), float(value * np.exp(error))


def _share_around(share: float, error: float) -> tuple[float, float]:
    low, high = _around(share, error)
    return low, min(high, 1.0)


def _spans(chart: Chart, change: Change, first: int, settings: DriftSettings) -> tuple[slice, slice]:
    """The columns of the baseline (a trend: all before the change) and of the days from `first` on."""
    values = chart.mix.counts if chart.mix is not None else chart.series[0].observed
    days = values.shape[-1]
    origin = chart.last - days + 1
    cut, begin = max(change.split - origin, 0), max(first - origin, 0)
    return slice(0 if change.signal == "volume" else max(cut - settings.baseline_days, 0), cut), slice(begin, None)


def _compare_volume(chart: Chart, series: Series, payer: int, before: slice, since: slice) -> Comparison:
    """Lines a week against those that the days before the change, with their growth, let expect."""
    assert series.trend is not None
    plain, time = series.trend.plain[payer], series.trend.time
    lines = series.observed[payer]
    level, growth = fit_growth(lines[None, before], plain[None, before], time[before])
    # A level fitted to nothing is none.
    expected = plain * np.exp(level[0] + growth[0] * time) * bool(lines[before].any())
    n0, n1, awaited = float(lines[before].sum()), float(lines[since].sum()), float(expected[since].sum())
    # A week without holidays: the sum over the days of the week of what an ordinary one lets expect.
    lately = slice(max(since.start - 28, 0), None)
    usual = 0.0
    for weekday in range(7):
        ordinary = expected[lately][weekday::7][plain[lately][weekday::7] > 0]
        usual += float(ordinary.mean()) if len(ordinary) else 0.0
    sums = _single(series, payer, before, since)
    z = float(_evidence_of(chart, series, payer, sums)[0, 0])
    ratio = n1 / awaited if awaited > 0 else 1.0
    scatter = float(chart.dispersion[payer])
    ahead = _error_ahead(expected[before], time[before], expected[since], time[since])
    error0, error1 = (min(WIDTH * np.sqrt(scatter) * error, WIDEST) for error in (ahead, max(n1, 0.5) ** -0.5))
    shift = float(np.log((n1 + 0.5) / (awaited + 0.5)))
    return Comparison(
        z, shift, usual, usual * ratio, ratio - 1.0, round(n0), round(n1),
        _around(usual, error0), _around(usual * ratio, error1),
    )  # fmt: skip


def _error_ahead(known: Floats, time: Floats, ahead: Floats, time_ahead: Floats) -> float:
    """Standard error of what level and growth let expect, as a share of it: the further ahead, the larger."""
    s0, s1, s2 = float(known.sum()), float((known * time).sum()), float((known * time**2).sum()) + GROWTH_PRIOR
    determinant = s0 * s2 - s1**2
    if determinant <= 0 or ahead.sum() <= 0:
        return 1.0
    at = float((ahead * time_ahead).sum() / ahead.sum())
    return float(np.sqrt((s2 - 2 * at * s1 + at**2 * s0) / determinant))


def _compare_mix(view: View, chart: Chart, mix: Mix, payer: int, spans: tuple[slice, slice]) -> Comparison:
    counts = mix.counts[payer]
    x0, x1 = (counts[:, span].sum(axis=1) for span in spans)
    n0, n1 = float(x0.sum()), float(x1.sum())
    share0, share1 = x0 / max(n0, 1.0), x1 / max(n1, 1.0)
    z = mix_evidence(x0[None, :, None], x1[None, :, None], chart.dispersion[[payer]], chart.freedom[[payer]])[0, 0]
    pooled = (x0 + x1) / max(n0 + n1, 1.0)
    scatter = float(chart.dispersion[payer])
    error = np.sqrt(scatter * pooled * (1 - pooled) * (1 / max(n0, 1.0) + 1 / max(n1, 1.0)))
    # Chance alone moves shares by 0.8 standard errors on average: that much of the distance is none.
    by_chance = float(0.5 * np.sqrt(2 / np.pi) * error.sum())
    apart = max(float(0.5 * np.abs(share1 - share0).sum()) - by_chance, 0.0) if n1 > 0 else 0.0
    # Of half the sum of the shares' moves with the signs they have; what chance adds may be wholly wrong besides.
    way = np.sign(share1 - share0)
    moved = sum(
        scatter * (float(share @ way**2) - float(share @ way) ** 2) / max(lines, 1.0)
        for share, lines in ((share0, n0), (share1, n1))
    )
    error_of_distance = float(0.5 * WIDTH * np.sqrt(max(moved, 0.0))) + by_chance
    origin, days = chart.last - counts.shape[1] + 1, counts.shape[1]
    before, since = ((origin + (span.start or 0), origin + min(span.stop or days, days) - 1) for span in spans)
    worth = worth_of_mix(view, mix, payer, (before, since), scatter)
    return Comparison(
        z=float(z),
        shift=apart,
        baseline=0.0,
        current=apart,
        effect=0.0 if worth is None else worth.effect,
        n_baseline=round(n0),
        n_current=round(n1),
        baseline_interval=(0.0, 0.0),
        current_interval=(max(apart - error_of_distance, 0.0), min(apart + error_of_distance, 1.0)),
        effect_interval=None if worth is None else worth.interval(WIDTH),
    )


def change_interval(
    chart: Chart, change: Change, usual_days: Callable[[], int], settings: DriftSettings
) -> tuple[int, int]:
    """The days between which the change began, at 95 %: those whose likelihood is near that of the best.

    The likelihood is that of two levels, so that the interval is one of the change day alone. `usual_days` tells how long
    the payer's decisions usually take, where it is asked: a change that holds by the other day of a line lies so far off.
    """
    lengths = np.arange(settings.shortest_change_days, settings.change_days + 1)
    z = chart.by_length(change.payer, change.sign, list(chart.by).index(change.by), lengths, settings)
    best = float(z.max())
    first = last = change.split
    if np.isfinite(best) and best > 0:
        likely = chart.last - lengths[(z > 0) & (z**2 >= best**2 - NEAR)] + 1
        first, last = min(int(likely.min()), change.split), max(int(likely.max()), change.split)
    # Nothing younger than the youngest candidate is tried: where that is the best, the change may be younger still.
    if change.split >= chart.last - settings.shortest_change_days + 1:
        last = chart.last
    # A price is seen on the day of the decision, and may have changed with what was submitted before it.
    if change.signal == "allowed_amount":
        first -= usual_days()
    # A rate that changed for what is decided from a day on changes for what was submitted up to a decision time before.
    # Of 34 such changes found by submission, the interval by submission alone held 20.
    if change.signal in RATE_SIGNALS and change.by == BY_SUBMISSION:
        last += usual_days()
    return first, last


def _series_of(chart: Chart, change: Change) -> Series:
    return next(item for item in chart.series if item.by == change.by)


def _single(series: Series, payer: int, before: slice, since: slice) -> Windows:
    def sums(values: Floats) -> tuple[Floats, Floats]:
        row = values[:, payer]
        return row[:, before].sum(axis=1)[:, None, None], row[:, since].sum(axis=1)[:, None, None]

    return sums_of(series, np.array([0]), sums)


def _evidence_of(chart: Chart, series: Series, payer: int, sums: Windows) -> Floats:
    return evidence(series, sums, chart.dispersion[payer : payer + 1], chart.freedom[payer : payer + 1])


def is_material(signal: Signal, comparison: Comparison, sign: int, settings: DriftSettings) -> bool:
    """Whether the effect goes the way of the evidence and is large enough to matter."""
    effect = comparison.effect
    if signal == "decision_lag":
        return -sign * effect >= settings.minimum_lag_days
    if signal == "allowed_amount":
        return sign * effect >= settings.minimum_price_change
    if signal == "volume":
        return sign * effect >= settings.minimum_volume_change
    if signal == "procedure_mix":
        return comparison.current >= settings.minimum_mix_change
    return rate_is_material(signal, comparison.baseline, effect, sign, settings)


def rate_is_material(signal: Signal, baseline: float, effect: float, sign: int, settings: DriftSettings) -> bool:
    """The same for a rate and its difference from the baseline.

    A fifth of a rate matters where the rate itself does: that of all denials, not the few for authorisation.
    """
    if sign * effect <= 0:
        return False
    if signal == "authorization_denials":
        return abs(effect) >= settings.minimum_authorization_points
    return abs(effect) >= settings.minimum_rate_points or abs(effect) >= settings.minimum_rate_relative * baseline


def holds_without_striking_days(charts: Charts, change: Change, needed: float, settings: DriftSettings) -> bool:
    """Whether the evidence stays without any `STRIKING_DAYS` in a row: a holiday or a lost file is no lasting change.

    For the lag it is days of decisions that are left out, whatever the days are: a lost file of decisions makes
    all lines submitted in the weeks before it look slow.
    """
    chart, payer, most = charts.by_signal[change.signal], change.payer, STRIKING_DAYS[change.signal]
    before, since = _spans(chart, change, change.split, settings)
    if chart.mix is not None:
        counts = chart.mix.counts[payer]
        now = counts[:, since]
        left = now.sum(axis=1, keepdims=True) - np.apply_along_axis(np.convolve, 1, now, np.ones(most))
        then = np.broadcast_to(counts[:, before].sum(axis=1, keepdims=True), left.shape)
        z = mix_evidence(then[None], left[None], chart.dispersion[[payer]], chart.freedom[[payer]])
        return bool(z.min() >= needed)
    own = _series_of(chart, change).of(payer)
    now = own
    if change.signal == "decision_lag" and change.by == BY_SUBMISSION:
        cube = charts.cube
        decided, expected = own.observed.copy(), own.expected.copy()
        decided[0, since] = _by_decision_day(charts.view, change, cube.decided[:, :, payer])
        expected[0, since] = _by_decision_day(charts.view, change, cube.expected(payer))
        now = replace(own, observed=decided, expected=expected)
    width = now.observed[0, since].shape[0]
    stretches = width + most - 1

    def sums(values: Floats) -> tuple[Floats, Floats]:
        total = np.zeros((*values.shape[:2], width + 2 * most - 1))
        total[..., most : most + width] = np.cumsum(values[..., since], axis=2)
        total[..., most + width :] = total[..., most + width - 1, None]
        left_out = total[..., most : most + stretches] - total[..., :stretches]
        then = np.broadcast_to(values[..., before].sum(axis=2)[..., None], left_out.shape)
        return then, total[..., -1:] - left_out

    parts = sums_of(now, np.arange(stretches), sums)
    return bool((change.sign * _evidence_of(chart, now, payer, parts)).min() >= needed)


def _by_decision_day(view: View, change: Change, cells: Floats | Floats32) -> Floats:
    """Sums of a payer's cells over the lines submitted since the change, by day of decision since then."""
    picked = cells[:, max(change.split - view.start, 0) :]
    day = np.arange(picked.shape[0])[:, None] + np.arange(picked.shape[1])[None, :]
    # Cells past the horizon are empty: their days are not over.
    return np.bincount(day.ravel(), picked.ravel())[: picked.shape[1]].astype(np.float64)


def completeness(view: View, payer: int, first: int, signal: Signal) -> float:
    """How complete a figure of the days from `first` on is, 0..1; nan where nothing was submitted.

    A denial rate waits for decisions: the share of the lines submitted since then that is decided. Lag and
    prices are counted on the day of the decision, open lines included, volume and mix on that of the submission,
    so that nothing of them is still to come.
    """
    since = slice(max(first - view.start, 0), None)
    total = view.total[payer, since].sum()
    if total <= 0:
        return float("nan")
    if signal not in RATE_SIGNALS:
        return 1.0
    return float(view.decided[:, since, payer].sum() / total)
