"""What a change costs a month, with an interval: lost, delayed, under-priced, not submitted.

Belongs here: dollars. Not here: the effect and its interval, which come from the look (measures.py).

The interval is that of the effect, carried over: the dollars a line are known far better than the change. It is no
promise of what can be recovered. Where an event is an improvement the amounts are gains, and `gain` is true; so they are
where its direction is not clear and the estimate is one of more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from upstream_pipelines.drift.breakdown import Breakdown
from upstream_pipelines.drift.flow import DAYS_PER_MONTH
from upstream_pipelines.drift.measures import WIDTH
from upstream_pipelines.drift.price_moves import price_moves
from upstream_pipelines.drift.settings import RATE_SIGNALS
from upstream_pipelines.drift.units import number_of

FEWEST_OUTCOMES = 20  # denials with an outcome before a customer's own overturn share is believed
KINDS = ("lost", "delayed", "under_priced", "not_submitted", "lower_valued")
KIND_OF: dict[str, str] = {
    "denial_rate": "lost",
    "authorization_denials": "lost",
    "decision_lag": "delayed",
    "allowed_amount": "under_priced",
    "volume": "not_submitted",
    "procedure_mix": "lower_valued",
}


def money_of(breakdown: Breakdown, row: Mapping[str, Any]) -> dict[str, Any] | None:
    """Dollars of an event (see the module), or None where the source sends no amounts, the row no effect, or
    nothing is left to compare.

    Keys: per_month, low, high (95 %), one for each of `KINDS` (None where it does not apply), gain, basis. Of a
    decision lag `per_month` and `delayed` are the dollars outstanding at any time, more than before.
    """
    effect, signal = number_of(row["effect"]), str(row["signal"])
    # Of no lines nothing is known, but of the volume: that none came is what it says.
    if effect is None or (row.get("n_current") == 0 and signal != "volume"):
        return None
    if signal == "procedure_mix" and row["detail"].get("effect_low", 0.0) is None:
        return None  # no code was paid often enough to say what a line of it is worth
    if signal == "allowed_amount":
        return _under_priced(breakdown, row)
    worked_out = _WORKED_OUT[signal](breakdown, row)
    if worked_out is None:
        return None
    dollars_each, basis = worked_out
    # The sign with which the effect is bad for the provider, or good where it is an improvement.
    sign = 1.0 if signal in {*RATE_SIGNALS, "decision_lag"} else -1.0
    sign = -sign if _is_gain(row) else sign
    low, high = effect_interval(row)
    ends = sorted((sign * low * dollars_each, sign * high * dollars_each))
    return _money(row, sign * effect * dollars_each, (ends[0], ends[1]), basis)


def _money(row: Mapping[str, Any], amount: float, interval: tuple[float, float], basis: str) -> dict[str, Any]:
    return {
        "per_month": amount,
        "low": interval[0],
        "high": interval[1],
        **{kind: amount if kind == KIND_OF[row["signal"]] else None for kind in KINDS},
        "gain": _is_gain(row),
        "basis": basis,
    }


def _is_gain(row: Mapping[str, Any]) -> bool:
    """By the direction; where that is not clear by the estimate, which people read where its own range is clear."""
    return row["direction"] == "improving" or (row["direction"] == "unclear" and float(row["effect"]) > 0)


def effect_interval(row: Mapping[str, Any]) -> tuple[float, float]:
    """The 95 % interval of the effect, in its unit, from those of baseline and current value (as for a difference of
    two independent estimates).
    """
    signal, effect, detail = str(row["signal"]), float(row["effect"]), row["detail"]
    baseline, current = float(row["baseline"]), float(row["current"])
    below, above = (
        math.hypot(current - detail["current_low"], detail["baseline_high"] - baseline),
        math.hypot(detail["current_high"] - current, baseline - detail["baseline_low"]),
    )
    if signal == "procedure_mix" and detail.get("effect_low") is not None:
        return detail["effect_low"], detail["effect_high"]
    if signal == "volume":
        unit = baseline if baseline > 0 else 1.0
        return effect - below / unit, effect + above / unit
    return effect - below, effect + above


Worked = tuple[float, str] | None
"""Dollars a month for an effect of 1, and in words how they were worked out."""


def _denied(breakdown: Breakdown, row: Mapping[str, Any]) -> Worked:
    value = _value_of_denied(breakdown, row)
    if value is None:
        return None
    lines = _a_month(breakdown, "paid_out")
    with_outcome, overturned = breakdown.overturned
    if with_outcome >= FEWEST_OUTCOMES and overturned:
        kept = 1.0 - overturned / with_outcome
        net = (
            f"less the {overturned / with_outcome:.0%} of this payer's denials that were paid later "
            f"({overturned:,} of {with_outcome:,})"
        )
    else:
        # None at all says that the source sends no appeals, and not that none succeeds.
        kept, net = 1.0, "gross: the claims do not show how many of this payer's denials are paid later"
    basis = (
        f"{lines:,.0f} decided lines a month; a denied line would have been allowed {_dollars(value)}, as paid lines "
        f"of its CPT group were before; {net}"
    )
    return lines * value * kept, basis


def _value_of_denied(breakdown: Breakdown, row: Mapping[str, Any]) -> float | None:
    """Mean allowed amount of paid lines before, weighed by the CPT groups of the lines denied since."""
    column = "denied" if row["signal"] == "denial_rate" else "denied_authorization"
    sums = breakdown.of("cpt_group").groupby(["period", "name"])[[column, "priced", "allowed"]].sum()
    priced, allowed = breakdown.total("before", "priced"), breakdown.total("before", "allowed")
    if priced <= 0 or "since" not in sums.index.get_level_values(0):
        return None
    usual = allowed / priced
    before = sums.loc["before"]
    own = (before["allowed"] / before["priced"].where(before["priced"] > 0)).fillna(usual)
    denied = sums.loc["since"][column]
    if not denied.sum() > 0:
        return float(usual)
    return float((own.reindex(denied.index).fillna(usual) * denied).sum() / denied.sum())


def _delayed(breakdown: Breakdown, _row: Mapping[str, Any]) -> Worked:
    name = "paid" if breakdown.total("before", "paid") > 0 else "allowed"
    a_day = breakdown.total("before", name) / breakdown.before_days
    if a_day <= 0:
        return None
    return a_day, f"{_dollars(a_day)} {name} a day before the change, each that many days later"


def _under_priced(breakdown: Breakdown, row: Mapping[str, Any]) -> dict[str, Any] | None:
    """By each code's own dollars, and not by the index: see price_moves.py."""
    moves = price_moves(breakdown)
    if moves is None or moves.old_dollars.sum() <= 0:
        return None
    to_month = DAYS_PER_MONTH / breakdown.periods.since_days
    gain = _is_gain(row)
    amount = float(moves.dollars.sum()) * to_month * (1.0 if gain else -1.0)
    error = WIDTH * moves.error * math.sqrt(max(float(row["detail"]["over_dispersion"]), 1.0)) * to_month
    old = float(moves.old_dollars.sum()) * to_month
    basis = f"{_dollars(old)} a month allowed at the prices before; each procedure's own change, in dollars"
    return _money(row, amount, (amount - error, amount + error), basis)


