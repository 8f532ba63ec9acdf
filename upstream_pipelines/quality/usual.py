"""What is usual for a stream of uploads, and which upload is not. Pure; not here: what is measured and kept
(anomalies.py, anomaly_store.py), who hears of it (alerts/).

A stream is one figure of one customer's source: rows received, or a share of them. Bounds are made of its last `WINDOW`
values alone. They reach from the lowest to the highest of those, a twentieth (at least one and a half) cut off at each end, and
beyond that by some spreads. The ends, not the middle, so that a source of two habits (full lists and short ones) has both;
the spread is the larger of the MAD's and that between the ends, so that neither is blind where the other sees nothing. A day
weighs the same however many uploads came on it: a history sent in twenty files is not twenty days.

Aim: at most 1 in 200 ordinary uploads is called unusual, by each rule. test_usual_uploads.py simulates it: senders on weekdays,
every day with quiet weekends, weekly, several files a day, from 8 rows to thousands, with claims of several lines.

What is unusual does not count as usual later, or an outage would teach that outages are normal, until it has become the
rule: `BECOMES_USUAL` to the same side within the window all count, and so many one after the other are a new beginning, before
which nothing counts. Its limits: a large file at each month's end among daily ones is unusual each time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

#: Uploads that are looked back on: ten weeks of weekdays, a year of weekly files.
WINDOW = 50
#: Uploads that are needed, and days on which they came: twenty files of one day say what that day was like.
LEAST_HISTORY, LEAST_DAYS = 8, 4
#: Of a daily sender's rows also so many on the same day of the week: weekends and Mondays are not like other days.
LEAST_WEEKDAY = 4
#: A tenth of the window to the same side: the ends of the bounds leave out a twentieth.
BECOMES_USUAL = 5

# By simulation; see the module. Of some twenty fields any may be unusual by chance. Fewer uploads know their spread less well.
_SPREADS_OF_ROWS, _SPREADS_OF_SHARE = 2.3, 3.6
_SPREADS_FOR_FEW = 11.0
# Lines of a claim are decided, filled and sent together: a file of n lines says what n / 3 independent ones would.
_LINES_OF_A_CLAIM = 3.0
_LEAST_ROWS_OF_SHARE = 10  # fewer may be one claim, all of it denied
_CHANCE = 4.0  # standard deviations of counting; 1 in 30,000
_LEAST_SPREAD_OF_LOG = 0.05
_LEAST_SPREAD_OF_ANGLE = 0.01
_LEAST_FACTOR = 1.5  # less is no trouble, however regular the sender

Numbers = npt.NDArray[np.float64]
Side = Literal["low", "high"]


@dataclass(frozen=True)
class Past:
    """A stream up to now, oldest first, of one length: days (proleptic ordinals), counts, what they are counted of, and to
    which side each was unusual (-1 low, 1 high, 0 not).
    """

    days: npt.NDArray[np.int64]
    counts: Numbers
    totals: Numbers
    sides: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Usual:
    """What is usual and its bounds, as rows or as a share 0..1; `history`: of how many uploads."""

    usual: float
    low: float
    high: float
    history: int

    def side_of(self, value: float) -> Side | None:
        """To which side a value is unusual; None where it is not."""
        if value < self.low:
            return "low"
        return "high" if value > self.high else None


def usual_rows(past: Past, day: date) -> Usual | None:
    """Bounds of the rows that an upload of this day holds; None where there is too little history."""
    past = _ruling(past)
    weights = _weights(past.days)
    if _is_too_little(past.days, weights):
        return None
    logs = np.log(np.maximum(past.counts, 1.0))
    middles, alike = _middles(past.days, logs, weights, day)
    if alike < LEAST_WEEKDAY:
        return None
    known = np.isfinite(middles[:-1])
    left, kept = logs[known] - middles[:-1][known], weights[known]
    lower, upper, spread = _ends(left, kept)
    # Middles of few values take part of the spread with them, and are themselves not sure.
    spreads = (_SPREADS_OF_ROWS + _SPREADS_FOR_FEW / _number(kept)) * np.sqrt(1 + np.pi / alike)
    margin = spreads * max(spread, _LEAST_SPREAD_OF_LOG)
    middle, least = float(middles[-1]), np.log(_LEAST_FACTOR)
    usual = float(np.exp(middle))
    chance = _CHANCE * np.sqrt(_LINES_OF_A_CLAIM) / 2
    return Usual(
        usual,
        min(float(np.exp(middle + min(lower - margin, -least))), max(np.sqrt(usual) - chance, 0.0) ** 2),
        max(float(np.exp(middle + max(upper + margin, least))), (np.sqrt(usual) + chance) ** 2),
        int(known.sum()),
    )


def usual_share(past: Past, total: int, least_jump: float, *, both_sides: bool) -> Usual | None:
    """Bounds of a share of an upload of `total` rows; None where there is too little history.

    least_jump: nothing that is nearer than this to the usual share is unusual, 0..1. both_sides: else only what is more.
    """
    past = _ruling(past)
    weights = _weights(past.days)
    if _is_too_little(past.days, weights):
        return None
    # As angles shares have the same spread by chance wherever they are: 1 / 4n.
    angles = np.arcsin(np.sqrt(past.counts / past.totals))
    lower, upper, spread = _ends(angles, weights)
    by_chance = _CHANCE * np.sqrt(_LINES_OF_A_CLAIM / max(total, 1)) / 2
    spreads = _SPREADS_OF_SHARE + _SPREADS_FOR_FEW / _number(weights)
    margin = max(spreads * max(spread, _LEAST_SPREAD_OF_ANGLE), by_chance)
    usual = _share(_quantile(angles, weights, 0.5))
    low, high = _share(lower - margin), _share(upper + margin)
    if total < _LEAST_ROWS_OF_SHARE:
        return Usual(usual, 0.0, 1.0, len(angles))
    return Usual(
        usual,
        max(min(low, usual - least_jump), 0.0) if both_sides else 0.0,
        min(max(high, usual + least_jump), 1.0),
        len(angles),
    )


def _ruling(past: Past) -> Past:
    """The part of the past that says what is usual now."""
    begin = 0
    keep = past.sides == 0
    for side in (-1, 1):
        told = past.sides == side
        if told.sum() >= BECOMES_USUAL:
            keep |= told
        runs = np.convolve(told, np.ones(BECOMES_USUAL), "valid") >= BECOMES_USUAL if len(told) else told
        ends = np.flatnonzero(runs)
        if len(ends):
            # The run's first upload: back from its last full stretch to where the side was another.
            others = np.flatnonzero(~told[: ends[-1]])
            begin = max(begin, int(others[-1]) + 1 if len(others) else 0)
    keep &= np.arange(len(keep)) >= begin
    return Past(past.days[keep], past.counts[keep], past.totals[keep], past.sides[keep])


def _middles(days: Any, logs: Numbers, weights: Numbers, day: date) -> tuple[Numbers, float]:
    """The usual value of each upload's day and, last, of `day`, NaN where not known; and of how many it is made."""
    if not _sends_daily(days):
        middle = _quantile(logs, weights, 0.5)
        return np.full(len(logs) + 1, middle), _number(weights)
    middles = np.full(7, np.nan)
    weekdays = (days + 6) % 7
    for weekday in range(7):
        same = weekdays == weekday
        # Of the day itself LEAST_WEEKDAY are asked for; one less on another still tells of the spread.
        if same.sum() >= LEAST_WEEKDAY - 1:
            middles[weekday] = _quantile(logs[same], weights[same], 0.5)
    return middles[np.append(weekdays, day.weekday())], float((weekdays == day.weekday()).sum())


