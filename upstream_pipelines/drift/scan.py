"""The evidence for a change: a likelihood-ratio CUSUM over days, for all payers and change days at once.

Belongs here: the statistic, its dispersion, its null distribution and threshold. Not here: which factor it is for.

For every possible change day the days since are compared with the baseline days before it, by the log-likelihood
ratio of "two levels" against "one level" (both levels estimated, so that a short or thin baseline weakens the
evidence by itself); the largest over change days is the CUSUM maximised over shift sizes. It is recomputed from
the visible history at each look, so no state can be lost or depend on how often one looked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from upstream_pipelines.drift.facts import Bools, Floats, Ints
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


def stacked(series: Sequence[Series]) -> Series:
    """Series of one kind as one, the payers of each after those of the one before."""
    first = series[0]
    if len(series) == 1:
        return first

    def all_of(name: str) -> Floats:
        return np.concatenate([getattr(item, name) for item in series])

    return replace(
        first,
        observed=all_of("observed"),
        expected=all_of("expected"),
        variance=all_of("variance"),
        lines=all_of("lines"),
        trials=None if first.trials is None else all_of("trials"),
    )


def windows(series: Series, lengths: Ints, baseline_days: int) -> Windows:
    """Sum `series` over the last `lengths` days (1) and the `baseline_days` days before them (0)."""
    days = series.observed.shape[1]
    split = days - lengths
    first = np.zeros_like(split) if series.trend is not None else np.maximum(split - baseline_days, 0)

    def sums(values: Floats) -> tuple[Floats, Floats]:
        total = np.zeros((*values.shape[:-1], days + 1))
        np.cumsum(values, axis=-1, out=total[..., 1:])
        at = total[..., split]
        return at - total[..., first], total[..., -1:] - at

    return sums_of(series, lengths, sums)


def sums_of(series: Series, lengths: Ints, sums: Callable[[Floats], tuple[Floats, Floats]]) -> Windows:
    """The windows of a series; `sums` tells the sums before and since of values by field, payer and day.

    All fields go through it at once: with 20 payers a look is made of some thousand array operations, and their
    number costs more than their size.
    """
    trend = series.trend
    fields = {"observed": series.observed, "expected": series.expected, "lines": series.lines}
    if series.trials is not None:
        fields["trials"] = series.trials
    if trend is not None:
        fields |= {"moments": trend.moment, "seconds": trend.second}
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
        scale = _ratio(o0 + o1, e0 + e1)
        m0, m1 = e0 * scale, e1 * scale
        doubled = _terms(o0, m0) + _terms(o1, m1)
        if sums.trials is not None:
            n0, n1 = sums.trials
            doubled = doubled + _terms(n0 - o0, n0 - m0) + _terms(n1 - o1, n1 - m1)
        with np.errstate(divide="ignore", invalid="ignore"):
            shift = o1 / e1 - o0 / e0
    doubled = np.nan_to_num(np.maximum(doubled, 0.0), nan=0.0, posinf=0.0) / dispersion[:, None]
    shortened = freedom[:, None] * np.log1p(doubled / freedom[:, None])
    return np.sign(np.nan_to_num(shift)) * np.sqrt(shortened)


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
    taken = _ratio(e1**2 * s2 - 2 * e1 * m1 * s1 + m1**2 * s0, determinant)
    left = np.maximum(e1 - taken, 0.0)
    deviance = _terms(o1, e1) - 2 * (o1 - e1)
    doubled = np.where(left > 0.05 * e1, deviance * _ratio(e1, left), 0.0)
    return doubled, o1 - e1


def wilson_hilferty(chi_squared: Floats, degrees: Ints | Floats) -> Floats:
    """The normal deviate with the tail of a chi-squared value (Wilson and Hilferty's cube root)."""
    spread = 2.0 / (9.0 * degrees)
    result: Floats = (np.cbrt(chi_squared / degrees) - (1 - spread)) / np.sqrt(spread)
    return result


def _terms(observed: Floats, expected: Floats) -> Floats:
    """2·O·log(O/E), and 0 where nothing was observed or expected."""
    good = (observed > 0) & (expected > 0)
    ratio = np.divide(observed, expected, out=np.ones_like(expected), where=good)
    result: Floats = 2 * observed * np.log(ratio)
    return result


def _ratio(top: Floats, bottom: Floats) -> Floats:
    return np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 0)


def dispersion(series: Sequence[Series], block: int = 7) -> list[tuple[Floats, Floats]]:
    """Over-dispersion per payer (1: as independent lines would scatter) and the degrees of freedom it was learnt with.

    From the differences of neighbouring weeks, so that a level shift, the very thing looked for, spoils one
    difference only. Weeks begin on the day of the week on which the customer's weeks differ most: weeks cut at any
    other day mix two and show half of what whole weeks differ by. All series (of equal length) are done at once.
    """
    fields = np.stack([[item.observed, item.expected, item.variance] for item in series], axis=1)
    total = np.zeros((*fields.shape[:-1], fields.shape[-1] + 1))
    np.cumsum(fields, axis=-1, out=total[..., 1:])
    observed, expected, variance = total[..., block:] - total[..., :-block]
    enough: Bools = variance > 0.5
    inverse = np.divide(1.0, expected, out=np.zeros_like(expected), where=enough)
    rate = observed * inverse
    noise = variance * inverse**2
    both = enough[..., block:] & enough[..., :-block]
    apart = (rate[..., block:] - rate[..., :-block]) ** 2
    apart = np.divide(apart, noise[..., block:] + noise[..., :-block], out=np.zeros_like(apart), where=both)
    by_start, pairs = (_by_position(values, block) for values in (apart, both))
    found = []
    for sums, counts in zip(by_start, pairs, strict=True):
        begin = int(np.argmax(_ratio(sums.sum(axis=0), counts.sum(axis=0))))
        own = np.divide(sums[:, begin], counts[:, begin], out=np.ones(len(counts)), where=counts[:, begin] > 0)
        # Neighbouring differences share a week: 2 independent ones in 3.
        found.append((own, counts[:, begin] * (2 / 3)))
    return found


def _by_position(values: Floats | Bools, block: int) -> Floats:
    """Sums over the days of each position within a block: the last axis becomes `block` long."""
    whole = -(-values.shape[-1] // block) * block
    padded = np.zeros((*values.shape[:-1], whole))
    padded[..., : values.shape[-1]] = values
    result: Floats = padded.reshape(*values.shape[:-1], whole // block, block).sum(axis=-2)
    return result


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
    allowed = share * _weight(signal, worsening=worsening)
    low, high = 1.5, 12.0  # the rate falls from 1 on
    for _ in range(60):
        middle = (low + high) / 2
        if CROSSINGS[signal] * scans * middle * np.exp(-(middle**2) / 2) > allowed:
            low = middle
        else:
            high = middle
    return high


def _weight(signal: Signal, *, worsening: bool) -> float:
    # The evidence of a changed mix has no direction; what it is worth has.
    return BUDGET_WEIGHTS[signal] * (1.0 if worsening or signal == "procedure_mix" else IMPROVING_WEIGHT)


def look_p_value(z: Floats, scans: int) -> Floats:
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
