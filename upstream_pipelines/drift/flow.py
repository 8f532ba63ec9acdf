"""A payer's flow of lines and dollars, and a change's size in it: what a look has at hand for the dollar floor.

Not here: the money of an event, which knows each line's procedure (money.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from upstream_pipelines.drift.counts import View
from upstream_pipelines.drift.facts import UNDECIDED
from upstream_pipelines.drift.settings import RATE_SIGNALS, Signal

DAYS_PER_MONTH = 30.44
FLOW_DAYS = 90  # the stretch whose flow stands for the present
SMALLEST_LEFT = 0.05  # of a flow: a payer that went away altogether has none to divide by


@dataclass(frozen=True)
class Flow:
    """A payer's flow a day: lines decided, allowed dollars; and allowed dollars a line that was not denied."""

    decided: float
    allowed: float
    allowed_per_line: float


def flow_of(view: View, payer: int) -> Flow:
    """The flow of the last 90 days of decisions."""
    rows = view.rows(payer)
    counts = (rows.age != UNDECIDED) & (rows.submitted + rows.age > view.horizon - FLOW_DAYS)
    dollars, lines = float(rows.allowed[counts].sum()), float(rows.lines[counts].sum())
    passed = lines - float(rows.denied[counts].sum())
    return Flow(lines / FLOW_DAYS, dollars / FLOW_DAYS, dollars / passed if passed > 0 else 0.0)


def dollars_per_month(view: View, payer: int, signal: Signal, effect: float) -> float | None:
    """The size of an effect in dollars a month, 0 or more; None where the source sends no amounts.

    `effect` is in the unit of a row: difference of a rate, days, relative change of prices, lines or dollars a line.
    For the decision lag: dollars outstanding at any time. Coarser than `money_of`, which knows each line's procedure,
    but of what a look has at hand.
    """
    flow = flow_of(view, payer)
    if flow.allowed <= 0:
        return None
    if signal in RATE_SIGNALS:
        return abs(effect) * flow.decided * DAYS_PER_MONTH * flow.allowed_per_line
    if signal == "decision_lag":
        return abs(effect) * flow.allowed
    # The flow is what is left after the change; the effect is relative to what there was before.
    return abs(effect) * flow.allowed * DAYS_PER_MONTH / max(1.0 + effect, SMALLEST_LEFT)
