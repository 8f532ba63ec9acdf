"""A payer's flow of lines and dollars, and a change's size in it: what a look has at hand for the dollar floor.

Not here: the money of an event, which knows each line's procedure (money.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from upstream_pipelines.drift.counts import View
from upstream_pipelines.drift.facts import UNDECIDED
from upstream_pipelines.drift.settings import RATE_SIGNALS, Signal

DAYS_PER_MONTH = 30.44
FLOW_DAYS = 90  # the stretch before a change whose flow is the usual one


@dataclass(frozen=True)
class Flow:
    """A payer's flow a day: lines decided, allowed dollars; and allowed dollars a line that was not denied."""

    decided: float
    allowed: float
    allowed_per_line: float


def flow_of(view: View, payer: int, changed: int) -> Flow:
    """The flow of the last 90 days of decisions before the day `changed`, or of as many as the payer has."""
    rows = view.rows(payer)
    day = rows.submitted + rows.age
    earlier = (rows.age != UNDECIDED) & (day < changed)
    first = max(changed - FLOW_DAYS, int(day[earlier].min())) if earlier.any() else changed
    counts = earlier & (day >= first)
    days = max(changed - first, 1)
    dollars, lines = float(rows.allowed[counts].sum()), float(rows.lines[counts].sum())
    passed = lines - float(rows.denied[counts].sum())
    return Flow(lines / days, dollars / days, dollars / passed if passed > 0 else 0.0)


def dollars_per_month(view: View, payer: int, signal: Signal, effect: float, changed: int) -> float | None:
    """The size of an effect in dollars a month, 0 or more; None where the source sent no amounts before `changed`.

    `effect` is in the unit of a row: difference of a rate, days, relative change of prices, lines or dollars a line.
    `changed` is the change's first day (days since 1970): every effect is one on the flow before it. For the decision
    lag: dollars outstanding at any time. Coarser than `money_of`, which knows each line's procedure, but of what a
    look has at hand.
    """
    flow = flow_of(view, payer, changed)
    if flow.allowed <= 0:
        return None
    if signal in RATE_SIGNALS:
        return abs(effect) * flow.decided * DAYS_PER_MONTH * flow.allowed_per_line
    if signal == "decision_lag":
        return abs(effect) * flow.allowed
    return abs(effect) * flow.allowed * DAYS_PER_MONTH
