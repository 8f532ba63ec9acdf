"""All charts of one look: for each payer and signal, the strongest evidence for a change and when it began.

Belongs here: putting the factors through the scan. Not here: events and their life (detector.py), what a change
amounts to (measures.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, reduce
from math import fsum

import numpy as np

from upstream_pipelines.drift.arrays import ratio
from upstream_pipelines.drift.counts import View
from upstream_pipelines.drift.factors import (
    BY_SUBMISSION,
    DENIALS,
    Cube,
    Exclusion,
    cube_of,
    denial_series,
    lag_series,
)
from upstream_pipelines.drift.facts import Bools, Floats, Ints
from upstream_pipelines.drift.prices import price_series
from upstream_pipelines.drift.scan import Around, By, Series, Windows, dispersion, evidence, running_sums, windows
from upstream_pipelines.drift.settings import SIGNALS, DriftSettings, Signal
from upstream_pipelines.drift.submissions import Mix, mix_evidence, mix_of, mix_windows, volume_series

POOL_WEIGHT = 15.0  # weeks' worth of the customer's usual over-dispersion given to each payer
FEWEST_BASELINE_COUNTED = 3.0
TREND_DAYS = 56  # days a volume must be known before a change of it can be told from its growth
CANDIDATES_APART = 14  # candidates longer than twice as many days stand a 14th of their length apart
LINES_A_KIND = 5.0  # lines a kind of code needs since the change, on average


@dataclass(frozen=True)
class Chart:
    """One signal of all payers.

    `by`, `z` and `valid` have an entry a scan: by decision day and (but for prices) by submission day; payers by
    candidate changes, candidate j being `lengths[j]` days long and ending at `last`. `series` are the scans' day sums,
    none for the procedure mix, which has `mix`. `dispersion` and `freedom` are per payer.
    """

    signal: Signal
    last: int
    lengths: Ints
    by: Sequence[By]
    z: Sequence[Floats]
    valid: Sequence[Bools]
    dispersion: Floats
    freedom: Floats
    series: Sequence[Series] = ()
    mix: Mix | None = None

    @cached_property
    def _strongest(self) -> dict[int, tuple[Floats, Ints, Ints]]:
        valid, z = (
            parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1) for parts in (self.valid, self.z)
        )
        payer, width = np.arange(len(z)), len(self.lengths)
        found = {}
        for sign in (1, -1):
            held = np.where(valid, z, -sign * np.inf)
            best = held.argmax(axis=1) if sign > 0 else held.argmin(axis=1)
            scan, candidate = np.divmod(best, width)
            found[sign] = (sign * held[payer, best], scan, candidate)
        return found

    @cached_property
    def testable(self) -> Bools:
        """Payers for which any comparison could be made. Not to be written into."""
        return reduce(np.logical_or, [np.asarray(valid.any(axis=1), dtype=np.bool_) for valid in self.valid])

    def strongest(self, sign: int) -> tuple[Floats, Ints, Ints]:
        """Per payer the largest evidence in the direction of `sign`, its scan and its candidate; -inf if none."""
        return self._strongest[sign]

    def sharpened(
        self, payer: int, sign: int, found: tuple[float, int, int], settings: DriftSettings
    ) -> tuple[float, int]:
        """The strongest evidence of all days around a candidate (`found`, as `strongest` gives it) and that day's length.

        Days that may not be compared count as little as candidates that may not.
        """
        best, at, column = found
        length = int(self.lengths[column])
        near = self.lengths[max(column - 1, 0) : column + 2]
        between = np.setdiff1d(np.arange(near[0], near[-1] + 1), near)
        if not len(between):
            return best, length
        signed = self.by_length(payer, sign, at, between, settings)
        if signed.max() <= best:
            return best, length
        return float(signed.max()), int(between[signed.argmax()])

    def by_length(self, payer: int, sign: int, at: int, lengths: Ints, settings: DriftSettings) -> Floats:
        """One payer's evidence in the direction of `sign` in scan `at`, for changes of any lengths; -inf where none may be."""
        scatter, freedom = self.dispersion[[payer]], self.freedom[[payer]]
        if self.mix is not None:
            z, valid = _scan_mix(self.mix.of(payer), lengths, scatter, freedom, settings)
        else:
            own = self.series[at].of(payer)
            sums = windows(Around.of(running_sums([own]), lengths, settings.baseline_days), [own])
            z, valid = evidence(own, sums, scatter, freedom), _valid(own, sums, settings)
        signed: Floats = np.where(valid[0], sign * z[0], -np.inf)
        return signed


