"""Figures for tables and charts: each payer's current period against its baseline, with intervals, at equal maturity.

Belongs here: what people see whether or not anything changed. Not here: evidence, events (detector.py), drawing
(chart.py).

Denial rate: the current block is the lines submitted in the last 14 days (28, 56, 84 where that is too few), of which
only a part is decided; each baseline block is cut at the same age, so that it counts only what was decided by its
own end. Decision time: Kaplan-Meier median, and days until nine in ten are decided, open lines censored. Allowed amount:
index against the code's baseline. Volume: lines a week against those that calendar and growth let expect. Mix: share of lines in other codes than before.
Intervals are 95 % and widened by the payer's over-dispersion.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from upstream_pipelines.drift.charts import Charts
from upstream_pipelines.drift.counts import View
from upstream_pipelines.drift.factors import BY_DECISION, BY_SUBMISSION
from upstream_pipelines.drift.facts import UNDECIDED
from upstream_pipelines.drift.life_table import days_until, hazard_of, life_table, median_of
from upstream_pipelines.drift.measures import WIDTH, Change, compare
from upstream_pipelines.drift.settings import RATE_SIGNALS, SIGNALS, DriftSettings, Signal
from upstream_pipelines.drift.units import percent

if TYPE_CHECKING:
    from upstream_pipelines.drift.detector import Detector

NAN = float("nan")
LATE_SHARE = 0.9


@dataclass(frozen=True)
class Figure:
    """One payer and signal. Rates and mix are 0..1, decision times days, prices an index with the baseline at 1,
    volumes lines a week.

    Values are nan where `status` says why. `maturity` is the share decided of the lines submitted in the block, nan
    where there are none. A rate waits for it; of the other signals nothing is still to come, and it says only how much
    of the block's work has been answered.
    """

    payer: str
    signal: str
    baseline: float
    baseline_low: float
    baseline_high: float
    current: float
    current_low: float
    current_high: float
    n_baseline: int
    n_current: int
    maturity: float
    status: str


def figures_of(detector: Detector, charts: Charts) -> pd.DataFrame:
    """A row per payer with lines and signal, as `Figure`, from the charts of a look."""
    payers = np.flatnonzero(charts.view.present)
    rows = [
        asdict(_figure(charts, int(payer), detector.facts.payers[payer], signal, detector.settings))
        for payer in payers
        for signal in SIGNALS
    ]
    return pd.DataFrame(rows, columns=list(Figure.__dataclass_fields__))


def _figure(charts: Charts, payer: int, name: str, signal: Signal, settings: DriftSettings) -> Figure:
    if signal == "decision_lag" and not charts.view.sees_open:
        return _empty(name, signal, NAN, "not enough data: the source shows no open claims")
    view, maturity = charts.view, NAN
    for days in settings.block_days:
        first = int(view.ends[payer]) - days + 1
        maturity = _decided_share(view, payer, first)
        baseline, current, (n0, n1) = _MEASURED[signal](charts, payer, days, settings)
        immature = signal in RATE_SIGNALS and not maturity >= settings.maturity_floor
        if n1 < settings.minimum_current_lines or n0 < settings.minimum_baseline_lines or immature:
            continue
        decided = f"{percent(maturity, 0)} of the lines sent in them are decided"
        word = decided if signal in RATE_SIGNALS else "counted as they come"
        if signal == "decision_lag":
            word = f"{word}; {_late(charts, payer, days, settings)}"
        return Figure(name, signal, *baseline, *current, n0, n1, maturity, f"last {days} days, {word}")
    return _empty(name, signal, maturity, f"not enough data in {settings.block_days[-1]} days")


def _decided_share(view: View, payer: int, first: int) -> float:
    """Share decided of the lines submitted from `first` on; nan where there are none."""
    since = slice(max(first - view.start, 0), None)
    total = view.total[payer, since].sum()
    return float(view.decided[:, since, payer].sum() / total) if total > 0 else NAN


def _empty(name: str, signal: str, maturity: float, status: str) -> Figure:
    return Figure(name, signal, NAN, NAN, NAN, NAN, NAN, NAN, 0, 0, maturity, status)


Measured = tuple[tuple[float, float, float], tuple[float, float, float], tuple[int, int]]


def _denials(
    charts: Charts, payer: int, days: int, settings: DriftSettings, signal: Signal = "denial_rate"
) -> Measured:
    view, scatter = charts.view, float(charts.by_signal[signal].dispersion[payer])
    lines = view.rows(payer)
    block = (int(view.ends[payer]) - lines.submitted) // days  # 0: the current block, 1 the one before, ...
    blocks = max(settings.baseline_days // days, 1)
    closes = int(view.ends[payer]) - block * days
    rows = (lines.age != UNDECIDED) & (lines.submitted + lines.age <= closes)
    current, baseline = rows & (block == 0), rows & (block >= 1) & (block <= blocks)
    denied = lines.denied if signal == "denial_rate" else lines.denied_authorization
    counts = [(float(denied[part].sum()), float(lines.lines[part].sum())) for part in (baseline, current)]
    (x0, n0), (x1, n1) = counts
    return wilson(x0, n0, scatter), wilson(x1, n1, scatter), (round(n0), round(n1))


def wilson(denied: float, lines: float, dispersion: float) -> tuple[float, float, float]:
    """A share and its 95 % Wilson interval, `lines` counting as lines / dispersion."""
    if lines <= 0:
        return NAN, NAN, NAN
    share, n = denied / lines, lines / dispersion
    middle = (share + WIDTH**2 / (2 * n)) / (1 + WIDTH**2 / n)
    half = WIDTH * np.sqrt(share * (1 - share) / n + WIDTH**2 / (4 * n**2)) / (1 + WIDTH**2 / n)
    return share, max(float(middle - half), 0.0), min(float(middle + half), 1.0)


def _lags(charts: Charts, payer: int, days: int, settings: DriftSettings) -> Measured:
    scatter, end = float(charts.by_signal["decision_lag"].dispersion[payer]), int(charts.view.ends[payer])
    values, counts = [], []
    for span in _lag_spans(end, days, settings):
        table = life_table(charts, payer, BY_DECISION, span)
        decided = float(table[0].sum())
        hazard = hazard_of(table)
        # The median moves inversely with the hazard, whose logarithm has the error of the decisions counted.
        error = WIDTH * float(np.sqrt(scatter / max(decided, 1.0)))
        values.append((median_of(hazard), median_of(hazard * np.exp(error)), median_of(hazard * np.exp(-error))))
        counts.append(round(decided))
    return values[0], values[1], (counts[0], counts[1])


def _lag_spans(end: int, days: int, settings: DriftSettings) -> tuple[tuple[int, int], tuple[int, int]]:
    """The first and the last day of decision, of the baseline and of the current block that ends on `end`."""
    return (end - days - settings.baseline_days + 1, end - days), (end - days + 1, end)


def _late(charts: Charts, payer: int, days: int, settings: DriftSettings) -> str:
    """In how many days nine in ten lines are decided: the late ones, of which the median knows nothing."""
    before, now = (
        days_until(hazard_of(life_table(charts, payer, BY_DECISION, span)), LATE_SHARE)
        for span in _lag_spans(int(charts.view.ends[payer]), days, settings)
    )
    longest = f"over {charts.view.ages}"  # older open lines are not looked at
    return (
        f"{percent(LATE_SHARE, 0)} are decided within {longest if now is None else f'{now:.0f}'} days, "
        f"{longest if before is None else f'{before:.0f}'} before"
    )


def _prices(charts: Charts, payer: int, days: int, settings: DriftSettings) -> Measured:
    chart = charts.by_signal["allowed_amount"]
    series, scatter = chart.series[0], float(chart.dispersion[payer])
    last = charts.view.days - (charts.view.horizon - int(charts.view.ends[payer]))
    begins = max(last - days, 0)
    spans = slice(max(begins - settings.baseline_days, 0), begins), slice(begins, last)
    score, information, lines = (
        [float(values[payer, span].sum()) for span in spans]
        for values in (series.observed, series.expected, series.lines)
    )
    counts = round(lines[0]), round(lines[1])
    if min(information) <= 0:
        return (NAN, NAN, NAN), (NAN, NAN, NAN), counts
    shift = score[1] / information[1] - score[0] / information[0]
    errors = [WIDTH * float(np.sqrt(scatter / part)) for part in information]
    baseline, current = (
        (float(np.exp(level)), float(np.exp(level - error)), float(np.exp(level + error)))
        for level, error in zip((0.0, shift), errors, strict=True)
    )
    return baseline, current, counts


def _authorization(charts: Charts, payer: int, days: int, settings: DriftSettings) -> Measured:
    return _denials(charts, payer, days, settings, "authorization_denials")


def _submitted(signal: Signal) -> Callable[[Charts, int, int, DriftSettings], Measured]:
    """Volume and mix: the last days compared as if they were a change."""

    def measured(charts: Charts, payer: int, days: int, settings: DriftSettings) -> Measured:
        chart, silent = charts.by_signal[signal], int(charts.view.ends[payer])
        last = min(chart.last, silent) if silent < charts.view.horizon else chart.last
        found = compare(charts, Change(signal, payer, BY_SUBMISSION, last - days + 1, 1), settings)
        return (
            (found.baseline, *found.baseline_interval),
            (found.current, *found.current_interval),
            (found.n_baseline, found.n_current),
        )

    return measured


_MEASURED: dict[Signal, Callable[[Charts, int, int, DriftSettings], Measured]] = {
    "denial_rate": _denials,
    "decision_lag": _lags,
    "allowed_amount": _prices,
    "volume": _submitted("volume"),
    "procedure_mix": _submitted("procedure_mix"),
    "authorization_denials": _authorization,
}
