"""The price factor: the allowed amount of paid lines against the mean of their own code and modifiers.

Belongs here: prices as score and information per day, and what a code is worth. Not here: the other factors.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from upstream_pipelines.drift.counts import View
from upstream_pipelines.drift.factors import BY_DECISION, Exclusion
from upstream_pipelines.drift.facts import Bools, Facts, Floats, Ints
from upstream_pipelines.drift.scan import Series

SCATTER_DAYS = 28
PRICE_PRIOR = 5.0  # lines' worth of the customer's usual scatter given to each code
SMALLEST_PRICE_SCATTER = 0.01  # a fee schedule has no scatter at all; a hundredth keeps rounding from being news
FEWEST_CODE_LINES = 5  # below, a code's mean says nothing


def priced_rows(view: View) -> slice:
    """The rows of prices that were known before the look and may lie in its days."""
    known = view.facts.price_known
    # A price is never known before its day.
    return slice(int(np.searchsorted(known, view.first_decision_day)), int(np.searchsorted(known, view.as_of)))


def price_series(view: View, excluded: Sequence[Exclusion]) -> Series:
    """Score and information of log allowed against the code's own mean, by decision day.

    Only sums per code and day are at hand, so it is a day's mean that is held within 4 standard errors (or a
    quarter, where the code scatters less): a misplaced decimal point is 2.3 on the log scale and moves no chart.
    """
    facts = view.facts
    rows = priced_rows(view)
    payer, day = facts.price_payer[rows], facts.price_day[rows]
    lines, level, spread = facts.price_lines[rows], facts.price_level[rows], facts.price_spread[rows]
    counts: Bools = (day >= view.first_decision_day) & (day <= view.ends[payer])
    for item in excluded:
        counts &= (payer != item.payer) | (day > item.last) | (day < item.first)
    # Rows that do not count weigh nothing: that is cheaper than to copy all the others, at 100,000 rows a look.
    weight = np.where(counts, lines, 0.0)
    strata = max(facts.price_strata, 1)
    size = len(facts.payers) * strata
    cell = payer * strata + facts.price_stratum[rows]
    # Scatter within four weeks: around one mean for the whole year a cut would count as the scatter of just those codes
    # that were cut, and they would weigh least.
    blocks = view.days // SCATTER_DAYS + 2
    block = cell * blocks + np.clip(day // SCATTER_DAYS - view.first_decision_day // SCATTER_DAYS, 0, blocks - 1)
    in_block, sum_of_block = (
        _counts(block, values, size * blocks).reshape(size, blocks) for values in (weight, weight * level)
    )
    count = in_block.sum(axis=1)
    mean = _shares(sum_of_block.sum(axis=1), count)
    within = np.maximum(_counts(cell, weight * spread, size) - _shares(sum_of_block**2, in_block).sum(axis=1), 0.0)
    freedom = np.maximum(count - (in_block > 0).sum(axis=1), 0.0)
    usual = within.sum() / max(freedom.sum(), 1.0)
    scatter = (within + PRICE_PRIOR * usual) / (freedom + PRICE_PRIOR)
    scatter = np.maximum(scatter, SMALLEST_PRICE_SCATTER**2)
    reach = np.maximum(np.sqrt(16 * scatter[cell] / lines), 0.25)
    apart = level - mean[cell]
    np.clip(apart, -reach, reach, out=apart)
    # Once more with the centre of what was held within bounds.
    moved = _shares(_counts(cell, apart * weight, size), count)
    held = np.clip(level - (mean + moved)[cell], -reach, reach)
    information_of = np.where(count >= FEWEST_CODE_LINES, 1.0 / scatter, 0.0)[cell] * weight
    flat = payer * view.days + np.clip(day - view.first_decision_day, 0, view.days - 1)

    def by_day(values: Floats) -> Floats:
        return _counts(flat, values, len(facts.payers) * view.days).reshape(-1, view.days)

    information = by_day(information_of)
    return Series(
        BY_DECISION,
        by_day(held * information_of),
        information,
        information,
        by_day(np.where(information_of > 0, weight, 0.0)),
        None,
        "normal",
    )


def code_values(view: View) -> Floats:
    """Mean allowed amount of a paid line by code, over all payers: what a line of that code is worth.

    Codes never paid get the mean of all; all 0 where the source has no amounts.
    """
    facts: Facts = view.facts
    rows = priced_rows(view)
    codes = len(facts.code_names)
    allowed = _counts(facts.price_code[rows], facts.price_allowed[rows], codes)
    lines = _counts(facts.price_code[rows], facts.price_lines[rows], codes)
    usual = allowed.sum() / lines.sum() if lines.sum() > 0 else 0.0
    result: Floats = np.divide(allowed, lines, out=np.full(codes, usual), where=lines > 0)
    return result


def _shares(top: Floats, bottom: Floats) -> Floats:
    return np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 0)


def _counts(cell: Ints, weights: Floats, minlength: int) -> Floats:
    return np.bincount(cell, weights, minlength=minlength).astype(np.float64, copy=False)
