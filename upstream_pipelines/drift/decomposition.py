"""A difference taken apart into parts that add up to it: rate and mix, twice over. Pure arithmetic on arrays.

Belongs here: the identities. Not here: what the classes are (contributions.py), any estimate or interval.

For one composition w (shares that add up to 1) and rates r, with bars for means of the two periods,

    sum(w1 r1) - sum(w0 r0)  =  sum(w̄ Δr)  +  sum(r̄ Δw)

holds exactly. Here it is used twice: first over age, whose second term is what maturity alone does, then within each
age over the classes, whose second term is the mix. A class that is in one period only has no rate in the other; it is
given the same one there, so that its coming or going counts as mix and never as a change of its rate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from upstream_pipelines.drift.arrays import ratio
from upstream_pipelines.drift.facts import Floats

COUNT_PRIOR = 20.0
"""Counts' worth of the payer's own ratio given to each class: five lines have none of their own."""


@dataclass(frozen=True)
class RateSplit:
    """`rate.sum() + mix.sum() + maturity == since - before`; `rate` and `mix` are per class."""

    before: float
    since: float
    rate: Floats
    mix: Floats
    maturity: float


@dataclass(frozen=True)
class CountSplit:
    """`pace.sum() + mix.sum()` is the sum of observed minus expected; both are per class."""

    pace: Floats
    mix: Floats


def split_rate(counted: Floats, lines: Floats) -> RateSplit | None:
    """Take a change of a rate apart: `counted` of `lines`, both of shape (2 periods, ages, classes).

    None where a period has no lines.
    """
    of_age = lines.sum(axis=2)
    total = of_age.sum(axis=1)
    if not (total > 0).all():
        return None
    weight = of_age / total[:, None]
    share = _borrowed(ratio(lines, of_age[:, :, None]), np.broadcast_to(of_age[:, :, None] > 0, lines.shape))
    rates = _borrowed(ratio(counted, lines), lines > 0)
    by_age = (share * rates).sum(axis=2)
    mean_weight, mean_rate = weight.mean(axis=0), by_age.mean(axis=0)
    middle = (weight * by_age).sum(axis=1)
    inner = mean_weight[:, None]
    return RateSplit(
        before=float(middle[0]),
        since=float(middle[1]),
        rate=(inner * share.mean(axis=0) * (rates[1] - rates[0])).sum(axis=0),
        # Against the rate of the age: more lines of a class that is denied often raise it, of others lower it.
        mix=(inner * (rates.mean(axis=0) - mean_rate[:, None]) * (share[1] - share[0])).sum(axis=0),
        maturity=float(((mean_rate - middle.mean()) * (weight[1] - weight[0])).sum()),
    )


def split_by_reason(counted: Floats, lines: Floats) -> Floats:
    """What each reason contributes at equal maturity; adds up to the rate and mix parts of `split_rate`.

    `counted` has shape (2 periods, ages, reasons), `lines` (2, ages). Every period has lines.
    """
    weight = lines / lines.sum(axis=1, keepdims=True)
    rates = _borrowed(ratio(counted, lines[:, :, None]), np.broadcast_to(lines[:, :, None] > 0, counted.shape))
    result: Floats = (weight.mean(axis=0)[:, None] * (rates[1] - rates[0])).sum(axis=0)
    return result


def split_shortfall(observed: Floats, expected: Floats) -> CountSplit:
    """Take counts since the change, against those expected, apart by class; shape (2 periods, classes).

    Expectations are the payer's as a whole, so some classes lay above or below them before: what a class does
    differently from its own ratio is pace, the rest comes from classes with another ratio growing or shrinking.
    """
    usual = (observed[0] + COUNT_PRIOR) / (expected[0] + COUNT_PRIOR)
    return CountSplit(pace=observed[1] - expected[1] * usual, mix=expected[1] * (usual - 1.0))


def split_within(total: Floats, share: Floats, level: Floats) -> Floats:
    """What each part of a class contributes to the class's own change of level; rows add up to `total`.

    `share` and `level` have shape (2 periods, classes, parts), the shares of a class add up to 1; `total` is each
    class's change, sum(share1 level1) - sum(share0 level0).
    """
    level = _borrowed(level, share > 0)
    middle = (share.mean(axis=0) * level.mean(axis=0)).sum(axis=1, keepdims=True)
    parts = share.mean(axis=0) * (level[1] - level[0]) + (level.mean(axis=0) - middle) * (share[1] - share[0])
    # Rounding of large sums of logarithms is left over; the parts are to add up exactly.
    rest = total - parts.sum(axis=1)
    result: Floats = parts + share.mean(axis=0) * rest[:, None]
    return result


def _borrowed(values: Floats, known: np.typing.NDArray[np.bool_]) -> Floats:
    """Where one of the two periods has no value, the other's."""
    return np.asarray(np.where(known, values, np.where(known[::-1], values[::-1], 0.0)), dtype=np.float64)