def _sends_daily(days: npt.NDArray[np.int64]) -> bool:
    """About one upload a day, on most days or every other."""
    different = np.unique(days)
    return len(different) > 0.7 * len(days) and float(np.median(np.diff(different))) <= 2


def _ends(values: Numbers, weights: Numbers) -> tuple[float, float, float]:
    """The lower and upper end of the values, and their spread as a standard deviation."""
    cut = max(1.5 / _number(weights), 0.05)
    lower, upper = _quantile(values, weights, cut), _quantile(values, weights, 1 - cut)
    between = (upper - lower) / (2 * NormalDist().inv_cdf(1 - cut))
    middle = _quantile(values, weights, 0.5)
    mad = _quantile(np.abs(values - middle), weights, 0.5) / NormalDist().inv_cdf(0.75)
    return lower, upper, max(mad, between)


def _is_too_little(days: npt.NDArray[np.int64], weights: Numbers) -> bool:
    return _number(weights) < LEAST_HISTORY or len(np.unique(days)) < LEAST_DAYS


def _weights(days: npt.NDArray[np.int64]) -> Numbers:
    _, place, uploads = np.unique(days, return_inverse=True, return_counts=True)
    weights: Numbers = 1.0 / uploads[place]
    return weights


def _number(weights: Numbers) -> float:
    """How many equal values these are worth (Kish)."""
    return float(weights.sum() ** 2 / (weights**2).sum()) if len(weights) else 0.0


def _quantile(values: Numbers, weights: Numbers, share: float) -> float:
    """A weighted quantile, between neighbours in proportion."""
    order = np.argsort(values, kind="stable")
    sorted_weights = weights[order]
    places = np.cumsum(sorted_weights) - sorted_weights / 2
    return float(np.interp(share * weights.sum(), places, values[order]))


def _share(angle: float) -> float:
    return float(np.sin(np.clip(angle, 0, np.pi / 2)) ** 2)
