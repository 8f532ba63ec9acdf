"""Figures of drift as people read them: rates, days, prices, lines, dollars, dates.

Belongs here: formatting one figure. Not here: sentences (explanation.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date
from typing import Any

from upstream_pipelines.drift.settings import RATE_SIGNALS

SPACE = "\N{NO-BREAK SPACE}"  # keeps a figure and its unit on one line
_UNSEEN = 0.0005
_RAREST = 0.001
SHARES = RATE_SIGNALS | {"procedure_mix"}


def number_of(value: Any) -> float | None:
    """A float, or None for what is missing or no number."""
    if value is None:
        return None
    number = float(value)
    return number if math.isfinite(number) else None


def percent(value: float, digits: int = 1) -> str:
    """0.153 as 15.3 %."""
    return f"{100 * value:.{digits}f}{SPACE}%"


def figure_text(signal: str, value: Any) -> str | None:
    """A baseline or current value; None where there is none."""
    number = number_of(value)
    if number is None:
        return None
    if signal in SHARES:
        return percent(number)
    if signal == "decision_lag":
        return f"{number:.1f}{SPACE}days"
    return f"{number:,.0f} lines a week" if signal == "volume" else f"{percent(number)} of before"


def brief_figure(signal: str, value: Any) -> str | None:
    """The same for a narrow table, whose row names the signal."""
    number = number_of(value)
    if number is None or signal in SHARES or signal == "decision_lag":
        return figure_text(signal, value)
    return f"{number:,.0f} a week" if signal == "volume" else percent(number)


def effect_text(signal: str, effect: Any) -> str | None:
    """The size of a change, with its sign."""
    number = number_of(effect)
    if number is None:
        return None
    if signal in RATE_SIGNALS:
        return f"{100 * number:+.1f}{SPACE}points"
    if signal == "decision_lag":
        return f"{number:+.1f}{SPACE}days"
    what = " in dollars a line" if signal == "procedure_mix" else ""
    return f"{100 * number:+.1f}{SPACE}%{what}"


def part_text(unit: str, value: float) -> str:
    """A part of a change, in the unit of its explanation (contributions.py)."""
    value = 0.0 if abs(value) < _UNSEEN else value  # no "-0.0"
    if unit == "share of decided lines":
        return f"{100 * value:+.1f}{SPACE}points"
    if unit.startswith("share"):
        return f"{100 * value:+.1f}{SPACE}%"
    if unit.startswith("dollars"):
        return f"{'-' if value < 0 else '+'}${abs(value):,.2f} a line"
    return f"{value:+,.0f} {unit.partition(' ')[0] if unit.startswith('decisions') else unit}"


def complete_text(signal: str, maturity: Any) -> str | None:
    """How complete a row's figures are. A rate waits for decisions; nothing of the other signals is still to come."""
    number = number_of(maturity)
    if number is None:
        return None
    return percent(number, 0) if signal in RATE_SIGNALS else "as they come"


def chance_text(q: Any) -> str | None:
    """A share of chance findings, as in "under 0.1 %"."""
    number = number_of(q)
    if number is None:
        return None
    return f"under 0.1{SPACE}%" if number < _RAREST else percent(number)


def rounded_dollars(amount: float) -> str:
    """Dollars to two significant digits; "$0" below half a dollar."""
    size = abs(amount)
    if size < 0.5:
        return "$0"
    unit = 10.0 ** max(math.floor(math.log10(size)) - 1, 0)
    return f"{'-' if amount < 0 else ''}${round(size / unit) * unit:,.0f}"


def money_text(money: Mapping[str, Any] | None) -> str | None:
    """As in "about $12,000 a month ($8,100 to $16,000)"; of a lag what is outstanding. None where nothing is known."""
    if not money:
        return None
    amount = f"about {rounded_dollars(money['per_month'])}"
    if money.get("delayed") is not None:
        amount += f" {'less' if money['gain'] else 'more'} outstanding at any time"
    else:
        amount += " a month"
    if money.get("low") is not None and money.get("high") is not None:
        amount += f" ({rounded_dollars(money['low'])} to {rounded_dollars(money['high'])})"
    return amount


def brief_money(money: Mapping[str, Any] | None) -> str | None:
    """The amount alone, for a narrow table: "$8,700" a month, a gain with a plus; of a lag "once", as it does not recur."""
    if not money:
        return None
    once = " once" if money.get("delayed") is not None else ""
    return f"{'+' if money['gain'] else ''}{rounded_dollars(money['per_month'])}{once}"


def day_text(value: Any) -> str:
    """March 3, 2026."""
    day = as_day(value)
    return f"{day:%B} {day.day}, {day.year}"


def short_day(value: Any) -> str:
    """Mar 3."""
    day = as_day(value)
    return f"{day:%b} {day.day}"


def as_day(value: Any) -> date:
    """A date, or its ISO text."""
    return value if isinstance(value, date) else date.fromisoformat(str(value)[:10])


def since_text(detail: Mapping[str, Any], *, short: bool = False) -> str | None:
    """As in "about March 3, 2026 (Feb 24 to Mar 9)"; None where no date is known."""
    if not detail.get("change_date"):
        return None
    text = f"about {short_day(detail['change_date']) if short else day_text(detail['change_date'])}"
    low, high = detail.get("change_date_low"), detail.get("change_date_high")
    return f"{text} ({short_day(low)} to {short_day(high)})" if low and high and low != high else text
