"""Why a payer's chart says nothing yet, when it will, and what it could see: "not enough data" as a result.

Not here: the comparisons themselves (measures.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from upstream_pipelines.drift.charts import Charts
from upstream_pipelines.drift.factors import BY_DECISION
from upstream_pipelines.drift.facts import WATCHED_PAYERS
from upstream_pipelines.drift.life_table import hazard_of, life_table, median_of
from upstream_pipelines.drift.settings import RATE_SIGNALS, DriftSettings, Signal

PACE_DAYS = 60  # the stretch whose pace of decisions says by when enough lines are there
GUESSED_DENIAL_RATE = 0.1  # where a payer has not denied anything yet


@dataclass(frozen=True)
class Shortage:
    """`lines_needed` more decided lines, at today's pace by `about_day` (days since 1970; None: no decisions come).

    `smallest_detectable` is the smallest change the chart would show once they are there, in the signal's unit. Where
    the lines are there and none of them was denied (for authorization), the reason is `no_such_denials`, and no
    number of lines would do: 0 are needed, and the other two are None.
    """

    n_baseline: int
    n_current: int
    lines_needed: int
    about_day: int | None
    smallest_detectable: float | None
    reason: Literal["too_few_lines", "open_lines_not_in_source", "no_such_denials"]


def shortage_of(charts: Charts, signal: Signal, payer: int, needed: float, settings: DriftSettings) -> Shortage:
    """What the chart of one payer lacks; `needed` is the evidence an event takes."""
    chart, view = charts.by_signal[signal], charts.view
    if chart.mix is not None:
        lines = counted = chart.mix.counts[payer].sum(axis=0)
    else:
        lines, counted = chart.series[0].lines[payer], chart.series[0].observed[payer]
    recent = settings.recent_days
    n0 = float(lines[-(settings.baseline_days + recent) : -recent].sum())
    n1 = float(lines[-recent:].sum())
    total, seen = n0 + n1, float(counted[-(settings.baseline_days + recent) :].sum())
    wanted = settings.minimum_baseline_lines + settings.minimum_current_lines
    if signal in RATE_SIGNALS:
        rate = seen / total if seen > 0 else GUESSED_DENIAL_RATE
        wanted = max(wanted, int(np.ceil(settings.minimum_counted / rate)))
    lacking = max(int(np.ceil(wanted - total)), int(np.ceil(settings.minimum_current_lines - n1)))
    if signal in RATE_SIGNALS and not seen and lacking <= 0:
        return Shortage(int(n0), int(n1), 0, None, None, "no_such_denials")
    lacking = max(lacking, 1)
    pace = float(lines[-PACE_DAYS:].sum()) / PACE_DAYS
    open_missing = signal == "decision_lag" and not view.sees_open
    return Shortage(
        n_baseline=int(n0),
        n_current=int(n1),
        lines_needed=lacking,
        about_day=None if pace <= 0 or open_missing else view.as_of + int(np.ceil(lacking / pace)),
        smallest_detectable=_smallest(charts, signal, payer, needed, settings),
        reason="open_lines_not_in_source" if open_missing else "too_few_lines",
    )


def _smallest(charts: Charts, signal: Signal, payer: int, needed: float, settings: DriftSettings) -> float | None:
    chart = charts.by_signal[signal]
    n0, n1 = settings.minimum_baseline_lines, settings.minimum_current_lines
    error = needed * float(np.sqrt(chart.dispersion[payer] * (1 / n0 + 1 / n1)))
    if chart.mix is not None:
        return None  # a mix has as many ways to change as it has codes
    series = chart.series[0]
    lines, information = float(series.lines[payer].sum()), float(series.expected[payer].sum())
    if signal == "volume":
        return round(min(error, 1.0), 4)
    if signal in RATE_SIGNALS:
        share = float(series.observed[payer].sum()) / lines if lines > 0 else 0.0
        share = share or GUESSED_DENIAL_RATE
        return round(min(error * float(np.sqrt(share * (1 - share))), 1.0), 4)
    if lines <= 0 or information <= 0:
        return None
    if signal == "allowed_amount":
        return round(float(np.expm1(error / np.sqrt(information / lines))), 4)
    hazard = hazard_of(life_table(charts, payer, BY_DECISION, (charts.view.start, charts.view.horizon)))
    return round(median_of(hazard * float(np.exp(-error))) - median_of(hazard), 1)


def unwatched_text(unwatched: int) -> str:
    """What is said where there are more payers than are looked at; "" where there are not."""
    if not unwatched:
        return ""
    payers = "1 payer is" if unwatched == 1 else f"{unwatched:,} payers are"
    return (
        f"{payers} not looked at: at most {WATCHED_PAYERS} are, those that were sent first. Look whether a file had claim "
        "numbers or plans for payers, and give spellings of one payer an alias (payer_aliases)."
    )