def _not_submitted(breakdown: Breakdown, row: Mapping[str, Any]) -> Worked:
    decided, allowed = breakdown.total("before", "paid_out"), breakdown.total("before", "allowed")
    if allowed <= 0 or decided <= 0:
        return None
    a_line = allowed / decided
    lines = float(row["baseline"]) / 7.0 * DAYS_PER_MONTH
    return lines * a_line, f"{lines:,.0f} lines a month expected, {_dollars(a_line)} allowed a decided line"


def _lower_valued(breakdown: Breakdown, _row: Mapping[str, Any]) -> Worked:
    decided, allowed = breakdown.total("before", "paid_out"), breakdown.total("before", "allowed")
    lines = _a_month(breakdown, "lines")
    if allowed <= 0 or decided <= 0:
        return None
    a_line = allowed / decided
    return lines * a_line, f"{lines:,.0f} lines a month, {_dollars(a_line)} allowed a decided line before"


_WORKED_OUT: dict[str, Callable[[Breakdown, Mapping[str, Any]], Worked]] = {
    "denial_rate": _denied,
    "authorization_denials": _denied,
    "decision_lag": _delayed,
    "volume": _not_submitted,
    "procedure_mix": _lower_valued,
}


def _a_month(breakdown: Breakdown, column: str) -> float:
    """A sum since the change, as a flow a month."""
    return breakdown.total("since", column) / breakdown.periods.since_days * DAYS_PER_MONTH


def _dollars(amount: float) -> str:
    return f"${amount:,.2f}" if abs(amount) < 1000 else f"${amount:,.0f}"
