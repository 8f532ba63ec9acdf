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


def is_unclear(row: Mapping[str, Any]) -> bool:
    """Whether a mix has changed, and what that does to the dollars a line may be either a gain or a loss."""
    detail = row.get("detail") or {}
    if row["signal"] != "procedure_mix" or "effect_low" not in detail:
        return False
    low, high = number_of(detail["effect_low"]), number_of(detail["effect_high"])
    return low is None or high is None or low <= 0.0 <= high


def change_text(row: Mapping[str, Any]) -> str | None:
    """The size of a row's change, with its sign; of one that may be either way its range."""
    if not is_unclear(row):
        return effect_text(str(row["signal"]), row.get("effect"))
    low, high = (number_of((row.get("detail") or {})[name]) for name in ("effect_low", "effect_high"))
    if low is None or high is None:
        return "not known in dollars a line"
    return f"not clear yet ({100 * low:+.1f}{SPACE}% to {100 * high:+.1f}{SPACE}% in dollars a line)"


def brief_change(row: Mapping[str, Any]) -> str | None:
    """The same for a narrow table."""
    return "not clear" if is_unclear(row) else effect_text(str(row["signal"]), row.get("effect"))


def direction_text(row: Mapping[str, Any]) -> str:
    """Worsening or improving; or that it is not clear."""
    return "not clear" if row["direction"] == "unclear" or is_unclear(row) else str(row["direction"])


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


def sure_text(confidence: Any) -> str | None:
    """The other part of `chance_text`, to the same digit: the share of such findings that chance does not explain."""
    number = number_of(confidence)
    if number is None:
        return None
    return f"over 99.9{SPACE}%" if number > 1.0 - _RAREST else percent(number)


def rounded_dollars(amount: float) -> str:
    """Dollars to two significant digits; "$0" below half a dollar."""
    size = abs(amount)
    if size < 0.5:
        return "$0"
    unit = 10.0 ** max(math.floor(math.log10(size)) - 1, 0)
    return f"{'-' if amount < 0 else ''}${round(size / unit) * unit:,.0f}"


def is_open_to_doubt(money: Mapping[str, Any]) -> bool:
    """Whether the interval of a sum holds zero: then it is neither a loss nor a gain yet."""
    low, high = number_of(money.get("low")), number_of(money.get("high"))
    return low is not None and high is not None and low <= 0.0 <= high


def cost_range(money: Mapping[str, Any]) -> str:
    """From what to what a sum may cost, a gain being a cost below zero: "-$12,000 to $61,000 a month"."""
    low, high = money["low"], money["high"]
    if money["gain"]:
        low, high = -high, -low
    kept = "outstanding at any time" if money.get("delayed") is not None else "a month"
    return f"{rounded_dollars(low)} to {rounded_dollars(high)} {kept}"


def money_text(money: Mapping[str, Any] | None) -> str | None:
    """As in "about $12,000 a month ($8,100 to $16,000)"; of a lag what is outstanding. None where nothing is known."""
    if not money:
        return None
    if is_open_to_doubt(money):
        return f"not clear yet ({cost_range(money)})"
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
    if is_open_to_doubt(money):
        return "not clear"
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


def days_text(first: Any, last: Any) -> str:
    """Jan 28 to Sep 24, 2026; both years where they differ."""
    year = f", {as_day(first).year}" if as_day(first).year != as_day(last).year else ""
    return f"{short_day(first)}{year} to {short_day(last)}, {as_day(last).year}"


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