@dataclass(frozen=True)
class Charts:
    """The charts of one look, with what they were made from."""

    view: View
    cube: Cube
    by_signal: Mapping[Signal, Chart]

    @cached_property
    def testable(self) -> Mapping[Signal, Bools]:
        """By signal the payers that can be judged: without open lines nobody's lag can."""
        found = {signal: chart.testable for signal, chart in self.by_signal.items()}
        if not self.view.sees_open:
            found["decision_lag"] = np.zeros_like(found["decision_lag"])
        return found


def charts_of(view: View, excluded: Sequence[Exclusion], settings: DriftSettings) -> Charts:
    """Compute every chart; `excluded` stretches belong to no baseline."""

    def of(signal: Signal) -> list[Exclusion]:
        return [item for item in excluded if item.signal == signal]

    cube = cube_of(view, of("decision_lag"), settings.holiday_country)
    series: dict[Signal, Sequence[Series]] = {
        "decision_lag": lag_series(view, cube),
        "allowed_amount": (price_series(view, of("allowed_amount")),),
        "volume": (volume_series(view, of("volume"), settings.holiday_country),),
        **denial_series(view, {signal: of(signal) for signal in DENIALS}),
    }
    charts = _charts(view, series, settings)
    charts["procedure_mix"] = _mix_chart(view, mix_of(view, of("procedure_mix")), settings)
    return Charts(view=view, cube=cube, by_signal={signal: charts[signal] for signal in SIGNALS})


def last_day(view: View, signal: Signal) -> int:
    """The last day a signal is judged up to: submissions may be complete up to another day than decisions."""
    return view.submitted_to if signal in ("volume", "procedure_mix") else view.horizon


