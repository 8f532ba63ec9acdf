"""All charts of one look: for each payer and signal, the strongest evidence for a change and when it began.

Belongs here: putting the factors through the scan, the thresholds. Not here: events and their life (detector.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from upstream_pipelines.drift.factors import Cube, Exclusion, cube_of, denial_series, lag_series, price_series
from upstream_pipelines.drift.facts import Bools, Facts, Floats, Ints, View
from upstream_pipelines.drift.scan import Series, Windows, dispersion, evidence, windows
from upstream_pipelines.drift.settings import SIGNALS, DriftSettings, Signal

POOL_WEIGHT = 15.0  # weeks' worth of the customer's usual over-dispersion given to each payer
FEWEST_BASELINE_COUNTED = 3.0


@dataclass(frozen=True)
class Chart:
    """One signal of all payers.

    `series` by decision day and (but for prices) by submission day; `sums`, `z` and `valid` match it, payers by
    candidate change lengths. `dispersion` and `freedom` are per payer.
    """

    signal: Signal
    series: Sequence[Series]
    sums: Sequence[Windows]
    z: Sequence[Floats]
    valid: Sequence[Bools]
    dispersion: Floats
    freedom: Floats

    def testable(self) -> Bools:
        """Payers for which any comparison could be made."""
        return np.asarray(np.any([valid.any(axis=1) for valid in self.valid], axis=0), dtype=np.bool_)

    def strongest(self, sign: int) -> tuple[Floats, Ints, Ints]:
        """Per payer the largest evidence in the direction of `sign`, its series and its candidate; -inf if none."""
        stacked = np.stack(
            [np.where(v, sign * z, -np.inf) for z, v in zip(self.z, self.valid, strict=True)], axis=1
        )
        flat = stacked.reshape(stacked.shape[0], stacked.shape[1] * stacked.shape[2])
        best = flat.argmax(axis=1)
        width = stacked.shape[2]
        return flat[np.arange(len(flat)), best], (best // width).astype(np.int64), (best % width).astype(np.int64)


@dataclass(frozen=True)
class Charts:
    """The charts of one look, with what they were made from."""

    view: View
    cube: Cube
    by_signal: Mapping[Signal, Chart]


def charts_of(facts: Facts, view: View, excluded: Sequence[Exclusion], settings: DriftSettings) -> Charts:
    """Compute every chart; `excluded` stretches belong to no baseline."""
    payers = len(facts.payers)

    def of(signal: Signal) -> list[Exclusion]:
        return [item for item in excluded if item.signal == signal]

    cube = cube_of(view, payers, of("decision_lag"))
    series: dict[Signal, Sequence[Series]] = {
        "denial_rate": denial_series(view, facts, of("denial_rate")),
        "decision_lag": lag_series(view, cube),
        "allowed_amount": (price_series(view, facts, of("allowed_amount")),),
    }
    charts = {signal: _chart(signal, series[signal], settings) for signal in SIGNALS}
    return Charts(view=view, cube=cube, by_signal=charts)


def _chart(signal: Signal, series: Sequence[Series], settings: DriftSettings) -> Chart:
    lengths = np.arange(settings.shortest_change_days, settings.change_days + 1)
    scatter, freedom = pooled_dispersion(series)
    sums = [windows(item, lengths, settings.baseline_days) for item in series]
    return Chart(
        signal=signal,
        series=series,
        sums=sums,
        z=[evidence(item, part, scatter, freedom) for item, part in zip(series, sums, strict=True)],
        valid=[_valid(item, part, settings) for item, part in zip(series, sums, strict=True)],
        dispersion=scatter,
        freedom=freedom,
    )


def pooled_dispersion(series: Sequence[Series]) -> tuple[Floats, Floats]:
    """Over-dispersion per payer and its degrees of freedom, drawn towards the customer's usual."""
    own = [dispersion(item) for item in series]
    scatter = np.max([values for values, _ in own], axis=0)
    freedom = np.max([values for _, values in own], axis=0)
    usual = float(np.average(scatter, weights=freedom)) if freedom.sum() > 0 else 1.0
    shrunk = (freedom * scatter + POOL_WEIGHT * usual) / (freedom + POOL_WEIGHT)
    return np.maximum(shrunk, 1.0), freedom + POOL_WEIGHT


def _valid(series: Series, sums: Windows, settings: DriftSettings) -> Bools:
    (n0, n1), (e0, e1), (o0, o1) = sums.lines, sums.expected, sums.observed
    valid = (n0 >= settings.minimum_baseline_lines) & (n1 >= settings.minimum_current_lines)
    if series.gaussian:
        return valid & (e0 > 0) & (e1 > 0)
    scale = np.divide(o0 + o1, e0 + e1, out=np.zeros_like(e0), where=e0 + e1 > 0)
    return (
        valid
        & (o0 + o1 >= settings.minimum_counted)
        & (e0 * scale >= FEWEST_BASELINE_COUNTED)
        & (e1 * scale >= 1.0)
    )
