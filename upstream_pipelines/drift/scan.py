"""The evidence for a change: a likelihood-ratio CUSUM over days, for all payers and change days at once.

Belongs here: the statistic, its dispersion, its null distribution and threshold. Not here: which factor it is for.

For each candidate change day the days since are compared with the baseline days before it, by the log-likelihood
ratio of "two levels" against "one level" (both levels estimated, so that a short or thin baseline weakens the
evidence by itself); the largest over change days is the CUSUM maximised over shift sizes. It is recomputed from
the visible history at each look, so no state can be lost or depend on how often one looked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import exp
from typing import Any, Literal

import numpy as np

from upstream_pipelines.drift.arrays import add_up, log_terms, ratio
from upstream_pipelines.drift.facts import Floats, Floats32, Ints
from upstream_pipelines.drift.settings import Signal

By = Literal["decision", "submission"]
Kind = Literal["counts", "normal", "trend"]
GROWTH_PRIOR = 12.0  # weight of "no growth": at a scatter of 3, a standard deviation of half as much again a year
CROSSINGS: dict[Signal, float] = {
    "denial_rate": 3.0,
    "decision_lag": 0.5,
    "allowed_amount": 1.2,
    "volume": 4.5,
    "procedure_mix": 4.2,
    "authorization_denials": 0.4,
}
"""False events a year of one chart and direction, over z·exp(-z²/2) and the number of scans; see `threshold`.

