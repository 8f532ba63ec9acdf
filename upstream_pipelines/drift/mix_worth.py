"""What a changed mix does to the dollars a line: each code at one price before and since, with an interval.

Belongs here: prices of codes for this question, the dollars a line of two periods, how far chance and codes without a
price may be off. Not here: whether a mix changed (submissions.py), who a change comes from (contributions.py).

Every code counts by itself, also those that the test of the mix pools. A code is priced as this payer paid it before the
change; one that it did not pay then as it paid it since, and one it never paid as others do, at this payer's level. What
nobody has paid yet is taken to be worth a mean line, and the interval says how wrong that may be.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import fsum

import numpy as np

from upstream_pipelines.drift.arrays import ratio
from upstream_pipelines.drift.counts import View
from upstream_pipelines.drift.facts import Floats
from upstream_pipelines.drift.prices import FEWEST_CODE_LINES
from upstream_pipelines.drift.submissions import Mix

Days = tuple[int, int]
"""First and last day, both included."""


@dataclass(frozen=True)
class Worth:
    """The relative change of the dollars a line, with its standard error."""

    effect: float
    error: float

    def interval(self, width: float) -> tuple[float, float]:
        """So many standard errors either way; nothing is worth less than nothing."""
        return max(self.effect - width * self.error, -1.0), self.effect + width * self.error


def worth_of_mix(view: View, mix: Mix, payer: int, spans: tuple[Days, Days], dispersion: float) -> Worth | None:
    """The dollars a line of one payer's two periods; None where no code has a price or a period no line."""
    facts = view.facts
    own = np.flatnonzero((facts.code_payer[mix.rows] == payer) & (mix.lines > 0))
    code, day, lines = facts.code_code[mix.rows][own], facts.code_day[mix.rows][own], mix.lines[own]
    inside = [(day >= first) & (day <= last) for first, last in spans]
    every = np.stack([np.bincount(code[at], lines[at], minlength=len(facts.code_names)) for at in inside])
    # Of the codes in these days alone: codes of later days would change how numpy adds up, and with it the last digit.
    here = every.any(axis=0)
    counts = every[:, here]
    n0, n1 = (float(count.sum()) for count in counts)
    price = _prices(view, payer, spans[0])[here]
    known = price > 0
    priced = float(counts[0][known].sum())
    if not n1 or not priced:
        return None
    mean = float((counts[0] * price).sum()) / priced
    price = np.where(known, price, mean)
    shares = [count / total for count, total in zip(counts, (n0, n1), strict=True)]
    before, since = (float((share * price).sum()) for share in shares)
    spread = [
        float((share * (price - middle) ** 2).sum()) for share, middle in zip(shares, (before, since), strict=True)
    ]
    by_chance = dispersion * (spread[1] / n1 + (since / before) ** 2 * spread[0] / n0)
    # Codes nobody has paid yet may be worth as much more or less than a mean line as the payer's lines are.
    unpriced = float(np.abs(shares[1] - shares[0])[~known].sum())
    error = float(np.sqrt(by_chance + unpriced**2 * spread[0])) / before
    return Worth(since / before - 1.0, error)


def sign_of_worth(interval: tuple[float, float] | None, lines: int) -> int | None:
    """Which way the dollars a line went, where their interval says so; None where it may be either (unclear).

    Where nothing has a price nothing will ever say it: such a change counts as one for the worse.
    """
    if interval is None:
        return -1 if lines else None
    low, high = interval
    return 1 if low > 0 else -1 if high < 0 else None


def _prices(view: View, payer: int, before: Days) -> Floats:
    """What a line of each code is worth at the payer; 0 where nothing says it."""
    facts, codes = view.facts, len(view.facts.code_names)
    # Never known before its day, so that the rows are in view.
    rows = np.flatnonzero(facts.price_payer[: int(np.searchsorted(facts.price_known, view.as_of))] == payer)
    day = facts.price_day[rows]
    then = rows[(day >= before[0]) & (day <= before[1])]
    prices, enough = [], []
    for some in (then, rows):
        lines, dollars = (
            np.bincount(facts.price_code[some], values[some], minlength=codes).astype(np.float64, copy=False)
            for values in (facts.price_lines, facts.price_allowed)
        )
        prices.append(ratio(dollars, lines))
        enough.append(lines >= FEWEST_CODE_LINES)
    elsewhere = ratio(view.code_allowed, view.code_lines)
    usual = view.code_lines >= FEWEST_CODE_LINES
    # How this payer pays the codes that it pays, against all payers.
    of_both = np.where(
        enough[1] & usual, np.bincount(facts.price_code[rows], facts.price_lines[rows], minlength=codes), 0.0
    )
    there = fsum(of_both * elsewhere)
    level = fsum(of_both * prices[1]) / there if there > 0 else 1.0
    result: Floats = np.select([enough[0], enough[1], usual], [prices[0], prices[1], elsewhere * level], 0.0)
    return result