@lru_cache(maxsize=64)
def _lengths(shortest: int, longest: int, apart: int) -> Ints:
    """Candidate changes, by days since: every day of the last four weeks, then one a fourteenth longer than the other.

    A change between two of them is off by a 28th of its days at most: of the evidence near a threshold 3 % of small payers
    lose more than 0.1. What comes near an event is looked at day by day around the best candidate (`Chart.sharpened`).
    50 candidates cost half of what 118 do.
    """
    lengths = [shortest]
    while lengths[-1] < longest:
        lengths.append(lengths[-1] + max(1, lengths[-1] // apart))
    return np.minimum(lengths, longest).astype(np.int64)


SCANNED_TOGETHER: Sequence[Sequence[Signal]] = (
    ("denial_rate", "authorization_denials"),
    ("decision_lag",),
    ("allowed_amount",),
    ("volume",),
)
"""Signals whose series scatter in the same way: with 20 payers the number of array operations costs more than their size."""


def _charts(view: View, series: Mapping[Signal, Sequence[Series]], settings: DriftSettings) -> dict[Signal, Chart]:
    lengths, payers = (
        _lengths(settings.shortest_change_days, settings.change_days, CANDIDATES_APART),
        len(view.facts.payers),
    )
    every = [item for items in series.values() for item in items]
    sums = running_sums(every)
    own = dict(zip(map(id, every), dispersion(sums, every), strict=True))
    around, charts = Around.of(sums, lengths, settings.baseline_days), {}
    for signals in SCANNED_TOGETHER:
        scans = [(signal, item) for signal in signals for item in series[signal]]
        scatter = {signal: pooled_dispersion([own[id(item)] for item in series[signal]]) for signal in signals}
        compared = windows(around, [item for _, item in scans])
        scale, freedom = (np.concatenate([scatter[signal][part] for signal, _ in scans]) for part in (0, 1))
        z, valid = evidence(scans[0][1], compared, scale, freedom), _valid(scans[0][1], compared, settings)
        for signal in signals:
            rows = [slice(at * payers, (at + 1) * payers) for at, (name, _) in enumerate(scans) if name == signal]
            charts[signal] = Chart(
                signal=signal,
                last=last_day(view, signal),
                lengths=lengths,
                by=[item.by for item in series[signal]],
                z=[z[part] for part in rows],
                valid=[valid[part] for part in rows],
                dispersion=scatter[signal][0],
                freedom=scatter[signal][1],
                series=series[signal],
            )
    return charts


def _mix_chart(view: View, mix: Mix, settings: DriftSettings) -> Chart:
    lengths = _lengths(settings.shortest_change_days, settings.change_days, CANDIDATES_APART)
    scatter, freedom = pooled_dispersion([(mix.dispersion, mix.freedom)])
    z, valid = _scan_mix(mix, lengths, scatter, freedom, settings)
    return Chart(
        signal="procedure_mix",
        last=last_day(view, "procedure_mix"),
        lengths=lengths,
        by=[BY_SUBMISSION],
        z=[z],
        valid=[valid],
        dispersion=scatter,
        freedom=freedom,
        mix=mix,
    )


def _scan_mix(
    mix: Mix, lengths: Ints, scatter: Floats, freedom: Floats, settings: DriftSettings
) -> tuple[Floats, Bools]:
    """The evidence for a changed mix, payers by candidates, and which of them may be compared.

    It has no sign: which way the worth of a line goes is no part of the test (mix_worth.py).
    """
    before, since = mix_windows(mix, lengths, settings.baseline_days)
    n0, n1 = before.sum(axis=1), since.sum(axis=1)
    least = np.maximum(settings.minimum_current_lines, LINES_A_KIND * mix.kinds)[:, None]
    z = mix_evidence(before, since, scatter, freedom)
    enough = (n0 >= np.maximum(settings.minimum_baseline_lines, least)) & (n1 >= least)
    return z, enough & (mix.kinds > 1)[:, None]


def pooled_dispersion(own: Sequence[tuple[Floats, Floats]]) -> tuple[Floats, Floats]:
    """Over-dispersion per payer and its degrees of freedom, drawn towards the customer's usual."""
    scatter, freedom = (reduce(np.maximum, values) for values in zip(*own, strict=True))
    # An exact sum: payers that came later stand between the others and count for nothing, not even a last digit.
    known = fsum(freedom)
    usual = fsum(scatter * freedom) / known if known > 0 else 1.0
    shrunk = (freedom * scatter + POOL_WEIGHT * usual) / (freedom + POOL_WEIGHT)
    return np.maximum(shrunk, 1.0), freedom + POOL_WEIGHT


def _valid(series: Series, sums: Windows, settings: DriftSettings) -> Bools:
    (n0, n1), (e0, e1), (o0, o1) = sums.lines, sums.expected, sums.observed
    baseline, current = settings.minimum_baseline_lines, settings.minimum_current_lines
    if series.kind == "trend":
        begun = (series.expected > 0).argmax(axis=1)[:, None]
        known_for = series.expected.shape[1] - sums.length[None, :] - begun
        enough: Bools = (n0 >= baseline) & (e1 >= current) & (known_for >= TREND_DAYS)
        return enough
    if series.trials is None and series.kind == "counts":
        # Decisions: none of many that were due is the strongest evidence there is.
        return (n0 >= baseline) & (np.maximum(n1, e1) >= settings.minimum_counted) & (e0 > 0) & (e1 >= 1.0)
    valid = (n0 >= baseline) & (n1 >= current)
    if series.kind == "normal":
        return valid & (e0 > 0) & (e1 > 0)
    scale = ratio(o0 + o1, e0 + e1)
    return (
        valid
        & (o0 + o1 >= settings.minimum_counted)
        & (e0 * scale >= FEWEST_BASELINE_COUNTED)
        & (e1 * scale >= 1.0)
    )
