"""A change of allowed amounts in dollars: each code's own move, weighed by the dollars it moves.

Belongs here: codes compared with themselves, before the change and since. Not here: the index of the look, whose
weights are the information each code gives (prices.py): right for telling a change early, and no measure of its
dollars. Where a tenth is taken off office visits, half of the lines and five sixths of the dollars, the index falls by
3.5 % and the dollars by 8 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from upstream_pipelines.drift.breakdown import Breakdown, period_numbers
from upstream_pipelines.drift.decomposition import split_within
from upstream_pipelines.drift.facts import Floats
from upstream_pipelines.drift.prices import FEWEST_CODE_LINES, PRICE_PRIOR, SMALLEST_PRICE_SCATTER

Code = tuple[str, str]
"""CPT and modifiers."""


@dataclass(frozen=True)
class PriceMoves:
    """Per code: `moved`, the change of its mean log price; `old_dollars`, what its lines since the change would have
    been allowed at the prices before; `dollars`, how much more (or less) they were. Codes with too few lines have 0.

    `error` is the standard error of the sum of `dollars`, as independent lines scatter.
    """

    codes: Sequence[Code]
    moved: Floats
    old_dollars: Floats
    dollars: Floats
    error: float

    @property
    def change(self) -> float:
        """The change relative to the dollars at the prices before."""
        return float(self.dollars.sum() / self.old_dollars.sum())


def price_moves(breakdown: Breakdown) -> PriceMoves | None:
    """Compare each code's price with itself; None where no code was paid often enough in both periods."""
    rows = breakdown.of("procedure")
    codes = codes_of(rows)
    count, total, squares, allowed = (
        by_code(rows, codes, name) for name in ("priced", "sum_log_allowed", "sum_log_allowed_sq", "allowed")
    )
    both = (count >= FEWEST_CODE_LINES).all(axis=0)
    if not both.any():
        return None
    mean = np.divide(total, count, out=np.zeros_like(total), where=count > 0)
    within = np.maximum(squares - total * mean, 0.0).sum(axis=0)
    freedom = np.maximum(count - 1, 0.0).sum(axis=0)
    usual = within[both].sum() / max(freedom[both].sum(), 1.0)
    scatter = np.maximum((within + PRICE_PRIOR * usual) / (freedom + PRICE_PRIOR), SMALLEST_PRICE_SCATTER**2)
    moved = np.where(both, mean[1] - mean[0], 0.0)
    now = np.where(both, allowed[1], 0.0)
    old = now * np.exp(-moved)
    variance = np.where(both, scatter * (1 / np.maximum(count, 1.0)).sum(axis=0), 0.0)
    return PriceMoves(codes, moved, old, now - old, float(np.sqrt((now**2 * variance).sum())))


def moves_by_facility(breakdown: Breakdown, moves: PriceMoves) -> tuple[list[str], Floats]:
    """Each facility's part of the dollars moved: its own prices, and its share of each code's lines."""
    rows = breakdown.of("procedure_facility")
    facilities = sorted(set(rows["name"]))
    place = {code: number for number, code in enumerate(moves.codes)}
    where = (
        period_numbers(rows),
        np.array([place[code] for code in zip(rows["cpt"], rows["modifiers"], strict=True)], dtype=np.int64),
        pd.Index(facilities).get_indexer(rows["name"]),
    )
    count, total = (np.zeros((2, len(moves.codes), len(facilities))) for _ in range(2))
    np.add.at(count, where, rows["priced"].to_numpy())
    np.add.at(total, where, rows["sum_log_allowed"].to_numpy())
    of_code = count.sum(axis=2, keepdims=True)
    share = np.divide(count, of_code, out=np.zeros_like(count), where=of_code > 0)
    level = np.divide(total, count, out=np.zeros_like(count), where=count > 0)
    parts = split_within(moves.moved, share, level)
    # From logarithms to dollars; a code that did not move as a whole moves no dollars.
    per_log = np.divide(moves.dollars, moves.moved, out=np.zeros_like(moves.moved), where=moves.moved != 0)
    return facilities, (parts * per_log[:, None]).sum(axis=0)


def codes_of(rows: pd.DataFrame) -> list[Code]:
    """The codes of a breakdown's rows by procedure."""
    return sorted(set(zip(rows["cpt"], rows["modifiers"], strict=True)))


def by_code(rows: pd.DataFrame, codes: Sequence[Code], column: str) -> Floats:
    """A column's sums of shape (2 periods, codes)."""
    place = {code: number for number, code in enumerate(codes)}
    at = np.array([place[code] for code in zip(rows["cpt"], rows["modifiers"], strict=True)], dtype=np.int64)
    values = np.zeros((2, len(codes)))
    period = period_numbers(rows)
    np.add.at(values, (period, at), rows[column].to_numpy(dtype="float64"))
    return values
