"""Decisions and open lines by age, and what follows from them: hazards, survival, the median decision time.

Belongs here: one payer's days taken together, open lines censored. Not here: the hazards of the factor, which are of all
days (factors.py), periods compared (measures.py).
"""

from __future__ import annotations

import numpy as np

from upstream_pipelines.drift.charts import Charts
from upstream_pipelines.drift.factors import BY_SUBMISSION, cell_days
from upstream_pipelines.drift.facts import Floats
from upstream_pipelines.drift.scan import By


def life_table(charts: Charts, payer: int, by: By, span: tuple[int, int]) -> tuple[Floats, Floats]:
    """Decisions and open lines by age, over the decision (or submission) days of `span`, both ends included."""
    view, cube = charts.view, charts.cube
    day = cell_days(view)
    if by == BY_SUBMISSION:
        day = np.broadcast_to(day[:1], day.shape)
    inside = (day >= span[0]) & (day <= span[1])
    decided, still = (
        np.where(inside, values[:, :, payer], 0.0).sum(axis=1) for values in (cube.decided, cube.open)
    )
    return decided, still


def hazard_of(table: tuple[Floats, Floats], prior: Floats | None = None, weight: float = 0.0) -> Floats:
    """Share of open lines decided at each age, drawn towards `prior` with the weight of so many lines."""
    decided, still = table
    top = decided if prior is None else decided + weight * prior
    bottom = still + weight
    return np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 0)


def usual_decision_days(charts: Charts, payer: int) -> int:
    """Median days from submission to decision of one payer, over all days in view."""
    view = charts.view
    return round(median_of(hazard_of(life_table(charts, payer, BY_SUBMISSION, (view.start, view.horizon)))))


def survival_of(hazard: Floats) -> Floats:
    """Share of lines still open after each age (Kaplan-Meier)."""
    return np.asarray(np.cumprod(1.0 - np.minimum(hazard, 1.0)), dtype=np.float64)


def median_of(hazard: Floats) -> float:
    """Kaplan-Meier median in days, between the two ages where half are decided; the longest age if half never are."""
    found = days_until(hazard, 0.5)
    return float(len(hazard)) if found is None else found


def days_until(hazard: Floats, share: float) -> float | None:
    """Kaplan-Meier days, between two ages, until that share of the lines is decided; None where it never is."""
    still, left = survival_of(hazard), 1.0 - share
    # Products of shares are off by a last digit: of exactly nine in ten the tenth would be waited for.
    under = np.flatnonzero(still <= left + 1e-9)
    if not len(under):
        return None
    at = int(under[0])
    above = still[at - 1] if at else 1.0
    return float(at - 1 + (above - left) / (above - still[at])) + 0.5