White noise gives 19 with daily looks, changes of 8 to 120 days and baselines of 180 days (400 simulated charts of 540
days: 0.56 crossings a year at z = 3, 0.159 at 3.5, 0.025 at 4; fitted 0.63, 0.145, 0.025). What opens an event must
also matter, last and be confirmed, over-dispersion is estimated on the safe side, and the two scans of a chart agree:
these are what 24 simulated customer-years at eight times the budget gave (`make arena`, tuning seeds).
"""
BUDGET_WEIGHTS: dict[Signal, float] = {
    "denial_rate": 5.0,
    "decision_lag": 1.0,
    "allowed_amount": 1.0,
    "volume": 1.0,
    "procedure_mix": 1.0,
    "authorization_denials": 1.0,
}
"""How the budget of false events is shared out: the denial rate has the least evidence a line, and the most worth."""
IMPROVING_WEIGHT = (
    0.25  # of the budget of a change for the worse: a change for the better alarms nobody by default
)
PAYER_BUDGET = 0.04  # of the customer's budget for one payer: 1.6 % in the five months around something harmless


@dataclass(frozen=True)
class Trend:
    """What a level with steady growth needs beyond counts, by payer and day.

    `plain`: expected by the calendar, up to level and growth; `time` in years (per day); `moment` and `second`: the
    expected counts times time and times its square.
    """

    plain: Floats
    time: Floats
    moment: Floats
    second: Floats

    def of(self, payer: int) -> Trend:
        """The same of one payer."""
        return Trend(self.plain[[payer]], self.time, self.moment[[payer]], self.second[[payer]])


@dataclass(frozen=True)
class Series:
    """Day sums of one factor, payers by days, the last column being the last complete day.

    `observed` and `expected` share a scale (events; for prices score and information), `variance` is that of
    observed with nothing changed, `lines` the claim lines behind it, `trials` the Bernoulli trials where the factor
    has them. `by` names what a day is: decision or submission. `kind` is how counts scatter: "counts" (Poisson, or
    binomial where there are trials), "normal" (score and information), "trend" (counts around steady growth).
    """

    by: By
    observed: Floats
    expected: Floats
    variance: Floats
    lines: Floats
    trials: Floats | None
    kind: Kind = "counts"
    trend: Trend | None = None

    def of(self, payer: int) -> Series:
        """The same of one payer."""
        return replace(
            self,
            **{name: getattr(self, name)[[payer]] for name in ("observed", "expected", "variance", "lines")},
            trials=None if self.trials is None else self.trials[[payer]],
            trend=None if self.trend is None else self.trend.of(payer),
        )


@dataclass(frozen=True)
class Windows:
    """Sums before and since each candidate change day, payers by candidates; candidate j is `length[j]` days long.

    `moments` and `seconds` only for a trend, which is compared with all days before.
    """

    length: Ints
    observed: tuple[Floats, Floats]
    expected: tuple[Floats, Floats]
    lines: tuple[Floats, Floats]
    trials: tuple[Floats, Floats] | None = None
    moments: tuple[Floats, Floats] | None = None
    seconds: tuple[Floats, Floats] | None = None


@dataclass(frozen=True)
class RunningSums:
    """Sums over the days before each day, of all fields of some series of equal length.

    `total` is days + 1 by fields by payers: whole rows are added up, which takes a fifth of the time of sums along rows.
    """

    total: Floats
    _place: Mapping[int, int]

    def places(self, fields: Sequence[Floats]) -> Ints:
        """Where the fields stand in `total`."""
        return np.array([self._place[id(values)] for values in fields])


@dataclass(frozen=True)
class Around:
    """The sums of all fields around each candidate change, candidates by fields by payers: over all days before, over the
    `baseline_days` days before, and since. Taken once for all signals, which share the candidates.
    """

    sums: RunningSums
    length: Ints
    ever: Floats
    before: Floats
    since: Floats

    @classmethod
    def of(cls, sums: RunningSums, lengths: Ints, baseline_days: int) -> Around:
        split = len(sums.total) - 1 - lengths
        at = sums.total[split]
        return cls(sums, lengths, at, at - sums.total[np.maximum(split - baseline_days, 0)], sums.total[-1] - at)


def running_sums(series: Sequence[Series]) -> RunningSums:
    """Sum every field of the series once, also those that several of them (or of their fields) share."""
    distinct = {id(values): values for item in series for values in (*_fields(item).values(), item.variance)}
    payers, days = series[0].observed.shape
    total = np.empty((days + 1, len(distinct), payers))
    total[0] = 0.0
    for place, values in enumerate(distinct.values()):
        total[1:, place] = values.T
    add_up(total)
    return RunningSums(total, {key: place for place, key in enumerate(distinct)})


def _fields(series: Series) -> dict[str, Floats]:
    """What windows sum, by the name it has there."""
    fields = {"observed": series.observed, "expected": series.expected, "lines": series.lines}
    if series.trials is not None:
        fields["trials"] = series.trials
    if series.trend is not None:
        fields |= {"moments": series.trend.moment, "seconds": series.trend.second}
    return fields


def windows(around: Around, series: Sequence[Series]) -> Windows:
    """Sum series of one kind since each candidate change (1) and before it (0).

    The payers of each series come after those of the one before.
    """
    earlier = around.ever if series[0].trend is not None else around.before
    every = [_fields(item) for item in series]
    result: dict[str, Any] = {}
    for name in every[0]:
        place = around.sums.places([fields[name] for fields in every])
        # Candidates by series by payers.
        result[name] = tuple(
            part.take(place, axis=1).reshape(len(around.length), -1).T for part in (earlier, around.since)
        )
    return Windows(length=around.length, **result)


def sums_of(series: Series, lengths: Ints, sums: Callable[[Floats], tuple[Floats, Floats]]) -> Windows:
    """The windows of a series; `sums` tells the sums before and since of values by field, payer and day.

    All fields go through it at once: with 20 payers a look is made of some thousand array operations, and their
    number costs more than their size.
    """
    fields = _fields(series)
    distinct = list({id(values): values for values in fields.values()}.values())
    before, since = sums(np.stack(distinct))
    place = {id(values): number for number, values in enumerate(distinct)}
    return Windows(
        length=lengths,
        **{name: (before[place[id(values)]], since[place[id(values)]]) for name, values in fields.items()},
    )


def evidence(series: Series, sums: Windows, dispersion: Floats, freedom: Floats) -> Floats:
    """Signed root of twice the log-likelihood ratio, payers by candidates: about standard normal with no change.

    Positive: more than the baseline. Divided by the over-dispersion, and shortened for the `freedom` (degrees) with
    which that was learnt, as a t statistic is.
    """
    (o0, o1), (e0, e1) = sums.observed, sums.expected
    if series.kind == "trend":
        doubled, shift = _trend_terms(sums)
    elif series.kind == "normal":
        with np.errstate(divide="ignore", invalid="ignore"):
            shift = o1 / e1 - o0 / e0
            doubled = shift**2 / (1 / e1 + 1 / e0)
    else:
        scale = ratio(o0 + o1, e0 + e1)
        m0, m1 = e0 * scale, e1 * scale
        terms = log_terms(o0, m0) + log_terms(o1, m1)
        if sums.trials is not None:
            n0, n1 = sums.trials
            terms += log_terms(n0 - o0, n0 - m0) + log_terms(n1 - o1, n1 - m1)
        doubled = 2 * terms
        with np.errstate(divide="ignore", invalid="ignore"):
            shift = o1 / e1 - o0 / e0
    # Not a number where one side is empty, which compares as false: quicker than to put numbers in their place.
    doubled = np.where(doubled > 0.0, doubled, 0.0) / dispersion[:, None]
    shortened = freedom[:, None] * np.log1p(doubled / freedom[:, None])
    result: Floats = np.subtract(shift > 0.0, shift < 0.0, dtype=np.float64) * np.sqrt(shortened)
    return result


def _trend_terms(sums: Windows) -> tuple[Floats, Floats]:
    """Twice the log-likelihood ratio of a step beside level and growth, and the step's sign.

    A score test: level and growth are those that fit with no step, and what they could have taken of one is taken
    from its variance. The Poisson deviance stands for the squared score, which is too long a tail at small counts.
    """
    assert sums.moments is not None
    assert sums.seconds is not None
    (_, o1), (e0, e1), (m0, m1), (q0, q1) = sums.observed, sums.expected, sums.moments, sums.seconds
    s0, s1, s2 = e0 + e1, m0 + m1, q0 + q1 + GROWTH_PRIOR
    determinant = s0 * s2 - s1**2
    taken = ratio(e1**2 * s2 - 2 * e1 * m1 * s1 + m1**2 * s0, determinant)
    left = np.maximum(e1 - taken, 0.0)
    deviance = 2 * (log_terms(o1, e1) - (o1 - e1))
    doubled = np.where(left > 0.05 * e1, deviance * ratio(e1, left), 0.0)
    return doubled, o1 - e1


def wilson_hilferty(chi_squared: Floats, degrees: Ints | Floats) -> Floats:
    """The normal deviate with the tail of a chi-squared value (Wilson and Hilferty's cube root)."""
    spread = 2.0 / (9.0 * degrees)
    result: Floats = (np.cbrt(chi_squared / degrees) - (1 - spread)) / np.sqrt(spread)
    return result


def dispersion(sums: RunningSums, series: Sequence[Series], block: int = 7) -> list[tuple[Floats, Floats]]:
    """Over-dispersion per payer (1: as independent lines would scatter) and the degrees of freedom it was learnt with.

    From the differences of neighbouring weeks, so that a level shift, the very thing looked for, spoils one
    difference only. Weeks begin on the day of the week on which the customer's weeks differ most: weeks cut at any
    other day mix two and show half of what whole weeks differ by.
    """
    # Squares of differences need no more than 32 bits, and half the memory.
    by_week = np.empty((len(sums.total) - block, *sums.total.shape[1:]), dtype=np.float32)
    np.subtract(sums.total[block:], sums.total[:-block], out=by_week, casting="same_kind")
    observed, expected, variance = (
        by_week.take(sums.places([getattr(item, name) for item in series]), axis=1)
        for name in ("observed", "expected", "variance")
    )
    one = np.float32(1.0)
    enough = variance > 0.5
    inverse = one / np.where(enough, expected, one)
    rate = observed * inverse
    noise = np.where(enough, variance, one) * inverse * inverse
    both = (enough[block:] & enough[:-block]).astype(np.float32)
    apart = rate[block:] - rate[:-block]
    apart *= apart
    apart *= both
    apart /= noise[block:] + noise[:-block]
    # Day of the week by series by payers.
    by_start, pairs = (_sums_by_start(values, block) for values in (apart, both))
    begin = ratio(by_start.sum(axis=2), pairs.sum(axis=2)).argmax(axis=0)
    squares, counts = (values[begin, np.arange(len(series))] for values in (by_start, pairs))
    # Neighbouring differences share a week: 2 independent ones in 3.
    return list(zip(ratio(squares, counts, otherwise=1.0), counts * (2 / 3), strict=True))


def _sums_by_start(values: Floats | Floats32, block: int) -> Floats:
    """The sums of every `block`-th row, from each of the first `block` rows on: whole blocks are rows of one array."""
    blocks = len(values) // block
    whole = values[: blocks * block].reshape(blocks, block, *values.shape[1:])
    sums: Floats = whole.sum(axis=0, dtype=np.float64)
    sums[: len(values) - blocks * block] += values[blocks * block :]
    return sums


def threshold(
    signal: Signal, testable: Mapping[Signal, int], false_events_per_year: float, scans: int, *, worsening: bool
) -> float:
    """The evidence an event needs so that all charts of a customer together alarm falsely within the budget.

    `testable` counts the payers each signal can be judged for; every one has a chart for the worse and one for the
    better. `scans` is how many ways each chart is scanned (by decision day, by submission day). No payer gets more than
    `PAYER_BUDGET`, however few there are: what a customer with three payers takes for an alarm is right as often as
    with thirty.
    """
    weights = {each: (_weight(each, worsening=True), _weight(each, worsening=False)) for each in testable}
    everyone = sum(sum(weights[each]) * count for each, count in testable.items())
    one_payer = sum(sum(pair) for pair in weights.values())
    share = min(false_events_per_year / max(everyone, 1e-9), PAYER_BUDGET * false_events_per_year / one_payer)
    return _level_crossed(share * _weight(signal, worsening=worsening) / (CROSSINGS[signal] * scans))


@lru_cache(maxsize=512)
def thresholds(
    testable: tuple[tuple[Signal, int], ...], false_events_per_year: float, scans: tuple[int, ...]
) -> Mapping[Signal, Mapping[bool, float]]:
    """`threshold` of every signal, by `worsening`. Kept: the same from look to look as a rule."""
    return {
        signal: {
            worsening: threshold(signal, dict(testable), false_events_per_year, ways, worsening=worsening)
            for worsening in (True, False)
        }
        for (signal, _), ways in zip(testable, scans, strict=True)
    }


@lru_cache(maxsize=4096)
def _level_crossed(rate: float) -> float:
    """The level z at which z·exp(-z²/2) has fallen to `rate`. Kept: the same from look to look as a rule."""
    low, high = 1.5, 12.0  # it falls from 1 on
    for _ in range(60):
        middle = (low + high) / 2
        if middle * exp(-(middle**2) / 2) > rate:
            low = middle
        else:
            high = middle
    return high


def _weight(signal: Signal, *, worsening: bool) -> float:
    # The evidence of a changed mix has no direction; what it is worth has.
    return BUDGET_WEIGHTS[signal] * (1.0 if worsening or signal == "procedure_mix" else IMPROVING_WEIGHT)


def look_p_value(z: Floats, scans: int | Ints) -> Floats:
    """The chance that a chart shows evidence of at least `z`, in either direction, at one look with no change.

    The same simulation gives half of z·exp(-z²/2) a scan and direction, a little less in the far tail.
    """
    size = np.abs(z)
    return np.where(size < 1.0, 1.0, np.minimum(1.0, scans * size * np.exp(-(size**2) / 2)))


def false_discovery(p: Floats) -> Floats:
    """Benjamini-Hochberg q-values of the p-values of one look."""
    if not len(p):
        return p
    order = np.argsort(p, kind="stable")
    scaled = p[order] * len(p) / np.arange(1, len(p) + 1)
    q = np.empty(len(p))
    q[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return q
