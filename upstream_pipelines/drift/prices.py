"""The price factor: the allowed amount of paid lines against the mean of their own code and modifiers.

Belongs here: prices as score and information per day. Not here: what a code is worth (mix_worth.py), other factors.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum

import numpy as np

from upstream_pipelines.drift.arrays import of_cells, ratio
from upstream_pipelines.drift.counts import View
from upstream_pipelines.drift.factors import BY_DECISION, Exclusion
from upstream_pipelines.drift.facts import SCATTER_DAYS, Bools, Floats, Ints
from upstream_pipelines.drift.scan import Series

PRICE_PRIOR = 5.0  # lines' worth of the customer's usual scatter given to each code
SMALLEST_PRICE_SCATTER = 0.01  # a fee schedule has no scatter at all; a hundredth keeps rounding from being news
FEWEST_CODE_LINES = 5  # below, a code's mean says nothing


def price_series(view: View, excluded: Sequence[Exclusion]) -> Series:
    """Score and information of log allowed against the code's own mean, by decision day.

    Only sums per code and day are at hand, so it is a day's mean that is held within 4 standard errors (or a
    quarter, where the code scatters less): a misplaced decimal point is 2.3 on the log scale and moves no chart.
    """
    facts = view.facts
    known = facts.price_known
    # A price is never known before its day.
    rows = slice(int(np.searchsorted(known, view.first_decision_day)), int(np.searchsorted(known, view.as_of)))
    payer, day = facts.price_payer[rows], facts.price_day[rows]
    level = facts.price_level[rows]
    newest = view.ends[payer] if (view.ends < view.horizon).any() else view.horizon
    counts: Bools = (day >= view.first_decision_day) & (day <= newest)
    for item in excluded:
        counts &= (payer != item.payer) | (day > item.last) | (day < item.first)
    weight, total, squares = (
        values[rows] for values in (facts.price_lines, facts.price_total, facts.price_squares)
    )
    payers = len(facts.payers)
    size = facts.price_cells
    cell = facts.price_cell[rows]
    # Days and blocks in view alone: one line decided in 1970 would give each cell 740 blocks.
    first_block = view.first_decision_day // SCATTER_DAYS
    blocks = view.horizon // SCATTER_DAYS - first_block + 1
    block, on = (
        facts.price_block[rows] - first_block * size,
        facts.price_on[rows] - view.first_decision_day * payers,
    )
    if not counts.all():
        # Rows that do not count weigh nothing: that is cheaper than to copy all the others, at 100,000 rows a look.
        weight, total, squares = (np.where(counts, values, 0.0) for values in (weight, total, squares))
        block, on = np.where(counts, block, 0), np.where(counts, on, 0)
    # Scatter within four weeks: around one mean for the whole year a cut would count as the scatter of just those codes
    # that were cut, and they would weigh least.
    # Blocks first: their sums are added up one after the other, so that more blocks of later days change no digit.
    in_block, sum_of_block = (
        _counts(block, values, size * blocks).reshape(blocks, size) for values in (weight, total)
    )
    count = in_block.sum(axis=0)
    mean = ratio(_in_order(sum_of_block), count)
    within = np.maximum(_counts(cell, squares, size) - _in_order(ratio(sum_of_block**2, in_block)), 0.0)
    freedom = np.maximum(count - (in_block > 0).sum(axis=0), 0.0)
    usual = fsum(within) / max(fsum(freedom), 1.0)
    scatter = (within + PRICE_PRIOR * usual) / (freedom + PRICE_PRIOR)
    scatter = np.maximum(scatter, SMALLEST_PRICE_SCATTER**2)
    reach = of_cells(4 * np.sqrt(scatter), cell)
    reach /= facts.price_precision[rows]
    np.maximum(reach, 0.25, out=reach)
    least = -reach

    def within_reach(centre: Floats) -> Floats:
        apart = of_cells(centre, cell)
        np.subtract(level, apart, out=apart)
        # Half of the time that `clip` takes with bounds of its own for each value.
        np.maximum(apart, least, out=apart)
        np.minimum(apart, reach, out=apart)
        return apart

    apart = within_reach(mean)
    apart *= weight
    # Once more with the centre of what was held within bounds.
    held = within_reach(mean + ratio(_counts(cell, apart, size), count))
    known = count >= FEWEST_CODE_LINES
    information_of = of_cells(np.where(known, 1.0 / scatter, 0.0), cell)
    information_of *= weight
    held *= information_of

    def by_day(values: Floats) -> Floats:
        return np.ascontiguousarray(_counts(on, values, view.days * payers).reshape(view.days, payers).T)

    information = by_day(information_of)
    return Series(
        BY_DECISION,
        by_day(held),
        information,
        information,
        by_day(weight if known[count > 0].all() else np.where(information_of > 0, weight, 0.0)),
        None,
        "normal",
    )


def _in_order(blocks: Floats) -> Floats:
    """The sum over the blocks one after the other; `sum` takes them pairwise where there is one cell."""
    result: Floats = np.add.accumulate(blocks, axis=0)[-1]
    return result


def _counts(cell: Ints, weights: Floats, minlength: int) -> Floats:
    return np.bincount(cell, weights, minlength=minlength).astype(np.float64, copy=False)
